//! Lambda's HTTP events as plain requests, where `lambda_http` would read them in another way.
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

/// Returns the event without the gateway's own parts: the path is the API's, and every header has all its values. `lambda_http`
/// panics on a path, a query, a host or a body that it does not expect. So nothing of that kind is left in the event.
pub(crate) fn plain(event: LambdaRequest) -> LambdaRequest {
    match event {
        LambdaRequest::ApiGatewayV2(mut event) => {
            event.raw_path = Some(path_of(&event).into_owned());
            event.raw_query_string =
                event.raw_query_string.map(|query| escaped(&query, IN_QUERY).into_owned());
            // Otherwise `lambda_http` would put the stage before the path again.
            event.request_context.stage = None;
            event.request_context.domain_name = None;
            event.headers.remove(HOST);
            event.is_base64_encoded = is_base64(event.is_base64_encoded, event.body.as_deref());
            LambdaRequest::ApiGatewayV2(event)
        }
        LambdaRequest::ApiGatewayV1(mut event) => {
            // The path of this event never has the stage.
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

/// Returns whether the body is base64. A body that is said to be base64 and is not stays as it is, and its reader refuses it.
fn is_base64(said: bool, body: Option<&str>) -> bool {
    said && body.is_none_or(|body| STANDARD.decode(body).is_ok())
}

/// Returns the sender of the request, if a JWT authorizer has let it in.
pub(crate) fn actor(event: &LambdaRequest) -> Option<Actor> {
    let LambdaRequest::ApiGatewayV2(event) = event else {
        return None;
    };
    let jwt = event.request_context.authorizer.as_ref()?.jwt.as_ref()?;
    jwt.claims.get("sub").cloned().map(Actor)
}

/// Makes all values of each header count. `headers` has only the last value of each, and `lambda_http` would let it replace the
/// others. It also removes a `Host` that the client made up, which is useless and would have to parse.
fn keep_all_values(headers: &mut HeaderMap, all_values: &HeaderMap) {
    if all_values.is_empty() {
        headers.remove(HOST);
    } else {
        headers.clear();
    }
}

/// Returns the path as the API has it. An HTTP API puts its stage before the path, unless the stage is `$default`. Behind a domain
/// of one's own, it puts the domain's mapping there. The matched route tells how much to remove: `GET /{id}/events` has two parts.
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

/// The characters that are encoded in a path. Paths come decoded. A character that would end a path, or that a reader of URLs would
/// replace or drop, is encoded again. So the path can't pass for another one.
const IN_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'\\');

/// The characters that are encoded in a query. Queries come as they were sent, maybe with characters that must not stand in one.
const IN_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

fn escaped<'a>(text: &'a str, characters: &'static AsciiSet) -> Cow<'a, str> {
    utf8_percent_encode(text, characters).into()
}

/// Returns the encoded path, from its first slash on.
fn whole(path: Option<&str>) -> Cow<'_, str> {
    match path {
        Some(path) if path.starts_with('/') => escaped(path, IN_PATH),
        Some(path) => Cow::Owned(format!("/{}", escaped(path, IN_PATH))),
        None => Cow::Borrowed("/"),
    }
}
