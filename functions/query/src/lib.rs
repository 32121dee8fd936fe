//! `GET /` and `GET /{id}`: the orders as the read store has them.
//!
//! The view follows the commands within milliseconds; `?min_version=N` waits for it, so that a client reads its own writes. If
//! events are held for a requested order, the header `Order-View: held` says that the view may be behind. The crate imports
//! nothing that knows of commands or the event store.

mod settings;

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::view::{BY_NAME, BY_STATUS};
use domain::{Entry, Invalid, OrderId, OrderName, OrderRow, OrdersView, Status, Version};
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, LINK};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use read_store::{Filter, Lookup, ReadStore, ReadStoreError};
use runtime::http::{NoWait, PathText, json, preference, query};
use runtime::{Problem, Routes, Store};
use serde::Deserialize;
pub use settings::{Settings, Waits};
use strum::VariantNames;

/// The largest number of orders on a page; also the number when the client gives no limit.
const PAGE: usize = 500;

/// A header that is sent when an event is held for the order, or for an order of the page. The answer may be behind for longer
/// than usual.
pub const ORDER_VIEW: HeaderName = HeaderName::from_static("order-view");
const HELD: HeaderValue = HeaderValue::from_static("held");
/// RFC 7240, section 3.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The function's routes, with the waits of a server.
pub fn routes(store: ReadStore<OrdersView>) -> Routes {
    routes_with(store, Waits::default())
}

/// The function's routes, with these waits.
pub fn routes_with(store: ReadStore<OrdersView>, waits: Waits) -> Routes {
    let routes = Routes::of(env!("CARGO_PKG_NAME"), Store::Views);
    routes.get("/", list).get("/{id}", one).waits_for("min_version").with_state(Orders { store, waits })
}

#[derive(Clone)]
struct Orders {
    store: ReadStore<OrdersView>,
    waits: Waits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    status: Option<String>,
    name: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

async fn list(State(Orders { store, .. }): State<Orders>, uri: Uri) -> Result<Response, Problem> {
    let asked: ListQuery = query(&uri)?;
    let filter = filter(&asked)?;
    let page = store.list(filter).await.map_err(unavailable)?;
    let mut response = json(StatusCode::OK, &page.entries);
    if page.held {
        response.headers_mut().insert(ORDER_VIEW, HELD);
    }
    if let (true, Some(last)) = (page.more, page.entries.last())
        && let Ok(link) = HeaderValue::try_from(format!("<{}>; rel=\"next\"", next_page(&asked, &last.id)))
    {
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

fn filter(asked: &ListQuery) -> Result<Filter, Problem> {
    let status = asked.status.as_deref().map(str::parse::<Status>).transpose();
    let status = status.map_err(|_| {
        Problem::invalid("status", format!("not a status; allowed: {}", Status::VARIANTS.join(", ")))
    })?;
    let name = asked.name.as_deref().map(OrderName::parse).transpose().map_err(|error| invalid(&error))?;
    let after = asked.after.as_deref().map(OrderId::parse).transpose();
    let after = after.map_err(|error| Problem::invalid("after", error.to_string()))?;
    let limit = asked.limit.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&limit) {
        return Err(Problem::invalid("limit", format!("limit is {limit}; allowed: 1 to {PAGE}")));
    }
    let mut filter = Filter::first(limit).after(after);
    if let Some(status) = status {
        filter = filter.equal(BY_STATUS, &status);
    }
    if let Some(name) = name {
        filter = filter.equal(BY_NAME, &name);
    }
    Ok(filter)
}

fn next_page(asked: &ListQuery, last: &OrderId) -> String {
    let mut query = form_urlencoded::Serializer::new(String::from("/?"));
    if let Some(status) = &asked.status {
        query.append_pair("status", status);
    }
    if let Some(name) = &asked.name {
        query.append_pair("name", name);
    }
    if let Some(limit) = asked.limit {
        query.append_pair("limit", &limit.to_string());
    }
    query.append_pair("after", last.as_str()).finish()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneQuery {
    min_version: Option<String>,
}

async fn one(
    State(Orders { store, waits }): State<Orders>,
    PathText(id): PathText<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    let id = OrderId::parse(&id).map_err(|error| invalid(&error))?;
    let asked: OneQuery = query(&parts.uri)?;
    let version = asked.min_version.as_deref().map(Version::parse).transpose();
    let version = version.map_err(|error| Problem::invalid("min_version", error.to_string()))?;
    let mut says = HeaderMap::new();
    let seen = match version {
        None => store.see(&id).await,
        Some(version) => {
            let patience = patience(&parts, waits)?;
            if preference(&parts.headers, "wait").is_some() {
                says.insert(PREFERENCE_APPLIED, applied(patience));
            }
            store.wait_for(&id, version, patience).await
        }
    };
    let Lookup { entry, held } = seen.map_err(unavailable)?;
    if held {
        says.insert(ORDER_VIEW, HELD);
    }
    let mut response = match order_at(version.unwrap_or(Version::NONE), entry) {
        Ok(order) => answer(&order, &parts.headers),
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().extend(says);
    Ok(response)
}

/// Returns the order, if the view has it at this version or a later one.
fn order_at(version: Version, entry: Option<Entry<OrderRow>>) -> Result<Entry<OrderRow>, Problem> {
    let have = entry.as_ref().map_or(Version::NONE, |entry| entry.version);
    if have < version {
        let (kind, title) = ("view-behind", "The view has not come so far");
        let detail = format!("the view has the order at version {have}, not yet at {version}");
        let behind = Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, title, detail);
        // The view follows within milliseconds. A client that asks so soon finds it behind, and nothing is wrong.
        return Err(behind.at("min_version").retry_after(1).unlogged());
    }
    // Events that make no order leave an entry without a row.
    entry.filter(|entry| entry.row.is_some()).ok_or_else(|| {
        Problem::not_found("order-not-found", "There is no such order", "No order has this id.")
    })
}

/// Returns how long the client is ready to wait: `Prefer: wait=S` (RFC 7240), in whole seconds.
fn patience(parts: &Parts, waits: Waits) -> Result<Duration, Problem> {
    if parts.extensions.get::<NoWait>().is_some() {
        return Ok(Duration::ZERO);
    }
    let Some(wait) = preference(&parts.headers, "wait") else {
        return Ok(waits.usual);
    };
    let seconds = wait.parse().map_err(|_| {
        Problem::malformed(format!("Prefer has wait={wait:?}; allowed: wait=S with S in whole seconds"))
            .at("Prefer")
    })?;
    Ok(Duration::from_secs(seconds).min(waits.longest))
}

/// Returns the value of `Preference-Applied`: the longest time that the request waits. It may be shorter than the client asked
/// for.
fn applied(wait: Duration) -> HeaderValue {
    HeaderValue::try_from(format!("wait={}", wait.as_secs())).unwrap_or(HeaderValue::from_static("wait"))
}

fn answer(order: &Entry<OrderRow>, headers: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", order.version);
    let mut response = if already_has(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        json(StatusCode::OK, order)
    };
    if let Ok(etag) = HeaderValue::try_from(etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Returns whether `If-None-Match` names this version. The comparison is weak, as RFC 9110 asks.
fn already_has(headers: &HeaderMap, etag: &str) -> bool {
    let sent = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = sent.flat_map(|text| text.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn invalid(error: &Invalid) -> Problem {
    Problem::invalid(error.what, error.to_string())
}

fn unavailable(error: ReadStoreError) -> Problem {
    match error {
        ReadStoreError::Unavailable(cause) => {
            Problem::unavailable(2, "The read store is not available.").because(cause)
        }
        other => Problem::internal(other.to_string()),
    }
}
