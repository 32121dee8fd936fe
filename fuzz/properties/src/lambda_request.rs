//! The event with which an HTTP API, a REST API or a load balancer invokes a function.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use lambda_http::request::LambdaRequest;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::Value;

use crate::http_request::check_answer;
use crate::system::{self, Answer};

/// Checks that an event that can be read is answered by a documented status, in a form that the gateway takes.
pub fn check(bytes: &[u8]) {
    let Ok(event) = serde_json::from_slice::<LambdaRequest>(bytes) else { return };
    // Requests that only wait are left out.
    if bytes.windows(4).any(|part| part == b"wait" || part == b"min_") {
        return;
    }
    let method = match &event {
        LambdaRequest::ApiGatewayV1(event) => event.http_method.clone(),
        LambdaRequest::ApiGatewayV2(event) => event.request_context.http.method.clone(),
        LambdaRequest::Alb(event) => event.http_method.clone(),
        _ => Method::GET,
    };
    let event = LambdaEvent::new(event, Context::default());
    let answer = system::with(async |system| runtime::function::answer(system.router.clone(), event).await);
    let answer = serde_json::to_value(answer.expect("an answer")).expect("an answer is JSON");
    check_answer(&method, &as_plain(&answer));
}

fn as_plain(answer: &Value) -> Answer {
    let status = answer["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).expect("a status");
    // An HTTP API takes one value a header, the others take lists.
    let headers = ["headers", "multiValueHeaders"].into_iter().flat_map(|name| answer[name].as_object());
    let headers = headers.flatten().map(|(name, value)| {
        let value = value.as_array().map_or(value, |values| &values[0]);
        let value = value.as_str().expect("a header is text").parse::<HeaderValue>().expect("a header");
        (name.parse::<HeaderName>().expect("a header's name"), value)
    });
    assert_eq!(answer["isBase64Encoded"], false, "{answer}");
    let body = answer["body"].as_str().unwrap_or_default().as_bytes().to_vec();
    Answer { status, headers: headers.collect::<HeaderMap>(), body }
}
