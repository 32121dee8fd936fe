//! Interprets the answers of the Invoke API. Pure.
//!
//! | | a function's error | no such function | any other failure |
//! |---|---|---|---|
//! | AWS | 200 and `X-Amz-Function-Error` | 404 | 4xx, 429, 5xx |
//! | cargo lambda | 500 and the error's JSON | 404 | 500 |
//! | Runtime Interface Emulator | 200 and the error's JSON, or a text that reports a timeout | 404 | 5xx |

use reqwest::StatusCode;
use serde::Deserialize;

use event_source_mapping::InvokeError;
use event_source_mapping::event::BatchResponse;
use event_source_mapping::message::cut;

#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Response(BatchResponse),
    /// The endpoint's message about the unknown function.
    UnknownFunction(String),
}

/// The error of a function, as a runtime writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionError {
    error_type: Option<String>,
    error_message: Option<String>,
}

/// The refusal of a request, as a service writes it.
#[derive(Deserialize)]
struct Refusal {
    #[serde(alias = "Message", alias = "detail")]
    message: String,
}

/// The longest part of an answer that a message repeats, in characters.
const MOST: usize = 500;

pub(super) fn judge(
    status: StatusCode,
    function_error: Option<&str>,
    body: &[u8],
    report_batch_item_failures: bool,
) -> Result<Answer, InvokeError> {
    let error = serde_json::from_slice::<FunctionError>(body).ok();
    let error = error.filter(|error| error.error_type.is_some() && error.error_message.is_some());
    if let Some(FunctionError { error_type, error_message }) = &error
        && (function_error.is_some() || status == StatusCode::OK || status.is_server_error())
    {
        let text = |text: &Option<String>| text.as_deref().map(|text| cut(text, MOST)).unwrap_or_default();
        return Err(InvokeError::Function(format!("{}: {}", text(error_type), text(error_message))));
    }
    if let Some(kind) = function_error {
        return Err(InvokeError::Function(format!("{kind}: {}", said(body))));
    }
    match status {
        StatusCode::OK if body.starts_with(b"Task timed out after ") => {
            Err(InvokeError::Function(said(body)))
        }
        // Without ReportBatchItemFailures a function may answer anything.
        StatusCode::OK if !report_batch_item_failures => Ok(Answer::Response(BatchResponse::default())),
        StatusCode::OK => BatchResponse::from_answer(body).map(Answer::Response),
        StatusCode::NOT_FOUND => Ok(Answer::UnknownFunction(said(body))),
        // The event never gets smaller. As a function's error it counts as a retry, so that it is discarded in the end.
        StatusCode::PAYLOAD_TOO_LARGE => {
            Err(InvokeError::Function(format!("the event is too large for it: {}", said(body))))
        }
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Err(InvokeError::Transport(format!(
            "{status}: {}; the credentials need lambda:InvokeFunction on the function",
            said(body)
        ))),
        status => Err(InvokeError::Transport(format!("{status}: {}", said(body)))),
    }
}

/// Returns the message in an answer, or else the beginning of the answer.
fn said(body: &[u8]) -> String {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(Refusal { message }) => cut(&message, MOST),
        Err(_) => cut(String::from_utf8_lossy(body).trim(), MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_source_mapping::event::BatchItemFailure;

    const ERROR: &str = r#"{"errorType":"Boom","errorMessage":"on purpose","stackTrace":[]}"#;

    fn judged(status: u16, function_error: Option<&str>, body: &str) -> Result<Answer, String> {
        let status = StatusCode::from_u16(status).unwrap();
        judge(status, function_error, body.as_bytes(), true).map_err(|error| error.to_string())
    }

    fn nothing_failed() -> Result<Answer, String> {
        Ok(Answer::Response(BatchResponse::default()))
    }

    #[test]
    fn a_functions_error_is_known_however_it_is_said() {
        let expected = Err("the function failed: Boom: on purpose".to_owned());
        // In this order: AWS, cargo lambda, the Runtime Interface Emulator.
        assert_eq!(judged(200, Some("Unhandled"), ERROR), expected);
        assert_eq!(judged(500, None, ERROR), expected);
        assert_eq!(judged(200, None, ERROR), expected);
        let timed_out = judged(200, None, "Task timed out after 3.00 seconds").unwrap_err();
        assert_eq!(timed_out, "the function failed: Task timed out after 3.00 seconds");
        assert_eq!(judged(200, Some("Unhandled"), "bye").unwrap_err(), "the function failed: Unhandled: bye");
    }

    #[test]
    fn what_is_not_the_functions_fault_is_told_apart() {
        for (status, body, expected) in [
            (500, "failed to receive message from function", "500 Internal Server Error: failed to receive"),
            (502, r#"{"Message":"no capacity","Type":"Service"}"#, "502 Bad Gateway: no capacity"),
            (429, r#"{"Reason":"x","message":"Rate Exceeded."}"#, "429 Too Many Requests: Rate Exceeded."),
            (403, r#"{"Message":"not you"}"#, "not you; the credentials need lambda:InvokeFunction"),
            (400, r#"{"errorType":"a","errorMessage":"b"}"#, "400 Bad Request"),
        ] {
            let said = judged(status, None, body).unwrap_err();
            assert!(
                said.starts_with("the function could not be invoked") && said.contains(expected),
                "{said}"
            );
        }
    }

    #[test]
    fn an_event_that_is_too_large_is_held_against_its_records() {
        let said = judged(413, None, r#"{"message":"6291456"}"#).unwrap_err();
        assert_eq!(said, "the function failed: the event is too large for it: 6291456");
    }

    #[test]
    fn a_function_that_is_not_there_is_not_an_error_yet() {
        let cargo_lambda = r#"{"title":"Missing function","detail":"Available functions: {\"a\"}"}"#;
        let said = "Available functions: {\"a\"}".to_owned();
        assert_eq!(judged(404, None, cargo_lambda), Ok(Answer::UnknownFunction(said)));
    }

    #[test]
    fn a_report_is_read_where_one_was_asked_for() {
        let report = r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"t-0","offset":7}}]}"#;
        let batch_item_failures = vec![BatchItemFailure { partition: "t-0".to_owned(), offset: 7 }];
        assert_eq!(judged(200, None, report), Ok(Answer::Response(BatchResponse { batch_item_failures })));
        for empty in ["", "null", "{}"] {
            assert_eq!(judged(200, None, empty), nothing_failed());
        }
        assert!(judged(200, None, "\"done\"").unwrap_err().contains("its answer is not a batch response"));
        for answer in [report, "\"done\"", "done"] {
            let ignored = judge(StatusCode::OK, None, answer.as_bytes(), false).unwrap();
            assert_eq!(Ok(ignored), nothing_failed());
        }
    }

    #[test]
    fn a_long_answer_is_not_repeated_in_full() {
        let said = judged(503, None, &"ü".repeat(10_000)).unwrap_err();
        assert!(said.ends_with("ü…") && said.chars().count() < 700);
    }
}
