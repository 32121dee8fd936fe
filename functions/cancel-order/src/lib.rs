//! `DELETE /{id}` cancels an order that is new or failed.
//!
//! Body: none, or `{"reason": "…"}`. Answers 200 with the order; an order that is cancelled already is answered as it is.

use axum::extract::{Request, State};
use axum::response::Response;
use command_handler::CommandHandler;
use command_handler::http::{Call, invalid, stream_id};
use domain::{Command, Order, Reason};
use runtime::http::{PathText, read_body, require_json};
use runtime::{Problem, Routes, Store, json};
use serde::Deserialize;

/// The function's routes.
pub fn routes(handler: CommandHandler<Order>) -> Routes {
    Routes::of(env!("CARGO_PKG_NAME"), Store::Events).delete("/{id}", cancel).with_state(handler)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancellation {
    reason: Option<String>,
}

async fn cancel(
    State(handler): State<CommandHandler<Order>>,
    PathText(id): PathText<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let id = stream_id(&id)?;
    let call = Call::read(&parts)?;
    let body = read_body(&parts.headers, body).await?;
    let cancellation = if body.trim_ascii().is_empty() {
        Cancellation::default()
    } else {
        require_json(&parts.headers)?;
        json::parse(&body)?
    };
    let reason = match &cancellation.reason {
        Some(reason) => Reason::parse_new(reason).map_err(|error| invalid(&error))?,
        None => Reason::from_any(""),
    };
    let canonical_body = reason.as_str().as_bytes().to_vec();
    call.answer(&handler, id, Command::Cancel { reason }, &canonical_body).await
}
