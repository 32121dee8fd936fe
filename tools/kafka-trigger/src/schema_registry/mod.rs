//! Schema registries. Keys and values are decoded by their schemas, as the AWS page "Using schema registries with Kafka event
//! sources in Lambda" describes it.
//!
//! | module | what it does |
//! |---|---|
//! | `wire` | reads the header in which a record names its schema |
//! | `confluent`, `glue` | ask a registry for a schema |
//! | `schema` | a schema that is ready to decode; `avro`, `protobuf` and `json_schema` are its kinds |
//!
//! Avro is decoded by code of our own. The crate protox compiles Protobuf, and the crate jsonschema checks JSON Schema. Both come
//! only with the feature `trigger`.
//!
//! A known schema is applied at once. An unknown one is looked up, once for all records that wait for it, and is kept until the
//! process ends. While the registry does not answer, records wait.

mod avro;
mod confluent;
mod glue;
mod json_schema;
mod protobuf;
mod schema;
mod wire;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use runtime::Backoff;
use tokio::time::{self, Instant};

use self::confluent::Confluent;
use self::glue::Glue;
use self::schema::{Schema, SchemaSource};
use self::wire::{FramedPayload, Framing, SchemaId};
use event_source_mapping::event::{KafkaRecord, SchemaMetadata};
use event_source_mapping::message::message;
use event_source_mapping::{DecodeError, DecodeOutcome, Decoder, DiscardReason, RecordFormat};

pub use self::confluent::InvalidRegistry;

/// The time after which a registry without an answer is reported.
const SAY_AFTER: Duration = Duration::from_millis(800);
/// The longest time to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The waits between tries.
const WAITS: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(2) };
/// The time for which a missing schema counts as missing. It may be registered later.
const MISSING_HOLDS: Duration = Duration::from_secs(5);
/// The number of schemas beyond which missing ones are forgotten. A value that only looks as if it had a schema may name any id.
const MOST_MISSING: usize = 10_000;

/// A schema registry. Cheap to clone; its clones share their schemas.
#[derive(Clone)]
pub struct SchemaRegistry(Arc<Registry>);

struct Registry {
    client: Client,
    schemas: Mutex<HashMap<SchemaId, SchemaEntry>>,
    is_silent: AtomicBool,
    tell: Box<dyn Fn(Availability<'_>) + Send + Sync>,
}

enum Client {
    Confluent(Confluent),
    Glue(Glue),
}

/// The state of a registry. Each change is reported once, from the first failure on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability<'a> {
    /// The registry does not answer, for this reason. Records wait until it does.
    Silent(&'a str),
    /// The registry answers again.
    Answers,
}

/// The state of a schema in this process.
enum SchemaEntry {
    Known(Arc<Schema>),
    /// The registry has no such schema, or none that can be used: the reason, and the time until which this counts. `None` means
    /// for good.
    Missing(DecodeError, Option<Instant>),
    /// The schema is being looked up.
    Pending(Shared<BoxFuture<'static, ()>>),
}

/// The reason why a registry has not given a schema.
enum LookupError {
    /// The registry says that there is none.
    NotFound(String),
    /// The registry may give it later.
    Unavailable(String),
}

/// The parts of records that are decoded, and their form afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderOptions {
    /// The format of the decoded record for the function: `EventRecordFormat`.
    pub format: RecordFormat,
    /// Is the key checked and decoded? `SchemaValidationConfigs`.
    pub key: bool,
    /// Is the value checked and decoded?
    pub value: bool,
    /// Does the mapping have filters? Filters see the value as JSON, in whatever format the function gets it.
    pub is_filtered: bool,
}

/// A key or a value that was decoded.
struct DecodedPart {
    bytes: Bytes,
    json: Option<Bytes>,
    schema: Arc<SchemaMetadata>,
}

/// The reason why a key or a value is not decoded.
enum DecodeObstacle {
    Fault(DecodeError),
    Lookup(BoxFuture<'static, ()>),
}

impl SchemaRegistry {
    /// A registry with Confluent's API, at a URL that may contain a user and a password. `tell` gets each change of its state.
    ///
    /// # Errors
    /// [`InvalidRegistry`] when the URL is wrong, or the HTTP client can't be made.
    pub fn confluent(
        url: &str,
        tell: impl Fn(Availability<'_>) + Send + Sync + 'static,
    ) -> Result<Self, InvalidRegistry> {
        Ok(Self::new(Client::Confluent(Confluent::open(url)?), tell))
    }

    /// The registry of AWS Glue in a region, at AWS or at `url`. `variable` reads the environment: `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_ENDPOINT_URL_GLUE` and `AWS_ENDPOINT_URL`. With a `url`, the
    /// credentials may be missing. `tell` gets each change of the registry's state.
    ///
    /// # Errors
    /// [`InvalidRegistry`] when the URL is wrong, the credentials are missing, or the HTTP client can't be made.
    pub fn glue(
        region: &str,
        url: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
        tell: impl Fn(Availability<'_>) + Send + Sync + 'static,
    ) -> Result<Self, InvalidRegistry> {
        Ok(Self::new(Client::Glue(Glue::open(region, url, variable)?), tell))
    }

    fn new(client: Client, tell: impl Fn(Availability<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Registry {
            client,
            schemas: Mutex::default(),
            is_silent: AtomicBool::new(false),
            tell: Box::new(tell),
        }))
    }

    /// Returns the decoder of a mapping's records.
    #[must_use]
    pub fn decoder(&self, decoding: DecoderOptions) -> Decoder {
        if !decoding.key && !decoding.value {
            return Decoder::None;
        }
        let registry = self.clone();
        Decoder::new(move |record| registry.decode(record, decoding))
    }

    fn decode(&self, mut record: KafkaRecord, decoding: DecoderOptions) -> DecodeOutcome {
        let wants_json = decoding.format == RecordFormat::Json;
        let part = |bytes: &Option<Bytes>, is_decoded: bool, wants_json: bool, name: &str| match bytes {
            // An absent key and a tombstone have no schema.
            Some(bytes) if is_decoded => self.part(bytes, wants_json, name).map(Some),
            _ => Ok(None),
        };
        let parts = part(&record.key, decoding.key, wants_json, "key").and_then(|key| {
            let wants_json = wants_json || decoding.is_filtered;
            Ok((key, part(&record.value, decoding.value, wants_json, "value")?))
        });
        let (key, value) = match parts {
            Ok(parts) => parts,
            Err(DecodeObstacle::Fault(undecodable)) => {
                return DecodeOutcome::Undecodable { record, undecodable };
            }
            Err(DecodeObstacle::Lookup(lookup)) => return DecodeOutcome::Later { record, lookup },
        };
        let as_delivered = |part: &DecodedPart| match &part.json {
            Some(json) if wants_json => json.clone(),
            _ => part.bytes.clone(),
        };
        if let Some(key) = key {
            record.key = Some(as_delivered(&key));
            record.key_schema_metadata = Some(key.schema);
        }
        let Some(value) = value else { return DecodeOutcome::Record { record, json: None } };
        record.value = Some(as_delivered(&value));
        record.value_schema_metadata = Some(value.schema);
        DecodeOutcome::Record { record, json: value.json }
    }

    fn part(&self, bytes: &Bytes, wants_json: bool, name: &str) -> Result<DecodedPart, DecodeObstacle> {
        let fault = |problem: String| {
            let error = message(&format!("the {name} can't be decoded: {problem}"));
            DecodeObstacle::Fault(DecodeError { reason: DiscardReason::Undecodable, error })
        };
        let FramedPayload { id, payload } = self.0.framing().open(bytes).map_err(fault)?;
        let schema = self.schema(&id).map_err(|hindrance| match hindrance {
            DecodeObstacle::Fault(DecodeError { reason, error }) => {
                DecodeObstacle::Fault(DecodeError { reason, error: format!("the {name}: {error}") })
            }
            lookup => lookup,
        })?;
        let of_schema = |problem: String| fault(format!("by schema {id}: {problem}"));
        let json = schema.check(&payload, wants_json, self.0.framing()).map_err(of_schema)?;
        Ok(DecodedPart { bytes: payload, json, schema: Arc::clone(schema.metadata()) })
    }

    /// Returns a known schema. For another it returns a future that is ready when the schema has been looked up.
    fn schema(&self, id: &SchemaId) -> Result<Arc<Schema>, DecodeObstacle> {
        let mut schemas = self.0.schemas.lock();
        match schemas.get(id) {
            Some(SchemaEntry::Known(schema)) => return Ok(Arc::clone(schema)),
            Some(SchemaEntry::Missing(why, until)) if until.is_none_or(|until| Instant::now() < until) => {
                return Err(DecodeObstacle::Fault(why.clone()));
            }
            Some(SchemaEntry::Pending(lookup)) => return Err(DecodeObstacle::Lookup(lookup.clone().boxed())),
            Some(SchemaEntry::Missing(..)) | None => {}
        }
        let lookup = self.clone().look_up(id.clone()).boxed().shared();
        schemas.insert(id.clone(), SchemaEntry::Pending(lookup.clone()));
        Err(DecodeObstacle::Lookup(lookup.boxed()))
    }

    async fn look_up(self, id: SchemaId) {
        let entry = match self.0.patiently(&id).await {
            Ok(source) => match Schema::new(source, &id) {
                Ok(schema) => SchemaEntry::Known(Arc::new(schema)),
                Err(problem) => {
                    let error = message(&format!("schema {id} can't be used: {problem}"));
                    SchemaEntry::Missing(DecodeError { reason: DiscardReason::Undecodable, error }, None)
                }
            },
            Err(why) => {
                let error = message(&format!("the registry has no schema {id}: {why}"));
                let until = Instant::now() + MISSING_HOLDS;
                SchemaEntry::Missing(
                    DecodeError { reason: DiscardReason::SchemaNotFound, error },
                    Some(until),
                )
            }
        };
        let mut schemas = self.0.schemas.lock();
        if schemas.len() >= MOST_MISSING {
            schemas.retain(|_, entry| !matches!(entry, SchemaEntry::Missing(_, Some(_))));
        }
        schemas.insert(id, entry);
    }
}

impl Registry {
    fn framing(&self) -> Framing {
        match &self.client {
            Client::Confluent(_) => Framing::Confluent,
            Client::Glue(_) => Framing::Glue,
        }
    }

    /// Asks until the registry answers: with a schema, or with the reason why there is none.
    async fn patiently(&self, id: &SchemaId) -> Result<SchemaSource, String> {
        let mut failures = 0;
        loop {
            let problem = match self.ask(id).await {
                Ok(source) => {
                    self.answers();
                    return Ok(source);
                }
                Err(LookupError::NotFound(why)) => {
                    self.answers();
                    return Err(why);
                }
                Err(LookupError::Unavailable(problem)) => problem,
            };
            self.is_silent(&problem);
            failures += 1;
            time::sleep(WAITS.after(failures)).await;
        }
    }

    async fn ask(&self, id: &SchemaId) -> Result<SchemaSource, LookupError> {
        let answer = async {
            match &self.client {
                Client::Confluent(confluent) => confluent.schema(id).await,
                Client::Glue(glue) => glue.schema(id).await,
            }
        };
        self.said_when_late(answer).await
    }

    /// Waits for the answer. Reports a registry that does not answer in time, before the request itself times out.
    async fn said_when_late(
        &self,
        answer: impl Future<Output = Result<SchemaSource, LookupError>>,
    ) -> Result<SchemaSource, LookupError> {
        let mut answer = std::pin::pin!(answer);
        if let Ok(answer) = time::timeout(SAY_AFTER, &mut answer).await {
            return answer;
        }
        self.is_silent("no answer yet");
        answer.await
    }

    fn is_silent(&self, problem: &str) {
        if !self.is_silent.swap(true, Ordering::Relaxed) {
            (self.tell)(Availability::Silent(&message(problem)));
        }
    }

    fn answers(&self) {
        if self.is_silent.swap(false, Ordering::Relaxed) {
            (self.tell)(Availability::Answers);
        }
    }
}
