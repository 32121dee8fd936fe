//! The schema registry of AWS Glue. It uses the operation `GetSchemaVersion` of the "AWS Glue Web API Reference", with signed
//! requests.

use std::time::SystemTime;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::LookupError;
use super::confluent::{InvalidRegistry, client, of_status, unavailable};
use super::schema::{DataFormat, SchemaSource};
use super::wire::SchemaId;
use crate::aws::{self, BaseUrl, Service, Signer};
use event_source_mapping::message::cut;

pub(super) struct Glue {
    client: Client,
    url: BaseUrl,
    signer: Signer,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SchemaAnswer {
    schema_definition: String,
    data_format: String,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(alias = "Message")]
    message: Option<String>,
}

impl Glue {
    pub(super) fn open(
        region: &str,
        url: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, InvalidRegistry> {
        let variable = |name: &'static str| variable(name).filter(|value| !value.is_empty());
        let credentials = match (aws::credentials(variable), url) {
            (Ok(credentials), _) => credentials,
            (Err(_), Some(_)) => aws::made_up_credentials(),
            (Err(missing), None) => return Err(InvalidRegistry::Environment(missing)),
        };
        let signer = Signer { service: Service::Glue, region: region.to_owned(), credentials };
        let of_variable = || variable("AWS_ENDPOINT_URL_GLUE").or_else(|| variable("AWS_ENDPOINT_URL"));
        let url = url.map(str::to_owned).or_else(of_variable).unwrap_or_else(|| {
            let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            format!("https://glue.{region}.{domain}")
        });
        let url: BaseUrl = url.parse().map_err(|_| InvalidRegistry::Url)?;
        Ok(Self { client: client(&url)?, url, signer })
    }

    pub(super) async fn schema(&self, id: &SchemaId) -> Result<SchemaSource, LookupError> {
        let cannot = |error: &dyn std::fmt::Display| LookupError::Unavailable(error.to_string());
        let mut request = self
            .client
            .post(format!("{}/", self.url))
            .header(CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("X-Amz-Target", "AWSGlue.GetSchemaVersion")
            .body(json!({"SchemaVersionId": id.to_string()}).to_string())
            .build()
            .map_err(|error| unavailable(&error))?;
        self.signer.sign(&mut request, SystemTime::now()).map_err(|error| cannot(&error))?;
        let answer = self.client.execute(request).await.map_err(|error| unavailable(&error))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| unavailable(&error))?;
        if !status.is_success() {
            return Err(judge(status, &body));
        }
        let Ok(SchemaAnswer { schema_definition: text, data_format: name }) = serde_json::from_slice(&body)
        else {
            return Err(LookupError::Unavailable("its answer is not a schema".to_owned()));
        };
        let format = DataFormat::of_name(&name).ok_or_else(|| {
            LookupError::NotFound(format!("its format is {name}; there are AVRO, PROTOBUF and JSON"))
        })?;
        // Glue has no references.
        Ok(SchemaSource { format, text, references: Vec::new() })
    }
}

fn judge(status: StatusCode, body: &[u8]) -> LookupError {
    let problem = serde_json::from_slice::<ErrorAnswer>(body).ok();
    let is_missing =
        problem.as_ref().is_some_and(|problem| problem.kind.ends_with("EntityNotFoundException"));
    let kind = problem.as_ref().map(|problem| problem.kind.clone()).unwrap_or_default();
    let said = problem.and_then(|problem| problem.message);
    let said = said.unwrap_or_else(|| cut(String::from_utf8_lossy(body).trim(), 200));
    if is_missing {
        return LookupError::NotFound(said);
    }
    let hint = if kind.ends_with("AccessDeniedException") {
        "the credentials need glue:GetSchemaVersion"
    } else {
        ""
    };
    LookupError::Unavailable(of_status(status, &said, hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::example_variables as variables;

    #[test]
    fn without_a_url_it_is_aws_with_the_credentials_of_the_environment() {
        let glue = Glue::open("eu-west-1", None, variables).unwrap();
        assert_eq!(glue.url.to_string(), "https://glue.eu-west-1.amazonaws.com");
        assert_eq!(glue.signer.credentials.access_key_id(), "AKIDEXAMPLE");
        let elsewhere = |name: &str| match name {
            "AWS_ENDPOINT_URL" => Some("http://127.0.0.1:4566/".to_owned()),
            name => variables(name),
        };
        assert_eq!(
            Glue::open("eu-west-1", None, elsewhere).unwrap().url.to_string(),
            "http://127.0.0.1:4566"
        );
        let said = Glue::open("eu-west-1", None, |_| None).err().unwrap().to_string();
        assert!(said.contains("the environment variable AWS_ACCESS_KEY_ID; or give"), "{said}");
    }

    #[test]
    fn what_stands_in_for_aws_may_have_no_credentials() {
        let glue = Glue::open("eu-west-1", Some("http://127.0.0.1:5000/"), |_| None).unwrap();
        assert_eq!(
            (glue.url.to_string().as_str(), glue.signer.credentials.access_key_id()),
            ("http://127.0.0.1:5000", "test")
        );
        assert!(Glue::open("eu-west-1", Some("127.0.0.1:5000"), |_| None).is_err());
    }

    #[test]
    fn a_version_that_is_not_there_is_told_from_all_else() {
        let judged =
            |status: u16, body: &str| match judge(StatusCode::from_u16(status).unwrap(), body.as_bytes()) {
                LookupError::NotFound(said) => (true, said),
                LookupError::Unavailable(said) => (false, said),
            };
        let missing = r#"{"__type":"EntityNotFoundException","Message":"Schema is not found."}"#;
        assert_eq!(judged(400, missing), (true, "Schema is not found.".to_owned()));
        let denied = r#"{"__type":"AccessDeniedException","Message":"not you"}"#;
        let (is_missing, said) = judged(400, denied);
        assert!(
            !is_missing && said.ends_with("not you; the credentials need glue:GetSchemaVersion"),
            "{said}"
        );
    }
}
