//! Lambda's HTTP events as plain requests, where `lambda_http` makes something else of them.
//!
//! API Gateway's HTTP API sends payload 2.0, its REST API 1.0; an Application Load Balancer has an event of its own ("Working with
//! AWS Lambda proxy integrations for HTTP APIs", "Lambda functions as targets for Application Load Balancers").

use std::borrow::Cow;

use http::HeaderMap;
use http::header::HOST;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::request::LambdaRequest;

use crate::http::Actor;

/// The event without what is the gateway's own: the path is the API's, and every header has all its values.
pub(crate) fn plain(event: LambdaRequest) -> LambdaRequest {
    match event {
        LambdaRequest::ApiGatewayV2(mut event) => {
            event.raw_path = Some(path_of(&event).into_owned());
            // Else it would be put before the path again.
            event.request_context.stage = None;
            event.headers.remove(HOST);
            LambdaRequest::ApiGatewayV2(event)
        }
        LambdaRequest::ApiGatewayV1(mut event) => {
            // Its path never has the stage.
            event.path = event.path.map(|path| escaped(&path).into_owned());
            event.request_context.stage = None;
            keep_all_values(&mut event.headers, &event.multi_value_headers);
            LambdaRequest::ApiGatewayV1(event)
        }
        LambdaRequest::Alb(mut event) => {
            event.path = event.path.map(|path| escaped(&path).into_owned());
            keep_all_values(&mut event.headers, &event.multi_value_headers);
            LambdaRequest::Alb(event)
        }
        other => other,
    }
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
    match path.match_indices('/').nth(before) {
        Some((begin, _)) => escaped(&path[begin..]),
        None => Cow::Borrowed("/"),
    }
}

fn parts(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}

/// Paths come decoded. What would end a path is encoded again, so that it can't pass for a shorter one.
fn escaped(path: &str) -> Cow<'_, str> {
    if path.contains(['?', '#']) {
        Cow::Owned(path.replace('?', "%3F").replace('#', "%23"))
    } else {
        Cow::Borrowed(path)
    }
}
