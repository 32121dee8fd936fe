//! Translates a document of the seed into one of our commands, or says why it can't be one. The translation is pure and total:
//! any bytes get an answer.
//!
//! The original program kept its commands as `{_id: ObjectId, name: "create_order" | "process_order", data: TEXT}`. The text is
//! an order as JSON, `{"id", "name", "status"}`. For an order to process, its id alone is enough, in quotes or bare.

use bson::{RawBsonRef, RawDocument};
use command_handler::command_hash;
use domain::{Command, CommandId, Invalid, OrderId, OrderName};
use event_store::CommandHash;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

const CREATE: &str = "create_order";
const PROCESS: &str = "process_order";

/// The prefix of the command id of everything that is imported.
const PREFIX: &str = "import-seed:";

/// The namespace of command ids that follow from an `_id` that is no ObjectId (UUIDv5, RFC 9562).
const OTHER_IDS: Uuid = Uuid::from_u128(0x6f72_6465_7273_5000_8000_7365_6564_6964);

/// How much of a value is quoted, in characters.
const QUOTED: usize = 60;

/// A command of the seed as one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeedCommand {
    /// The document's `_id`, as it is shown.
    pub(crate) id: String,
    /// The command's id. It follows from the `_id`, so that a command that is imported again is the same command.
    pub(crate) command_id: CommandId,
    /// The order.
    pub(crate) order: OrderId,
    /// The command for the order.
    pub(crate) command: Command,
    /// The hash of what the command asks.
    pub(crate) hash: CommandHash,
}

/// A document that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    /// The document's `_id`, as it is shown.
    #[serde(rename = "_id")]
    pub(crate) id: String,
    /// The problem, and the allowed values.
    pub(crate) reason: String,
}

/// Translates a document.
///
/// # Errors
/// The [`Refusal`] to be reported.
pub(crate) fn translate(document: &RawDocument) -> Result<SeedCommand, Refusal> {
    let (id, command_id) = identity(document).map_err(|reason| Refusal { id: "?".to_owned(), reason })?;
    match order_and_command(document) {
        Ok((order, command, hash)) => Ok(SeedCommand { id, command_id, order, command, hash }),
        Err(reason) => Err(Refusal { id, reason }),
    }
}

/// The `_id` as it is shown, and the command id that follows from it.
fn identity(document: &RawDocument) -> Result<(String, CommandId), String> {
    let allowed = "allowed: an ObjectId, a text or a whole number";
    let (shown, unique) = match field(document, "_id")? {
        Some(RawBsonRef::ObjectId(id)) => (id.to_hex(), id.to_hex()),
        Some(RawBsonRef::String(text)) => (quoted(text), derived(&format!("{text:?}"))),
        Some(RawBsonRef::Int32(number)) => (number.to_string(), derived(&number.to_string())),
        Some(RawBsonRef::Int64(number)) => (number.to_string(), derived(&number.to_string())),
        Some(other) => return Err(format!("_id is {}; {allowed}", kind(other))),
        None => return Err(format!("_id is missing; {allowed}")),
    };
    let command_id = CommandId::system(&format!("{PREFIX}{unique}")).map_err(|error| error.to_string())?;
    Ok((shown, command_id))
}

fn derived(id: &str) -> String {
    Uuid::new_v5(&OTHER_IDS, id.as_bytes()).to_string()
}

fn order_and_command(document: &RawDocument) -> Result<(OrderId, Command, CommandHash), String> {
    match text(document, "name", "create_order, process_order")? {
        CREATE => created(data(document)?),
        PROCESS => processed(data(document)?),
        other => Err(format!("name is {}; allowed: {CREATE}, {PROCESS}", quoted(other))),
    }
}

fn created(data: &str) -> Result<(OrderId, Command, CommandHash), String> {
    let order = match serde_json::from_str(data) {
        Ok(Value::Object(order)) => order,
        Ok(other) => {
            return Err(format!("data is {} as JSON; allowed: an order, {ORDER}", json_kind(&other)));
        }
        Err(error) => return Err(format!("data is not JSON: {error}; allowed: an order, {ORDER}")),
    };
    let id = OrderId::parse(member(&order, "id")?).map_err(said)?;
    let name = OrderName::parse(member(&order, "name")?).map_err(said)?;
    // A Go program writes a status that nobody gave as "".
    match order.get("status") {
        None | Some(Value::Null) => {}
        Some(Value::String(status)) if ["", "new"].contains(&status.as_str()) => {}
        Some(Value::String(status)) => {
            return Err(format!("status is {}; allowed: \"new\", or no status", quoted(status)));
        }
        Some(other) => return Err(format!("status is {}; allowed: \"new\", or no status", json_kind(other))),
    }
    let hash = command_hash(CREATE, &id, name.as_str().as_bytes());
    Ok((id, Command::Create { name }, hash))
}

fn processed(data: &str) -> Result<(OrderId, Command, CommandHash), String> {
    let allowed = format!("allowed: an order, {ORDER}, or its id");
    let id = match serde_json::from_str::<Value>(data) {
        Ok(Value::Object(order)) => OrderId::parse(member(&order, "id")?).map_err(said)?,
        Ok(Value::String(id)) => OrderId::parse(&id).map_err(said)?,
        // Bare ids: some are numbers or words of JSON, most are no JSON at all.
        Ok(other) => {
            OrderId::parse(data).map_err(|_| format!("data is {} as JSON; {allowed}", json_kind(&other)))?
        }
        Err(error) => OrderId::parse(data).map_err(|_| format!("data is not JSON: {error}; {allowed}"))?,
    };
    let hash = command_hash(PROCESS, &id, b"");
    Ok((id, Command::Process, hash))
}

const ORDER: &str = r#"{"id", "name", "status"}"#;

fn data(document: &RawDocument) -> Result<&str, String> {
    text(document, "data", "a text that holds JSON")
}

fn text<'a>(document: &'a RawDocument, name: &str, allowed: &str) -> Result<&'a str, String> {
    match field(document, name)? {
        Some(RawBsonRef::String(text)) => Ok(text),
        Some(other) => Err(format!("{name} is {}; allowed: {allowed}", kind(other))),
        None => Err(format!("{name} is missing; allowed: {allowed}")),
    }
}

fn field<'a>(document: &'a RawDocument, name: &str) -> Result<Option<RawBsonRef<'a>>, String> {
    document.get(name).map_err(|_| format!("{name} can't be read: the document is not valid BSON"))
}

fn member<'a>(order: &'a serde_json::Map<String, Value>, name: &str) -> Result<&'a str, String> {
    match order.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("{name} is {}; allowed: a text", json_kind(other))),
        None => Err(format!("{name} is missing; allowed: a text")),
    }
}

#[allow(clippy::needless_pass_by_value)] // For `map_err`.
fn said(error: Invalid) -> String {
    error.to_string()
}

/// A text in quotes, with its control characters escaped, and cut where it is long.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn kind(value: RawBsonRef<'_>) -> &'static str {
    match value {
        RawBsonRef::String(_) => "a text",
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_) | RawBsonRef::Decimal128(_) => {
            "a number"
        }
        RawBsonRef::Document(_) => "a document",
        RawBsonRef::Array(_) => "an array",
        RawBsonRef::Binary(_) => "binary data",
        RawBsonRef::ObjectId(_) => "an ObjectId",
        RawBsonRef::Boolean(_) => "a boolean",
        RawBsonRef::DateTime(_) | RawBsonRef::Timestamp(_) => "a time",
        RawBsonRef::Null | RawBsonRef::Undefined => "null",
        _ => "of a type that is not known here",
    }
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
