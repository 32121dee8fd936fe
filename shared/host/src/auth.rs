//! Identifies the sender of a request by its bearer token (RFC 6750).

use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use runtime::Problem;
use runtime::http::{Actor, single_header};

use crate::application;
use crate::tokens::Tokens;

/// Returns the owner of the request's token.
///
/// # Errors
/// 401 if the request has no token or an unknown one; 400 if it has two.
pub fn identify(tokens: &Tokens, headers: &HeaderMap) -> Result<Actor, Problem> {
    let sent = single_header(headers, &AUTHORIZATION)?;
    match sent.and_then(bearer).and_then(|token| tokens.actor(token)) {
        Some(actor) => Ok(actor),
        None => {
            if sent.is_some() {
                tokens.note_wrong();
            }
            Err(unauthorized(sent.is_some()))
        }
    }
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorized(sent_something: bool) -> Problem {
    let (error, detail) = if sent_something {
        (", error=\"invalid_token\"", "The token is not one that is let in.")
    } else {
        ("", "Send a token: Authorization: Bearer …")
    };
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "A token is needed", detail);
    match HeaderValue::from_str(&format!("Bearer realm=\"{}\"{error}", application())) {
        Ok(challenge) => problem.with(WWW_AUTHENTICATE, challenge),
        Err(_) => problem,
    }
}
