//! A registry with Confluent's API, as the page "Schema Registry API Reference" describes it. Confluent's own registry has this
//! API, and so have Apicurio, Redpanda and Karapace.

use std::collections::BTreeSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::ACCEPT;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use thiserror::Error;

use super::schema::{DataFormat, SchemaSource};
use super::wire::SchemaId;
use super::{LookupError, PATIENCE};
use crate::aws::{self, BaseUrl, root_cause};
use event_source_mapping::message::cut;

/// The registry can't be used as it is given. No message repeats a URL, because a URL may contain a password.
#[derive(Debug, Error)]
pub enum InvalidRegistry {
    /// The text is not a URL.
    #[error(
        "it must be http://[USER:PASSWORD@]HOST[:PORT][/PATH], or https://…; in a password, all but letters and digits is percent-encoded"
    )]
    Url,
    /// A variable of the environment that AWS needs is missing.
    #[error(
        "AWS Glue needs the environment variable {0}; or give what answers in its place with --registry URL"
    )]
    Environment(&'static str),
    /// The client can't be made.
    #[error("no HTTP client: {0}")]
    Client(String),
}

/// The most schemas to which one schema may refer, directly or through others.
const MOST_REFERENCES: usize = 1000;
const IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The error codes for "not found": of a subject, of its version, of a schema.
const NOT_FOUND: [u32; 3] = [40401, 40402, 40403];

pub(super) struct Confluent {
    client: Client,
    /// The base URL, without a slash at its end.
    url: BaseUrl,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaAnswer {
    schema: String,
    /// `None` means Avro.
    schema_type: Option<String>,
    references: Option<Vec<Reference>>,
}

#[derive(Clone, Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i64,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error_code: Option<u32>,
    message: Option<String>,
}

impl Confluent {
    pub(super) fn open(url: &str) -> Result<Self, InvalidRegistry> {
        let url: BaseUrl = url.parse().map_err(|_| InvalidRegistry::Url)?;
        Ok(Self { client: client(&url)?, url })
    }

    pub(super) async fn schema(&self, id: &SchemaId) -> Result<SchemaSource, LookupError> {
        let SchemaAnswer { schema, schema_type, references } =
            self.get(&format!("/schemas/ids/{id}")).await?;
        let name = schema_type.as_deref().unwrap_or("AVRO");
        let format = DataFormat::of_name(name).ok_or_else(|| {
            LookupError::NotFound(format!("its type is {name}; there are AVRO, PROTOBUF and JSON"))
        })?;
        let references = self.references(references.unwrap_or_default()).await?;
        Ok(SchemaSource { format, text: schema, references })
    }

    /// Returns all schemas to which a schema refers, directly or through others, each once.
    async fn references(&self, mut wanted: Vec<Reference>) -> Result<Vec<(String, String)>, LookupError> {
        let mut names = BTreeSet::new();
        let mut found = Vec::new();
        while let Some(Reference { name, subject, version }) = wanted.pop() {
            if !names.insert(name.clone()) {
                continue;
            }
            if names.len() > MOST_REFERENCES {
                let problem = format!("it refers to more than {MOST_REFERENCES} others");
                return Err(LookupError::NotFound(problem));
            }
            let subject = utf8_percent_encode(&subject, IN_PATHS);
            let answer = self.get(&format!("/subjects/{subject}/versions/{version}")).await?;
            found.push((name, answer.schema));
            wanted.extend(answer.references.unwrap_or_default());
        }
        Ok(found)
    }

    async fn get(&self, path: &str) -> Result<SchemaAnswer, LookupError> {
        let request = self
            .client
            .get(format!("{}{path}", self.url))
            .header(ACCEPT, "application/vnd.schemaregistry.v1+json, application/json");
        let answer = request.send().await.map_err(|error| unavailable(&error))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| unavailable(&error))?;
        if status.is_success() {
            let problem = |error| LookupError::Unavailable(format!("its answer is not a schema: {error}"));
            return serde_json::from_slice(&body).map_err(problem);
        }
        Err(judge(status, &body))
    }
}

/// Interprets a failure. It separates "there is no such schema", as the registry says it, from all other problems, such as a
/// wrong path.
fn judge(status: StatusCode, body: &[u8]) -> LookupError {
    let problem = serde_json::from_slice::<ErrorAnswer>(body).ok();
    let code = problem.as_ref().and_then(|problem| problem.error_code);
    let said = problem.and_then(|problem| problem.message);
    let said = said.unwrap_or_else(|| cut(String::from_utf8_lossy(body).trim(), 200));
    if status == StatusCode::NOT_FOUND && code.is_some_and(|code| NOT_FOUND.contains(&code)) {
        return LookupError::NotFound(said);
    }
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "give user:password@ in --registry",
        StatusCode::NOT_FOUND => "the URL must be that under which /schemas/ids/ is",
        _ => "",
    };
    LookupError::Unavailable(of_status(status, &said, hint))
}

/// Describes a failure: the status of the answer, its message, and a hint.
pub(super) fn of_status(status: StatusCode, said: &str, hint: &str) -> String {
    let parts = [status.to_string(), said.to_owned()];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}{}{hint}", parts.join(": "), if hint.is_empty() { "" } else { "; " })
}

/// Returns a client for a registry at this URL. It uses no proxy for a registry on this machine or in its network.
pub(super) fn client(url: &BaseUrl) -> Result<Client, InvalidRegistry> {
    aws::patient_client(url.reach(), PATIENCE).map_err(|error| InvalidRegistry::Client(error.to_string()))
}

pub(super) fn unavailable(error: &reqwest::Error) -> LookupError {
    LookupError::Unavailable(root_cause(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> (bool, String) {
        match judge(StatusCode::from_u16(status).unwrap(), body.as_bytes()) {
            LookupError::NotFound(said) => (true, said),
            LookupError::Unavailable(said) => (false, said),
        }
    }

    #[test]
    fn only_a_registry_can_say_that_there_is_no_schema() {
        let said = judged(404, r#"{"error_code":40403,"message":"Schema 7 not found"}"#);
        assert_eq!(said, (true, "Schema 7 not found".to_owned()));
        for (status, body, said) in [
            (404, "<html>", "404 Not Found: <html>; the URL must be"),
            (404, "", "404 Not Found; the URL must be"),
            (404, r#"{"error_code":404,"message":"HTTP 404"}"#, "404 Not Found: HTTP 404; the URL must be"),
            (401, r#"{"error_code":401,"message":"Unauthorized"}"#, "give user:password@ in --registry"),
            (500, r#"{"error_code":50001,"message":"storage"}"#, "500 Internal Server Error: storage"),
        ] {
            let (is_not_found, found) = judged(status, body);
            assert!(!is_not_found && found.contains(said), "{found}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_and_not_repeated() {
        for url in
            ["localhost:8081", "ftp://s3cret@host", "http://", "http://host?s3cret", "http://a:s3cret@:x"]
        {
            let said = Confluent::open(url).err().unwrap().to_string();
            assert!(said.contains("it must be http://") && !said.contains("s3cret"), "{said}");
        }
        assert!(Confluent::open("http://ann:p%40ss@host:8081/apis/ccompat/v7/").is_ok());
    }
}
