//! How an event is kept: a type name, a schema version and its data, so that an event written years ago can
//! still be read.
//!
//! To change an event's data: give its type the next number in [`current_schema`], add an [`Upcaster`] from the
//! number before to [`UPCASTERS`], and keep the old payload as a test. Upcasters are pure and run when an event is
//! read, one step at a time; what is stored is never rewritten.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use thiserror::Error;

use crate::ids::{OrderName, Reason};
use crate::order::Event;
use crate::said::shortened;

/// An event as stores and records hold it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredEvent {
    /// The type's name, such as `OrderCreated`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version of the shape of `data`, from 1.
    pub schema: u32,
    /// The event's own data: a JSON object.
    pub data: Box<RawValue>,
}

/// Why stored data is not an event that this program knows.
#[derive(Debug, Error)]
pub enum UnknownEvent {
    /// The type's name is not one of ours: written by a newer program, or by another.
    #[error("unknown event type {0:?}")]
    Type(String),
    /// The schema version is newer than this program, or 0.
    #[error("unknown schema {schema} of event type {kind}")]
    Schema {
        /// The type's name.
        kind: String,
        /// The version that is not known.
        schema: u32,
    },
    /// Type and schema are known, but the data does not have that shape.
    #[error("the data of {kind} schema {schema} can't be read: {problem}")]
    Data {
        /// The type's name.
        kind: String,
        /// The schema version.
        schema: u32,
        /// What was wrong.
        problem: String,
    },
}

/// One step from an old payload to the next schema version.
pub struct Upcaster {
    /// The type's name.
    pub kind: &'static str,
    /// The schema version that it reads; it yields the next.
    pub from: u32,
    /// The step itself. Pure.
    pub step: fn(Value) -> Result<Value, String>,
}

/// Every step there is. All our events are at their first schema, so there is none yet.
pub const UPCASTERS: &[Upcaster] = &[];

/// The schema version in which events of this type are written today; `None` for a name that is not ours.
#[must_use]
pub fn current_schema(kind: &str) -> Option<u32> {
    match kind {
        ORDER_CREATED | PROCESSING_STARTED | ORDER_PROCESSED | PROCESSING_FAILED | ORDER_CANCELLED => Some(1),
        _ => None,
    }
}

/// The type name of [`Event::OrderCreated`].
pub const ORDER_CREATED: &str = "OrderCreated";
/// The type name of [`Event::ProcessingStarted`].
pub const PROCESSING_STARTED: &str = "ProcessingStarted";
/// The type name of [`Event::OrderProcessed`].
pub const ORDER_PROCESSED: &str = "OrderProcessed";
/// The type name of [`Event::ProcessingFailed`].
pub const PROCESSING_FAILED: &str = "ProcessingFailed";
/// The type name of [`Event::OrderCancelled`].
pub const ORDER_CANCELLED: &str = "OrderCancelled";

impl Event {
    /// The type's name, as stores, records and filters see it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::OrderCreated { .. } => ORDER_CREATED,
            Self::ProcessingStarted => PROCESSING_STARTED,
            Self::OrderProcessed => ORDER_PROCESSED,
            Self::ProcessingFailed { .. } => PROCESSING_FAILED,
            Self::OrderCancelled { .. } => ORDER_CANCELLED,
        }
    }

    /// The schema version in which this event is written.
    #[must_use]
    pub fn schema(&self) -> u32 {
        current_schema(self.kind()).unwrap_or(1)
    }

    /// The event's own data, as it is written today.
    #[must_use]
    pub fn data(&self) -> Data<'_> {
        match self {
            Self::OrderCreated { name } => Data { name: Some(name), reason: None },
            Self::ProcessingStarted | Self::OrderProcessed => Data { name: None, reason: None },
            Self::ProcessingFailed { reason } | Self::OrderCancelled { reason } => {
                Data { name: None, reason: Some(reason) }
            }
        }
    }

    /// Reads an event of any schema version that this program or a former one wrote.
    ///
    /// # Errors
    /// [`UnknownEvent`] when the type, the schema or the data is not known.
    pub fn read(kind: &str, schema: u32, data: &RawValue) -> Result<Self, UnknownEvent> {
        Self::read_with(UPCASTERS, current_schema, kind, schema, data)
    }

    fn read_with(
        upcasters: &[Upcaster],
        current: fn(&str) -> Option<u32>,
        kind: &str,
        schema: u32,
        data: &RawValue,
    ) -> Result<Self, UnknownEvent> {
        let Some(newest) = current(kind) else {
            return Err(UnknownEvent::Type(shortened(kind)));
        };
        if schema == 0 || schema > newest {
            return Err(UnknownEvent::Schema { kind: kind.to_owned(), schema });
        }
        if schema == newest {
            return parse(kind, data.get()).map_err(|problem| unreadable(kind, schema, &problem));
        }
        let upcast = upcast(upcasters, newest, kind, schema, data)?;
        parse(kind, &upcast.to_string()).map_err(|problem| unreadable(kind, newest, &problem))
    }
}

/// An event's data, borrowed, as it is written.
#[derive(Serialize)]
pub struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a OrderName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a Reason>,
}

fn upcast(
    upcasters: &[Upcaster],
    newest: u32,
    kind: &str,
    schema: u32,
    data: &RawValue,
) -> Result<Value, UnknownEvent> {
    let mut value =
        serde_json::from_str(data.get()).map_err(|error| unreadable(kind, schema, &error.to_string()))?;
    for from in schema..newest {
        let Some(upcaster) = upcasters.iter().find(|upcaster| upcaster.kind == kind && upcaster.from == from)
        else {
            return Err(UnknownEvent::Schema { kind: kind.to_owned(), schema: from });
        };
        value = (upcaster.step)(value).map_err(|problem| unreadable(kind, from, &problem))?;
    }
    Ok(value)
}

fn parse(kind: &str, data: &str) -> Result<Event, String> {
    #[derive(Deserialize)]
    struct Named {
        name: OrderName,
    }
    #[derive(Deserialize)]
    struct Reasoned {
        reason: Reason,
    }
    #[derive(Deserialize)]
    struct Empty {}

    fn read<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, String> {
        serde_json::from_str(data).map_err(|error| error.to_string())
    }
    Ok(match kind {
        ORDER_CREATED => Event::OrderCreated { name: read::<Named>(data)?.name },
        PROCESSING_STARTED => read::<Empty>(data).map(|_| Event::ProcessingStarted)?,
        ORDER_PROCESSED => read::<Empty>(data).map(|_| Event::OrderProcessed)?,
        PROCESSING_FAILED => Event::ProcessingFailed { reason: read::<Reasoned>(data)?.reason },
        ORDER_CANCELLED => Event::OrderCancelled { reason: read::<Reasoned>(data)?.reason },
        other => return Err(format!("unknown event type {other:?}")),
    })
}

fn unreadable(kind: &str, schema: u32, problem: &str) -> UnknownEvent {
    UnknownEvent::Data { kind: kind.to_owned(), schema, problem: shortened(problem) }
}

impl TryFrom<&StoredEvent> for Event {
    type Error = UnknownEvent;

    fn try_from(stored: &StoredEvent) -> Result<Self, UnknownEvent> {
        Self::read(&stored.kind, stored.schema, &stored.data)
    }
}

/// An event as it is written: borrowed, so that writing allocates nothing but the text.
#[derive(Serialize)]
pub struct WrittenEvent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    schema: u32,
    data: Data<'a>,
}

impl<'a> From<&'a Event> for WrittenEvent<'a> {
    fn from(event: &'a Event) -> Self {
        Self { kind: event.kind(), schema: event.schema(), data: event.data() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // A history that OrderCreated might have had: `title` became `label` became `name`.
    const HISTORY: &[Upcaster] = &[
        Upcaster { kind: ORDER_CREATED, from: 1, step: |data| Ok(json!({"label": data["title"]})) },
        Upcaster {
            kind: ORDER_CREATED,
            from: 2,
            step: |data| match &data["label"] {
                Value::String(label) => Ok(json!({ "name": label })),
                other => Err(format!("label is {other}")),
            },
        },
    ];

    fn third(kind: &str) -> Option<u32> {
        current_schema(kind).map(|_| 3)
    }

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).unwrap()
    }

    fn read(schema: u32, data: &Value) -> Result<Event, UnknownEvent> {
        Event::read_with(HISTORY, third, ORDER_CREATED, schema, &raw(data))
    }

    #[test]
    fn an_event_of_every_former_schema_is_read_as_todays() {
        let today = Event::OrderCreated { name: OrderName::parse("a lamp").unwrap() };
        assert_eq!(read(1, &json!({"title": "a lamp"})).unwrap(), today);
        assert_eq!(read(2, &json!({"label": "a lamp"})).unwrap(), today);
        assert_eq!(read(3, &json!({"name": "a lamp"})).unwrap(), today);
    }

    #[test]
    fn a_step_that_refuses_its_payload_names_the_schema_it_read() {
        let error = read(2, &json!({"label": 7})).unwrap_err();
        assert_eq!(error.to_string(), "the data of OrderCreated schema 2 can't be read: label is 7");
    }

    #[test]
    fn a_missing_step_is_an_unknown_schema_and_not_a_guess() {
        let error = Event::read_with(&HISTORY[1..], third, ORDER_CREATED, 1, &raw(&json!({}))).unwrap_err();
        assert!(matches!(error, UnknownEvent::Schema { schema: 1, .. }), "{error}");
    }

    #[test]
    fn a_schema_from_the_future_and_schema_0_are_unknown() {
        for schema in [0, 4] {
            assert!(matches!(read(schema, &json!({})), Err(UnknownEvent::Schema { .. })));
        }
    }

    #[test]
    fn every_schema_below_todays_has_its_step() {
        for kind in [ORDER_CREATED, PROCESSING_STARTED, ORDER_PROCESSED, PROCESSING_FAILED, ORDER_CANCELLED] {
            for from in 1..current_schema(kind).unwrap() {
                assert!(UPCASTERS.iter().any(|u| u.kind == kind && u.from == from), "{kind} from {from}");
            }
        }
    }
}
