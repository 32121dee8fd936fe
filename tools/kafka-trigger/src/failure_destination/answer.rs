//! Interprets the answers of SQS, SNS and S3. Pure.

use bytes::Bytes;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::resource::ResourceKind;
use event_source_mapping::message::cut;

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) has_etag: bool,
    pub(super) body: Bytes,
}

/// The longest part of an answer that a message repeats, in characters.
const MOST: usize = 300;

impl Answer {
    /// Returns the reason why the service has refused the request, or `None` if it has accepted it.
    pub(super) fn refusal(&self, kind: ResourceKind) -> Option<String> {
        let Self { status, body, .. } = self;
        let text = String::from_utf8_lossy(body);
        if !status.is_success() {
            let problem = problem_of_json(body).or_else(|| problem_of_xml(&text));
            return Some(format!("{status}: {}", problem.unwrap_or_else(|| cut(text.trim(), MOST))));
        }
        let has_taken_it = match kind {
            ResourceKind::Bucket => self.has_etag,
            ResourceKind::Queue => serde_json::from_slice::<SendMessageAnswer>(body).is_ok(),
            ResourceKind::Topic => text.contains("<MessageId>"),
        };
        (!has_taken_it).then(|| {
            let expected = if kind == ResourceKind::Bucket { "ETag" } else { "MessageId" };
            format!(
                "{status}, and no {expected} in the answer, so that it has not been taken: {}",
                cut(text.trim(), MOST)
            )
        })
    }
}

/// The answer of a queue that has accepted a message.
#[derive(Deserialize)]
struct SendMessageAnswer {
    #[serde(rename = "MessageId")]
    _message_id: String,
}

/// Returns the code of an error and its message, without the numbers that differ with every answer.
fn problem_of_json(body: &[u8]) -> Option<String> {
    let problem: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| problem.get(name).and_then(Value::as_str);
    let code = text("__type")?;
    let code = code.rsplit('#').next().unwrap_or(code);
    let message = text("message").or(text("Message")).unwrap_or_default();
    Some(cut(&format!("{code}: {message}"), MOST))
}

fn problem_of_xml(text: &str) -> Option<String> {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(content, _)| content.trim())
    };
    let (code, message) = (element("Code")?, element("Message").unwrap_or_default());
    Some(cut(&format!("{code}: {message}"), MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(kind: ResourceKind, status: u16, has_etag: bool, body: &str) -> Option<String> {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, has_etag, body: body.to_owned().into() }.refusal(kind)
    }

    #[test]
    fn what_was_taken_is_known_by_what_each_service_says() {
        assert_eq!(
            refusal(ResourceKind::Queue, 200, false, r#"{"MessageId": "m", "MD5OfMessageBody": "5"}"#),
            None
        );
        let published =
            "<PublishResponse><PublishResult><MessageId>m</MessageId></PublishResult></PublishResponse>";
        assert_eq!(refusal(ResourceKind::Topic, 200, false, published), None);
        assert_eq!(refusal(ResourceKind::Bucket, 200, true, ""), None);
    }

    #[test]
    fn an_answer_of_somebody_else_is_not_taken_for_one() {
        for kind in [ResourceKind::Bucket, ResourceKind::Queue, ResourceKind::Topic] {
            let said = refusal(kind, 200, false, "<html>It works!</html>").unwrap();
            assert!(
                said.starts_with("200 OK, and no ") && said.ends_with("<html>It works!</html>"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_problem_is_said_with_its_code_and_without_what_differs_every_time() {
        let json = r#"{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "The specified queue does not exist.", "Message": "x"}"#;
        let expected = "400 Bad Request: QueueDoesNotExist: The specified queue does not exist.";
        assert_eq!(refusal(ResourceKind::Queue, 400, false, json).unwrap(), expected);
        let xml = "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message>\
                   <RequestId>0f1e2d3c</RequestId></Error>";
        let expected = "404 Not Found: NoSuchBucket: The specified bucket does not exist";
        assert_eq!(refusal(ResourceKind::Bucket, 404, true, xml).unwrap(), expected);
        assert_eq!(
            refusal(ResourceKind::Topic, 503, false, " down ").unwrap(),
            "503 Service Unavailable: down"
        );
        let long = refusal(ResourceKind::Topic, 500, false, &"x".repeat(10_000)).unwrap();
        assert!(long.len() < 400, "{long}");
    }
}
