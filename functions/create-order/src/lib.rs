//! `POST /` creates an order.
//!
//! Body: `{"id"?, "name", "status"?}`; `status` may be absent or `"new"`. Answers 201 with the order; 200 with the order as
//! it is when it exists with this name.

use axum::extract::{Request, State};
use axum::response::Response;
use command_handler::CommandHandler;
use command_handler::http::{Call, invalid};
use domain::{Command, CommandId, Order, OrderId, OrderName};
use runtime::http::{read_body, require_json};
use runtime::{Problem, Routes, Store, json};
use serde::Deserialize;
use uuid::Uuid;

/// The namespace of ids that are derived from a caller and its `Idempotency-Key` (UUIDv5, RFC 9562).
const KEYED_IDS: Uuid = Uuid::from_u128(0x6f72_6465_7273_5000_8000_6b65_7965_6431);

/// The function's routes.
pub fn routes(handler: CommandHandler<Order>) -> Routes {
    Routes::of(env!("CARGO_PKG_NAME"), Store::Events).post("/", create).with_state(handler)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrder {
    id: Option<String>,
    name: String,
    status: Option<String>,
}

async fn create(State(handler): State<CommandHandler<Order>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    require_json(&parts.headers)?;
    let call = Call::read(&parts)?;
    let new: NewOrder = json::parse(&read_body(&parts.headers, body).await?)?;
    if new.status.as_deref().is_some_and(|status| status != "new") {
        let detail =
            format!("status is {:?}; allowed: \"new\", or no status", new.status.unwrap_or_default());
        return Err(Problem::invalid("status", detail));
    }
    let name = OrderName::parse_new(&new.name).map_err(|error| invalid(&error))?;
    let id = match new.id {
        Some(id) => OrderId::parse(&id),
        None => OrderId::parse(&made_up_id(call.repeatable()).to_string()),
    };
    let id = id.map_err(|error| invalid(&error))?;
    let canonical_body = name.as_str().as_bytes().to_vec();
    call.answer(&handler, id, Command::Create { name }, &canonical_body).await
}

/// Returns the id of an order whose client gave none. With an `Idempotency-Key` the id is derived from the caller and the key. So
/// a retry finds the same order, and the same key of another caller makes another order.
fn made_up_id(command: Option<&CommandId>) -> Uuid {
    match command {
        Some(command) => Uuid::new_v5(&KEYED_IDS, command.as_str().as_bytes()),
        None => Uuid::now_v7(),
    }
}
