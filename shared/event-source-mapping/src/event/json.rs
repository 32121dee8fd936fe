//! The form of bytes in the event's JSON.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{KafkaHeader, TimestampType};

pub(super) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a value. A value of another form than the expected one counts as absent.
pub(super) fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// Keys and values.
pub(super) mod payload {
    use super::{Base64Display, Bytes, Deserialize, Deserializer, Payload, STANDARD, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &Option<Bytes>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.collect_str(&Base64Display::new(bytes, &STANDARD)),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Bytes>, D::Error> {
        Payload::deserialize(deserializer).map(|payload| payload.0)
    }
}

/// Headers: a list of objects with one name each, whose value is a list of signed bytes.
pub(super) mod headers {
    use super::{Deserialize, Deserializer, HeaderList, KafkaHeader, NamedHeader, SerializeSeq, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        headers: &[KafkaHeader],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(headers.len()))?;
        for header in headers {
            list.serialize_element(&NamedHeader(header))?;
        }
        list.end()
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<KafkaHeader>, D::Error> {
        let lists: Option<Vec<Option<HeaderList>>> = Option::deserialize(deserializer)?;
        let named = lists.into_iter().flatten().flatten();
        Ok(named.flat_map(|headers| headers.0).collect())
    }
}

/// A key or a value, or a header's value that is not a list.
struct Payload(Option<Bytes>);

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PayloadVisitor).map(Payload)
    }
}

struct PayloadVisitor;

/// JSON where base64 was expected, kept as it was written.
fn as_written(value: &Value) -> Option<Bytes> {
    Some(value.to_string().into())
}

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = Option<Bytes>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("base64 or null")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let bytes = STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec());
        Ok(Some(bytes.into()))
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(as_written(&value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(as_written(&value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(as_written(&value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(as_written(&value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(list)).map(|value| as_written(&value))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Value::deserialize(MapAccessDeserializer::new(map)).map(|value| as_written(&value))
    }
}

struct NamedHeader<'a>(&'a KafkaHeader);

impl Serialize for NamedHeader<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (name, value) = self.0;
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(name, &value.as_ref().map(|bytes| SignedBytes(bytes)))?;
        map.end()
    }
}

/// Bytes as Java has them: -128 to 127.
struct SignedBytes<'a>(&'a [u8]);

impl Serialize for SignedBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|byte| byte.cast_signed()))
    }
}

/// One object of the list of headers; more than one name in it is fine.
struct HeaderList(Vec<KafkaHeader>);

impl<'de> Deserialize<'de> for HeaderList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadersVisitor;

        impl<'de> Visitor<'de> for HeadersVisitor {
            type Value = HeaderList;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of headers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut headers = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, HeaderValue>()? {
                    headers.push((Cow::Owned(name), value.0));
                }
                Ok(HeaderList(headers))
            }
        }

        deserializer.deserialize_map(HeadersVisitor)
    }
}

struct HeaderValue(Option<Bytes>);

impl<'de> Deserialize<'de> for HeaderValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;

        impl<'de> Visitor<'de> for BytesVisitor {
            type Value = HeaderValue;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of bytes or null")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut bytes = Vec::with_capacity(list.size_hint().unwrap_or(16));
                while let Some(number) = list.next_element::<i64>()? {
                    // -1 and 255 are the same byte: Java writes -1, and everybody else writes 255.
                    bytes.push(number as u8);
                }
                Ok(HeaderValue(Some(bytes.into())))
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(HeaderValue(None))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                PayloadVisitor.visit_str(text).map(HeaderValue)
            }
        }

        deserializer.deserialize_any(BytesVisitor)
    }
}

/// Every name but `LOG_APPEND_TIME` is read as Kafka's default.
impl<'de> Deserialize<'de> for TimestampType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name: Option<Cow<'_, str>> = Option::deserialize(deserializer)?;
        Ok(match name.as_deref() {
            Some("LOG_APPEND_TIME") => Self::LogAppendTime,
            _ => Self::CreateTime,
        })
    }
}
