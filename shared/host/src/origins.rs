//! Decides which web pages may call the API. A browser acts for the author of the page that it shows, not for the person who uses
//! it.

use std::time::Duration;

use http::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LINK, LOCATION,
    ORIGIN, RETRY_AFTER,
};
use http::{HeaderMap, Method, StatusCode};
use runtime::Problem;
use runtime::http::require_json;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// The origins of the pages that may call the API.
#[derive(Clone, Debug)]
pub enum Origins {
    /// From anywhere.
    Any,
    /// From one of these.
    Listed(Vec<HeaderValue>),
}

impl Origins {
    /// Refuses requests from pages that may not call the API. It also refuses requests that a browser sends for a page without
    /// asking first (the Fetch standard's "simple" requests). Reads are allowed because they do no harm: the browser keeps their
    /// answers from such pages.
    ///
    /// # Errors
    /// 403 for a page that may not call; 415 for a content type that browsers send without asking first.
    pub fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let origin = headers.get(ORIGIN);
        let is_cross_site = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
        match (self, origin) {
            (_, None) if !is_cross_site => Ok(()),
            (Self::Listed(listed), Some(origin)) if listed.contains(origin) => Ok(()),
            (Self::Listed(_), _) => Err(not_allowed(origin)),
            (Self::Any, _) if *method == Method::POST && !headers.contains_key(CONTENT_TYPE) => {
                let (kind, title) = ("not-json", "The body is not JSON");
                let detail = "a browser says Content-Type: application/json, without a body too";
                Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, kind, title, detail))
            }
            (Self::Any, _) => require_json(headers),
        }
    }

    /// The layer that tells browsers which origins may call and with which methods. It also says which headers of answers pages
    /// may read, `own_headers` among them.
    pub fn cors(&self, methods: &[Method], own_headers: &[HeaderName]) -> CorsLayer {
        let origin = match self {
            Self::Any => AllowOrigin::any(),
            Self::Listed(listed) => AllowOrigin::list(listed.iter().cloned()),
        };
        let named = HeaderName::from_static;
        CorsLayer::new()
            .allow_origin(origin)
            .allow_methods(methods.iter().cloned().chain([Method::OPTIONS]).collect::<Vec<_>>())
            .allow_headers([
                AUTHORIZATION,
                CONTENT_TYPE,
                IF_MATCH,
                IF_NONE_MATCH,
                named("idempotency-key"),
                named("prefer"),
                named("traceparent"),
            ])
            .expose_headers(
                [ETAG, LINK, LOCATION, RETRY_AFTER, named("preference-applied")]
                    .into_iter()
                    .chain(own_headers.iter().cloned())
                    .collect::<Vec<_>>(),
            )
            .max_age(Duration::from_secs(3600))
    }
}

fn not_allowed(origin: Option<&HeaderValue>) -> Problem {
    let detail = match origin {
        Some(origin) => format!("pages from {origin:?} may not write here"),
        None => "pages from another site may not write here".to_owned(),
    };
    Problem::new(StatusCode::FORBIDDEN, "origin-not-allowed", "The page may not call", detail).at("Origin")
}
