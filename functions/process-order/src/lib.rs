//! `POST /{id}` starts the fulfilment of an order, or starts it again after it failed.
//!
//! No body. Answers 200 with the order; an order that is processing or processed already is answered as it is.

use axum::extract::{Request, State};
use axum::response::Response;
use command_handler::CommandHandler;
use command_handler::http::{Call, stream_id};
use domain::{Command, Order};
use runtime::http::{PathText, read_body};
use runtime::{Problem, Routes, Store};

/// The function's routes.
pub fn routes(handler: CommandHandler<Order>) -> Routes {
    Routes::of(env!("CARGO_PKG_NAME"), Store::Events).post("/{id}", process).with_state(handler)
}

async fn process(
    State(handler): State<CommandHandler<Order>>,
    PathText(id): PathText<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let id = stream_id(&id)?;
    let call = Call::read(&parts)?;
    let body = read_body(&parts.headers, body).await?;
    if !matches!(body.trim_ascii(), b"" | b"{}") {
        return Err(Problem::invalid("body", "processing an order takes no body; allowed: nothing, or {}"));
    }
    call.answer(&handler, id, Command::Process, b"").await
}
