//! The Runtime API that Lambda gives each function ("Using the Lambda runtime API for custom runtimes"). It runs in the test's
//! process, for one function at a time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::poll::PATIENCE;
use crate::process::{Invocation, Running, binary};

/// The time that a function has until its deadline.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A function, started as Lambda does, and its Runtime API. It ends when it is dropped.
#[derive(Debug)]
pub struct Function {
    // First, so that it is dropped before the other fields.
    process: Running,
    events: mpsc::UnboundedSender<Event>,
    is_up: watch::Receiver<bool>,
    server: JoinHandle<()>,
}

type Outcome = Result<Value, Value>;

#[derive(Debug)]
struct Event {
    body: String,
    outcome: oneshot::Sender<Outcome>,
}

#[derive(Clone)]
struct Api {
    events: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>>,
    running: Arc<Mutex<HashMap<String, oneshot::Sender<Outcome>>>>,
    /// True once the function has asked for work.
    is_up: watch::Sender<bool>,
}

impl Function {
    /// Starts the function with these variables.
    ///
    /// # Panics
    /// When it is not built, or there is no port.
    pub async fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (events, received) = mpsc::unbounded_channel();
        let (asked, is_up) = watch::channel(false);
        let received = Arc::new(tokio::sync::Mutex::new(received));
        let api = Api { events: received, running: Arc::default(), is_up: asked };
        let server =
            tokio::spawn(async move { axum::serve(listener, api.router()).await.expect("it serves") });
        Self { process: start(name, address, variables), events, is_up, server }
    }

    /// Waits until it is up: then it asks for its first event.
    ///
    /// # Panics
    /// When it does not.
    pub async fn up(&mut self) {
        let up = tokio::time::timeout(PATIENCE, self.is_up.wait_for(|is_up| *is_up)).await;
        up.expect("it asks for an event in time").expect("the Runtime API runs");
    }

    /// Freezes it, as Lambda does between events, until [`Function::thaw`].
    pub fn freeze(&mut self) {
        self.process.signal("STOP");
    }

    /// Lets a frozen function go on.
    pub fn thaw(&mut self) {
        self.process.signal("CONT");
    }

    /// Returns its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Returns its standard output so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.stdout()
    }

    /// Invokes it, and returns its answer.
    ///
    /// # Panics
    /// When it fails, has ended, or does not answer.
    pub async fn invoke(&mut self, event: &Value) -> Value {
        self.try_invoke(event).await.unwrap_or_else(|error| panic!("the function failed: {error}"))
    }

    /// Invokes it, and returns its answer, or the error that it reports.
    ///
    /// # Panics
    /// When it has ended, or does not answer.
    pub async fn try_invoke(&mut self, event: &Value) -> Result<Value, Value> {
        assert_eq!(self.process.ended(), None, "the function has ended: {}", self.process.stderr());
        let (outcome, answered) = oneshot::channel();
        self.events.send(Event { body: event.to_string(), outcome }).expect("the Runtime API runs");
        let answered = tokio::time::timeout(PATIENCE, answered).await.expect("an answer in time");
        answered.expect("the Runtime API runs")
    }

    /// Invokes it with a request as API Gateway's HTTP API sends it, and returns the status and the body.
    ///
    /// # Panics
    /// As [`Function::invoke`].
    pub async fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u64, Value) {
        let answer = self.invoke(&http_event(method, path, body)).await;
        let body = answer["body"].as_str().unwrap_or_default();
        let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        (answer["statusCode"].as_u64().expect("a status"), body)
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn start(name: &str, api: SocketAddr, variables: &[(&str, &str)]) -> Running {
    let lambda = [
        ("AWS_LAMBDA_RUNTIME_API", api.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", name.to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
    ];
    let none: [&str; 0] = [];
    let call = Invocation::of(binary(name), &none);
    let call = lambda.into_iter().fold(call, |call, (name, value)| call.env(name, value));
    variables.iter().fold(call, |call, (name, value)| call.env(name, *value)).start()
}

fn http_event(method: &str, path: &str, body: Option<&Value>) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api",
            "stage": "$default",
            "requestId": "request",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1_767_225_600_000_u64,
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test"},
        },
        "body": body.map(Value::to_string),
        "isBase64Encoded": false,
    })
}

impl Api {
    fn router(self) -> Router {
        Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(self)
    }

    fn end(&self, id: &str, outcome: Outcome) {
        let running = self.running.lock().expect("nobody panicked").remove(id);
        // The test that waited for it may have given up.
        let _ = running.expect("an invocation that runs").send(outcome);
    }
}

/// Waits until there is an event, and gives it to the function.
async fn next(State(api): State<Api>) -> impl IntoResponse {
    api.is_up.send_replace(true);
    let event = api.events.lock().await.recv().await.expect("the test has not ended");
    let id = Uuid::new_v4().to_string();
    api.running.lock().expect("nobody panicked").insert(id.clone(), event.outcome);
    let deadline = SystemTime::now() + TIMEOUT;
    let deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970").as_millis();
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-1:123456789012:function:f".to_owned(),
        ),
    ];
    (headers, event.body)
}

async fn response(State(api): State<Api>, Path(id): Path<String>, body: Bytes) {
    api.end(&id, Ok(serde_json::from_slice(&body).expect("JSON")));
}

async fn error(State(api): State<Api>, Path(id): Path<String>, body: Bytes) {
    api.end(&id, Err(serde_json::from_slice(&body).expect("JSON")));
}
