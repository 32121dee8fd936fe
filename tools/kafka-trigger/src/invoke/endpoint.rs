//! The endpoint for invocations: a URL, or AWS with signed requests.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response};
use thiserror::Error;

use super::CallError;
use super::turns::{FunctionTurns, Turns};
use crate::aws::{self, BaseUrl, Network, Service, Signer};

/// The endpoint can't be used as it is given.
#[derive(Debug, Error)]
pub enum InvalidEndpoint {
    /// The text is not a URL.
    #[error("--invoke is {0:?}; it must be http://HOST:PORT, https://HOST or aws")]
    Url(String),
    /// A variable of the environment that `aws` needs is missing.
    #[error("--invoke aws needs the environment variable {0}")]
    Environment(&'static str),
    /// The client can't be made.
    #[error("no HTTP client: {0}")]
    Client(String),
}

/// An endpoint for invocations. Cheap to clone; its clones share their connections.
#[derive(Clone)]
pub struct Endpoint {
    client: Client,
    url: BaseUrl,
    signer: Option<Arc<Signer>>,
    turns: Arc<Turns>,
}

impl Endpoint {
    /// Opens `aws`, or the URL to which `/2015-03-31/functions/…` is appended. `variable` reads the environment. For `aws` it
    /// must have `AWS_REGION` (or `AWS_DEFAULT_REGION`), `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`. It may have
    /// `AWS_SESSION_TOKEN`, `AWS_ENDPOINT_URL_LAMBDA` and `AWS_ENDPOINT_URL`.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] when the URL is wrong, a variable is missing, or the HTTP client can't be made.
    pub fn open(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidEndpoint> {
        let variable = |name: &'static str| variable(name).filter(|value| !value.is_empty());
        if text != "aws" {
            let (client, url) = (client(Network::Local)?, parse(text)?);
            return Ok(Self { client, url, signer: None, turns: no_bound() });
        }
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = region.ok_or(InvalidEndpoint::Environment("AWS_REGION"))?;
        let credentials = aws::credentials(variable).map_err(InvalidEndpoint::Environment)?;
        let url = variable("AWS_ENDPOINT_URL_LAMBDA").or_else(|| variable("AWS_ENDPOINT_URL"));
        let url = url.unwrap_or_else(|| {
            let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            format!("https://lambda.{region}.{domain}")
        });
        let signer = Some(Arc::new(Signer { service: Service::Lambda, region, credentials }));
        Ok(Self { client: client(Network::Internet)?, url: parse(&url)?, signer, turns: no_bound() })
    }

    /// Limits the calls of one function that the endpoint gets at once, from all callers together. Other calls wait for their
    /// turn. A function's timeout begins when its call is sent. Without this method there is no limit.
    #[must_use]
    pub fn with_calls_at_once(self, calls: usize) -> Self {
        Self { turns: Arc::new(Turns::new(Some(calls))), ..self }
    }

    pub(super) fn turns(&self, names: &[String]) -> FunctionTurns {
        self.turns.of(names)
    }

    pub(super) fn is_aws(&self) -> bool {
        self.signer.is_some()
    }

    pub(super) async fn post(
        &self,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Response, CallError> {
        let mut request = self
            .client
            .post(format!("{}{path}", self.url))
            .timeout(patience)
            .header(CONTENT_TYPE, "application/json")
            .header("x-amz-invocation-type", "RequestResponse")
            .body(body)
            .build()?;
        if let Some(signer) = &self.signer {
            signer.sign(&mut request, SystemTime::now())?;
        }
        Ok(self.client.execute(request).await?)
    }
}

fn no_bound() -> Arc<Turns> {
    Arc::new(Turns::new(None))
}

fn client(reach: Network) -> Result<Client, InvalidEndpoint> {
    aws::client(reach).map_err(|error| InvalidEndpoint::Client(error.to_string()))
}

fn parse(text: &str) -> Result<BaseUrl, InvalidEndpoint> {
    text.parse().map_err(|_| InvalidEndpoint::Url(text.to_owned()))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn variables(name: &str) -> Option<String> {
        match name {
            "AWS_REGION" => Some("eu-west-1".to_owned()),
            name => crate::aws::example_variables(name),
        }
    }

    #[test]
    fn aws_is_signed_and_in_the_region_of_the_environment() {
        let endpoint = Endpoint::open("aws", variables).unwrap();
        assert!(endpoint.is_aws());
        assert_eq!(endpoint.to_string(), "https://lambda.eu-west-1.amazonaws.com");
        let elsewhere = |name: &str| match name {
            "AWS_ENDPOINT_URL" => Some("http://127.0.0.1:4566/".to_owned()),
            name => variables(name),
        };
        assert_eq!(Endpoint::open("aws", elsewhere).unwrap().to_string(), "http://127.0.0.1:4566");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let without = |missing: &'static str| {
            Endpoint::open("aws", move |name| if name == missing { None } else { variables(name) })
        };
        for missing in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            assert!(without(missing).err().unwrap().to_string().contains(missing));
        }
        for url in ["", "AWS", "127.0.0.1:9000", "ftp://host", "http://", "http://host?x=1"] {
            let said = Endpoint::open(url, |_| None).err().unwrap().to_string();
            assert!(said.contains("it must be http://HOST:PORT"), "{said}");
        }
    }

    #[test]
    fn a_request_is_signed_as_awss_documentation_says() {
        let endpoint = Endpoint::open("aws", variables).unwrap();
        let url = format!("{endpoint}/2015-03-31/functions/my-function/invocations");
        let mut request = endpoint.client.post(&url).body("{}").build().unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        endpoint.signer.as_ref().unwrap().sign(&mut request, now).unwrap();
        assert_eq!(request.headers()["x-amz-date"], "20231114T221320Z");
        // This signature was computed separately, by "Create a signed AWS API request" of the AWS IAM User Guide.
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20231114/eu-west-1/lambda/aws4_request, \
                        SignedHeaders=host;x-amz-date, Signature=2bb6a44f264e6af4f4a869b60e3da7003e586e412b3db4f6afa9edf2b07b1914";
        assert_eq!(request.headers()["authorization"], expected);
    }
}
