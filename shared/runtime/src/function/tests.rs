//! Sends AWS's documented events to a router that answers with the request that it got.

use std::sync::atomic::{AtomicUsize, Ordering};

use ::http::{HeaderMap, Method, Uri};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::MatchedPath;
use axum::response::Response;
use lambda_runtime::Context;
use serde_json::{Value, json};

use super::*;
use crate::http::Actor;

const HTTP_API: &str = include_str!("events/http-api-2.0.json");
const REST_API: &str = include_str!("events/rest-api-1.0.json");
const LOAD_BALANCER: &str = include_str!("events/load-balancer.json");
const LOAD_BALANCER_MULTI_VALUE: &str = include_str!("events/load-balancer-multi-value.json");

fn router() -> Router {
    let paths = ["/", "/{id}", "/{id}/events", "/my/path"];
    paths.into_iter().fold(Router::new(), |router, path| router.route(path, any(say)))
}

async fn say(
    method: Method,
    matched: MatchedPath,
    uri: Uri,
    headers: HeaderMap,
    actor: Option<Extension<Actor>>,
    body: Bytes,
) -> Response {
    let all =
        |name| -> Vec<&str> { headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect() };
    let said = json!({
        "method": method.as_str(),
        "route": matched.as_str(),
        "path": uri.path(),
        "query": uri.query(),
        "header2": all("header2"),
        "cookie": all("cookie"),
        "actor": actor.map(|Extension(Actor(name))| name),
        "body": String::from_utf8(body.to_vec()).unwrap(),
    });
    let mut response = crate::http::json(::http::StatusCode::OK, &said);
    response.headers_mut().append("link", "</?after=a>; rel=\"next\"".parse().unwrap());
    response.headers_mut().append("link", "</>; rel=\"first\"".parse().unwrap());
    response
}

/// The answer in the form that Lambda hands back.
async fn answer_to(event: &Value) -> Value {
    let event: LambdaRequest = serde_json::from_value(event.clone()).unwrap();
    let answer = answer(http::wrap(router()), LambdaEvent::new(event, Context::default())).await.unwrap();
    serde_json::to_value(answer).unwrap()
}

/// The request that the router gets from an event.
async fn got(event: &Value) -> Value {
    let answer = answer_to(event).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    assert_eq!(answer["isBase64Encoded"], false);
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

fn event(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn an_event_of_an_http_api() {
    let got = got(&event(HTTP_API)).await;
    assert_eq!((&got["method"], &got["path"]), (&json!("POST"), &json!("/my/path")));
    assert_eq!(got["query"], "parameter1=value1&parameter1=value2&parameter2=value");
    assert_eq!((&got["header2"], &got["cookie"]), (&json!(["value1,value2"]), &json!(["cookie1; cookie2"])));
    assert_eq!(got["body"], "Hello from Lambda");
}

#[tokio::test]
async fn an_event_of_a_rest_api_with_every_value_of_a_header() {
    let got = got(&event(REST_API)).await;
    assert_eq!((&got["method"], &got["path"]), (&json!("GET"), &json!("/my/path")));
    assert_eq!(got["header2"], json!(["value1", "value2"]));
    let mut query: Vec<&str> = got["query"].as_str().unwrap().split('&').collect();
    query.sort_unstable();
    assert_eq!(query, ["parameter1=value1", "parameter1=value2", "parameter2=value"]);
    assert_eq!(got["body"], "Hello from Lambda!");
}

#[tokio::test]
async fn an_event_of_a_load_balancer() {
    let got = got(&event(LOAD_BALANCER)).await;
    assert_eq!(
        (&got["method"], &got["path"], &got["query"]),
        (&json!("GET"), &json!("/"), &json!("myKey=val2"))
    );
    assert_eq!((&got["cookie"], &got["body"]), (&json!(["cookies"]), &json!("request_body")));
}

#[tokio::test]
async fn an_event_of_a_load_balancer_with_every_value_of_a_header() {
    let got = got(&event(LOAD_BALANCER_MULTI_VALUE)).await;
    assert_eq!(got["query"], "myKey=val1&myKey=val2");
    assert_eq!(got["cookie"], json!(["name1=value1", "name2=value2"]));
}

#[tokio::test]
async fn a_body_in_base64() {
    for text in [HTTP_API, REST_API, LOAD_BALANCER, LOAD_BALANCER_MULTI_VALUE] {
        let mut event = event(text);
        event["body"] = json!("eyJuYW1lIjoiYmxhdSDwn5SyIn0=");
        event["isBase64Encoded"] = json!(true);
        assert_eq!(got(&event).await["body"], r#"{"name":"blau 🔲"}"#);
    }
}

#[tokio::test]
async fn no_body_at_all() {
    for text in [HTTP_API, REST_API, LOAD_BALANCER, LOAD_BALANCER_MULTI_VALUE] {
        let mut event = event(text);
        event.as_object_mut().unwrap().remove("body");
        assert_eq!(got(&event).await["body"], "");
    }
}

/// The route and the path that the router sees when an HTTP API gets this path.
async fn route_of(raw_path: &str, route_key: &str, stage: &str) -> Value {
    let mut event = event(HTTP_API);
    event["rawPath"] = json!(raw_path);
    event["routeKey"] = json!(route_key);
    event["requestContext"]["stage"] = json!(stage);
    let got = got(&event).await;
    json!([got["route"], got["path"]])
}

#[tokio::test]
async fn an_http_api_without_a_stage_in_its_path() {
    assert_eq!(route_of("/", "GET /", "$default").await, json!(["/", "/"]));
    assert_eq!(route_of("/a", "GET /{id}", "$default").await, json!(["/{id}", "/a"]));
    assert_eq!(route_of("/a", "$default", "$default").await, json!(["/{id}", "/a"]));
    assert_eq!(
        route_of("/a/events", "ANY /{proxy+}", "$default").await,
        json!(["/{id}/events", "/a/events"])
    );
}

#[tokio::test]
async fn an_http_api_with_its_stage_before_the_path() {
    assert_eq!(route_of("/prod", "GET /", "prod").await, json!(["/", "/"]));
    assert_eq!(route_of("/prod/", "GET /", "prod").await, json!(["/", "/"]));
    assert_eq!(route_of("/prod/a", "GET /{id}", "prod").await, json!(["/{id}", "/a"]));
    assert_eq!(
        route_of("/prod/prod/events", "GET /{id}/events", "prod").await,
        json!(["/{id}/events", "/prod/events"])
    );
    assert_eq!(route_of("/prod/a", "$default", "prod").await, json!(["/{id}", "/a"]));
    assert_eq!(route_of("/prod/a", "ANY /{proxy+}", "prod").await, json!(["/{id}", "/a"]));
}

#[tokio::test]
async fn an_http_api_behind_a_domain_of_its_own() {
    // Without a mapping an id may equal the name of the stage. With one, the path has more in front than a stage.
    assert_eq!(
        route_of("/prod/events", "GET /{id}/events", "prod").await,
        json!(["/{id}/events", "/prod/events"])
    );
    assert_eq!(route_of("/shop/v1/a", "GET /{id}", "prod").await, json!(["/{id}", "/a"]));
}

#[tokio::test]
async fn what_would_end_a_path_is_part_of_it() {
    assert_eq!(route_of("/a?b#c", "GET /{id}", "$default").await, json!(["/{id}", "/a%3Fb%23c"]));
    for text in [REST_API, LOAD_BALANCER] {
        let mut event = event(text);
        event["path"] = json!("/a?b#c");
        assert_eq!(got(&event).await["path"], "/a%3Fb%23c");
    }
}

#[tokio::test]
async fn a_path_that_was_decoded_does_not_become_another() {
    for (decoded, path) in
        [("/a\tb", "/a%09b"), ("/a\\b", "/a%5Cb"), ("/a b", "/a%20b"), ("/\"<é>", "/%22%3C%C3%A9%3E")]
    {
        assert_eq!(route_of(decoded, "GET /{id}", "$default").await, json!(["/{id}", path]));
        for text in [REST_API, LOAD_BALANCER] {
            let mut event = event(text);
            event["path"] = json!(decoded);
            assert_eq!(got(&event).await["path"], path);
        }
    }
}

#[tokio::test]
async fn a_query_in_characters_that_no_query_has_does_no_harm() {
    let mut event = event(HTTP_API);
    event["rawQueryString"] = json!("name=\"a lamp\"<é>#");
    assert_eq!(got(&event).await["query"], "name=%22a%20lamp%22%3C%C3%A9%3E%23");
}

#[tokio::test]
async fn a_parameter_without_a_value_is_none() {
    for text in [REST_API, LOAD_BALANCER_MULTI_VALUE] {
        let mut event = event(text);
        event["multiValueQueryStringParameters"] = json!({"status": [], "name": ["a lamp"]});
        assert_eq!(got(&event).await["query"], "name=a+lamp");
    }
}

#[tokio::test]
async fn a_path_a_host_and_a_body_that_are_none_do_no_harm() {
    for text in [REST_API, LOAD_BALANCER] {
        for path in ["", ":99999999", "@b", "a"] {
            let mut event = event(text);
            event["path"] = json!(path);
            event["requestContext"]["domainName"] = json!("no domain");
            let path = format!("/{path}");
            let answer = answer_to(&event).await;
            assert!([200, 404].map(Value::from).contains(&answer["statusCode"]), "{path}: {answer}");
        }
    }
    for text in [HTTP_API, REST_API, LOAD_BALANCER, LOAD_BALANCER_MULTI_VALUE] {
        let mut event = event(text);
        (event["body"], event["isBase64Encoded"]) = (json!("no base64"), json!(true));
        assert_eq!(got(&event).await["body"], "no base64");
    }
}

#[tokio::test]
async fn a_host_that_is_no_host_does_no_harm() {
    for text in [HTTP_API, LOAD_BALANCER] {
        let mut event = event(text);
        event["headers"]["host"] = json!("not a host:x");
        event["headers"]["x-forwarded-proto"] = json!("not a scheme");
        event["requestContext"]["domainName"] = json!("not a host either");
        got(&event).await;
    }
}

#[tokio::test]
async fn the_subject_of_a_token_is_the_actor() {
    let mut event = event(HTTP_API);
    assert_eq!(got(&event).await["actor"], Value::Null);
    event["requestContext"]["authorizer"]["jwt"]["claims"]["sub"] = json!("ann");
    assert_eq!(got(&event).await["actor"], "ann");
}

#[tokio::test]
async fn answers_have_every_value_of_a_header_as_each_gateway_takes_it() {
    let links = json!(["</?after=a>; rel=\"next\"", "</>; rel=\"first\""]);
    for text in [REST_API, LOAD_BALANCER, LOAD_BALANCER_MULTI_VALUE] {
        assert_eq!(answer_to(&event(text)).await["multiValueHeaders"]["link"], links);
    }
    // An HTTP API and a plain load balancer have one value a header.
    assert_eq!(answer_to(&event(LOAD_BALANCER)).await["statusDescription"], "200 OK");
}

#[tokio::test]
async fn a_problem_is_text_to_every_gateway() {
    for (text, path) in [(HTTP_API, "rawPath"), (REST_API, "path"), (LOAD_BALANCER, "path")] {
        let mut event = event(text);
        event[path] = json!("/no/such/route/at/all");
        let answer = answer_to(&event).await;
        assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(404), &json!(false)));
        assert!(answer["body"].as_str().unwrap().contains("urn:problem:unknown-route"), "{answer}");
    }
}

#[tokio::test]
async fn a_function_that_can_not_open_what_it_needs_answers_503() {
    let error = Error::from("the password is 12345");
    let event = serde_json::from_str(HTTP_API).unwrap();
    let answer = answer(not_open(&error), LambdaEvent::new(event, Context::default())).await.unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    assert_eq!((&answer["statusCode"], &answer["headers"]["retry-after"]), (&json!(503), &json!("2")));
    assert!(!answer.to_string().contains("12345"), "{answer}");
}

#[tokio::test]
async fn what_can_not_be_opened_at_the_start_stops_the_function_and_later_is_tried_again() {
    let tries = AtomicUsize::new(0);
    let open = || async {
        match tries.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Err(Error::from("not now")),
            tried => Ok(tried),
        }
    };
    assert!(LazyValue::start(open, false).await.is_err());
    let opened = LazyValue::start(open, true).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(opened.get().await.is_err());
    assert_eq!(*opened.get().await.unwrap(), 2);
    assert_eq!(*opened.get().await.unwrap(), 2);
}

#[tokio::test]
async fn what_has_secrets_is_opened_anew_once_after_a_refused_login() {
    let tries = AtomicUsize::new(0);
    let open = || async { Ok(tries.fetch_add(1, Ordering::Relaxed)) };
    let without = LazyValue::start(open, false).await.unwrap_or_else(|error| panic!("{error}"));
    let with = LazyValue::start(open, true).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((*without.get().await.unwrap(), *with.get().await.unwrap()), (0, 1));
    secrets::note_refused_login();
    assert!(with.is_outdated().await && !without.is_outdated().await);
    assert_eq!((*without.get().await.unwrap(), *with.get().await.unwrap()), (0, 2));
    // The password is still wrong: the next lookup waits.
    secrets::note_refused_login();
    assert!(!with.is_outdated().await);
    assert_eq!(*with.get().await.unwrap(), 2);
}

#[test]
fn a_deadline_that_is_no_deadline_leaves_time_to_work() {
    let now = SystemTime::now();
    assert_eq!(remaining(now + Duration::from_secs(7), now), Duration::from_secs(7));
    assert_eq!(remaining(SystemTime::UNIX_EPOCH + Duration::from_secs(600), now), WITHOUT_DEADLINE);
}
