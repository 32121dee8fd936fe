//! A failure destination: a queue, an SNS topic or a bucket, at AWS or at a server that stands in for it. It receives discarded
//! records.
//!
//! | | request | answer that confirms it |
//! |---|---|---|
//! | queue | `SendMessage` of the JSON protocol | 200 with `MessageId` |
//! | SNS topic | `Publish` of the query protocol | 200 with `MessageId` |
//! | bucket | `PutObject`, the bucket in the path | 200 with `ETag` |
//!
//! An answer without that id or tag is a failure: a server that answers 200 to any request has stored nothing.

mod answer;
mod resource;

use std::time::{Duration, SystemTime};

use form_urlencoded::Serializer;
use reqwest::header::{CONTENT_TYPE, ETAG};
use reqwest::{Client, Request};
use serde_json::json;
use thiserror::Error;

use self::answer::Answer;
use self::resource::ResourceKind;
pub use self::resource::{AwsResource, InvalidResource};
use crate::aws::{self, Network, Signer, SigningError, root_cause};
pub use crate::aws::{BaseUrl, InvalidBaseUrl};
use crate::failure_record::{self, Context};
use event_source_mapping::DeadLetter;

/// The longest time for a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// The client can't be made.
#[derive(Debug, Error)]
#[error("no HTTP client: {0}")]
pub struct ClientError(String);

/// The destination has not accepted the records. The text says why.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct DeliveryError(String);

/// A failure destination and its address.
pub struct FailureDestination {
    resource: AwsResource,
    client: Client,
    url: BaseUrl,
    signer: Signer,
}

impl FailureDestination {
    /// Opens the resource at a base URL. `region` is used for a bucket, because its ARN has no region. `variable` reads the
    /// environment. Requests are signed with its credentials, or with `test` and `test`, which servers that stand in for AWS
    /// accept.
    ///
    /// It connects with the first record, and not before.
    ///
    /// # Errors
    /// [`ClientError`] when the HTTP client can't be made.
    pub fn open(
        resource: AwsResource,
        url: BaseUrl,
        region: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ClientError> {
        let signer = Signer {
            service: resource.kind.service(),
            region: resource.region().unwrap_or(region).to_owned(),
            credentials: aws::credentials(variable).unwrap_or_else(|_| aws::made_up_credentials()),
        };
        let client =
            aws::patient_client(Network::Local, PATIENCE).map_err(|error| ClientError(error.to_string()))?;
        Ok(Self { resource, client, url, signer })
    }

    /// Sends a message or an object about records that were discarded together.
    ///
    /// # Errors
    /// [`DeliveryError`] when the destination did not confirm it. The destination may have stored it all the same.
    pub async fn take(&self, discarded: &DeadLetter, context: &Context<'_>) -> Result<(), DeliveryError> {
        let problem = match self.send(discarded, context).await {
            Ok(answer) => match answer.refusal(self.resource.kind) {
                None => return Ok(()),
                Some(refusal) => refusal,
            },
            Err(RequestError::Http(error)) => root_cause(&error),
            Err(RequestError::Json(error)) => error.to_string(),
            Err(RequestError::Signature(error)) => error.to_string(),
        };
        Err(DeliveryError(format!("{} at {}: {problem}", self.resource, self.url)))
    }

    async fn send(&self, discarded: &DeadLetter, context: &Context<'_>) -> Result<Answer, RequestError> {
        let mut request = self.request(discarded, context)?;
        self.signer.sign(&mut request, SystemTime::now())?;
        let response = self.client.execute(request).await?;
        let (status, has_etag) = (response.status(), response.headers().contains_key(ETAG));
        Ok(Answer { status, has_etag, body: response.bytes().await? })
    }

    fn request(&self, discarded: &DeadLetter, context: &Context<'_>) -> Result<Request, RequestError> {
        let Self { resource, client, url, .. } = self;
        let request = match resource.kind {
            ResourceKind::Bucket => {
                let object = failure_record::object(discarded, context)?;
                let url = format!("{url}/{}/{}", resource.name(), object.key);
                client.put(url).header(CONTENT_TYPE, "application/json").body(object.value)
            }
            ResourceKind::Topic => {
                let form = Serializer::new(String::new())
                    .append_pair("Action", "Publish")
                    .append_pair("Version", "2010-03-31")
                    .append_pair("TopicArn", resource.arn())
                    .append_pair("Message", &failure_record::notice(discarded, context)?)
                    .finish();
                client
                    .post(format!("{url}/"))
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
                    .body(form)
            }
            ResourceKind::Queue => {
                let queue = format!("{url}/{}/{}", resource.account(), resource.name());
                let message = failure_record::notice(discarded, context)?;
                client
                    .post(format!("{url}/"))
                    .header(CONTENT_TYPE, "application/x-amz-json-1.0")
                    .header("x-amz-target", "AmazonSQS.SendMessage")
                    .body(json!({"QueueUrl": queue, "MessageBody": message}).to_string())
            }
        };
        Ok(request.build()?)
    }
}

/// A request failed without an answer.
#[derive(Debug, Error)]
enum RequestError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Signature(#[from] SigningError),
}

#[cfg(test)]
mod tests;
