//! Lambda's HTTP events as plain requests, where `lambda_http` makes something else of them.
//!
//! API Gateway's HTTP API sends payload 2.0, its REST API 1.0; an Application Load Balancer has an event of its own ("Working with
//! AWS Lambda proxy integrations for HTTP APIs", "Lambda functions as targets for Application Load Balancers").

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::HOST;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::aws_lambda_events::query_map::QueryMap;
use lambda_http::request::LambdaRequest;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::http::Actor;

/// The event without what is the gateway's own: the path is the API's, and every header has all its values. `lambda_http` panics where
/// a path, a query, a host or a body is not what it expects, so nothing of that is left in it.
pub(crate) fn plain(event: LambdaRequest) -> LambdaRequest {
    match event {
        LambdaRequest::ApiGatewayV2(mut event) => {
            event.raw_path = Some(path_of(&event).into_owned());
            event.raw_query_string =
                event.raw_query_string.map(|query| escaped(&query, IN_QUERY).into_owned());
            // Else it would be put before the path again.
            event.request_context.stage = None;
            event.request_context.domain_name = None;
            event.headers.remove(HOST);
            event.is_base64_encoded = is_base64(event.is_base64_encoded, event.body.as_deref());
            LambdaRequest::ApiGatewayV2(event)
        }
        LambdaRequest::ApiGatewayV1(mut event) => {
            // Its path never has the stage.
            event.path = Some(whole(event.path.as_deref()).into_owned());
            event.request_context.stage = None;
            event.request_context.domain_name = None;
            keep_all_values(&mut event.headers, &event.multi_value_headers);
            for query in [&mut event.query_string_parameters, &mut event.multi_value_query_string_parameters]
            {
                *query = with_values(query);
            }
            event.is_base64_encoded = is_base64(event.is_base64_encoded, event.body.as_deref());
            LambdaRequest::ApiGatewayV1(event)
        }
        LambdaRequest::Alb(mut event) => {
            event.path = Some(whole(event.path.as_deref()).into_owned());
            keep_all_values(&mut event.headers, &event.multi_value_headers);
            for query in [&mut event.query_string_parameters, &mut event.multi_value_query_string_parameters]
            {
                *query = with_values(query);
            }
            event.is_base64_encoded = is_base64(event.is_base64_encoded, event.body.as_deref());
            LambdaRequest::Alb(event)
        }
        other => other,
    }
}

/// The parameters that have a value.
fn with_values(query: &QueryMap) -> QueryMap {
    let mut parameters: HashMap<String, Vec<String>> =
        serde_json::to_value(query).and_then(serde_json::from_value).unwrap_or_default();
    parameters.retain(|_, values| !values.is_empty());
    parameters.into()
}

/// A body that is said to be base64 and is not stays as it is, for whoever reads it to refuse.
fn is_base64(said: bool, body: Option<&str>) -> bool {
    said && body.is_none_or(|body| STANDARD.decode(body).is_ok())
}

/// Who sent the request, where a JWT authorizer has let it in.
pub(crate) fn actor(event: &LambdaRequest) -> Option<Actor> {
    let LambdaRequest::ApiGatewayV2(event) = event else {
        return None;
    };
    let jwt = event.request_context.authorizer.as_ref()?.jwt.as_ref()?;
    jwt.claims.get("sub").cloned().map(Actor)
}

/// `headers` has the last value of each, and would take the others' place. A `Host` that the client made up is no use to anybody,
/// and must parse where it is there.
fn keep_all_values(headers: &mut HeaderMap, all_values: &HeaderMap) {
    if all_values.is_empty() {
        headers.remove(HOST);
    } else {
        headers.clear();
    }
}

/// The path as the API has it. An HTTP API puts its stage before it, unless that is `$default`; behind a domain of one's own, the
/// domain's mapping. The route that was matched tells how much is too much: `GET /{id}/events` has two parts.
fn path_of(event: &ApiGatewayV2httpRequest) -> Cow<'_, str> {
    let path = event.raw_path.as_deref().unwrap_or("/");
    let route = event.route_key.as_deref().and_then(|key| key.split_once(' ')).map(|(_, route)| route);
    let before = match (route, event.request_context.stage.as_deref()) {
        (Some(route), _) if !route.contains('+') => parts(path).saturating_sub(parts(route)),
        (_, Some(stage)) => usize::from(path.split('/').nth(1) == Some(stage)),
        _ => 0,
    };
    let begin = path.match_indices('/').nth(before).map(|(begin, _)| begin);
    whole(begin.map(|begin| &path[begin..]))
}

fn parts(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}

/// Paths come decoded. What would end one, or what a reader of URLs takes for something else or for nothing, is encoded again, so that it
/// can't pass for another path.
const IN_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'\\');

/// Queries come as they were sent, which may be in characters that must not stand in one.
const IN_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

fn escaped<'a>(text: &'a str, characters: &'static AsciiSet) -> Cow<'a, str> {
    utf8_percent_encode(text, characters).into()
}

/// A path from its first slash on.
fn whole(path: Option<&str>) -> Cow<'_, str> {
    match path {
        Some(path) if path.starts_with('/') => escaped(path, IN_PATH),
        Some(path) => Cow::Owned(format!("/{}", escaped(path, IN_PATH))),
        None => Cow::Borrowed("/"),
    }
}
