//! Calls to an endpoint in this process, whose answers each test gives when it wants to. If a test needs time to pass, it waits
//! until another call times out.

use std::net::Ipv4Addr;
use std::sync::Mutex;

use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;

/// A status and a body.
type CannedAnswer = (u16, &'static str);

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);
const TAKEN: CannedAnswer = (200, "{}");
const ERROR: CannedAnswer = (500, r#"{"errorType":"Boom","errorMessage":"on purpose"}"#);

/// A call that has arrived at the endpoint.
struct IncomingCall {
    function: String,
    answer: oneshot::Sender<CannedAnswer>,
}

struct TestEndpoint {
    endpoint: Endpoint,
    arrivals: mpsc::UnboundedReceiver<IncomingCall>,
}

impl TestEndpoint {
    async fn new() -> Self {
        let (arrive, arrivals) = mpsc::unbounded_channel();
        let arrive = Arc::new(Mutex::new(arrive));
        let invoke = async move |Path(function): Path<String>| {
            let (answer, answered) = oneshot::channel();
            arrive.lock().unwrap().send(IncomingCall { function, answer }).unwrap();
            // If the test drops the sender, the function never answers.
            let Ok((status, body)) = answered.await else { return std::future::pending().await };
            (axum::http::StatusCode::from_u16(status).unwrap(), body)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/2015-03-31/functions/{name}/invocations", post(invoke));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { endpoint: Endpoint::open(&url, |_| None).unwrap(), arrivals }
    }

    async fn with_calls_at_once(calls: usize) -> Self {
        let place = Self::new().await;
        Self { endpoint: place.endpoint.with_calls_at_once(calls), ..place }
    }

    /// A function that has answered before.
    fn function(&self, name: &str, timeout: Duration) -> InvokeApiTarget {
        let invoke = self.new_function(name, timeout, Duration::ZERO);
        invoke.shared.has_answered.store(true, Ordering::Relaxed);
        invoke
    }

    fn new_function(&self, name: &str, timeout: Duration, first_answer: Duration) -> InvokeApiTarget {
        let (names, qualifier) = (vec![name.to_owned()], None);
        let report_batch_item_failures = false;
        let address = FunctionAddress { names, qualifier, timeout, first_answer, report_batch_item_failures };
        InvokeApiTarget::new(self.endpoint.clone(), address)
    }

    async fn arrived(&mut self, function: &str) -> oneshot::Sender<CannedAnswer> {
        let arrived = self.arrivals.recv().await.unwrap();
        assert_eq!(arrived.function, function);
        arrived.answer
    }

    /// Waits so long that any other call with the short timeout would have failed.
    async fn a_short_timeout_passes(&mut self) {
        let call = call(&self.function("clock", SHORT));
        let never = self.arrived("clock").await;
        assert_eq!(
            call.await.unwrap().unwrap_err(),
            "the function failed: Task timed out after 0.05 seconds"
        );
        drop(never);
    }
}

fn call(invoke: &InvokeApiTarget) -> JoinHandle<Result<BatchResponse, String>> {
    let invoke = invoke.clone();
    tokio::spawn(async move {
        let answer = invoke.invoke(KafkaEvent::default(), Instant::now()).await;
        answer.map_err(|error| error.to_string())
    })
}

#[tokio::test]
async fn a_call_that_waits_for_its_turn_does_not_use_up_its_functions_time() {
    let mut place = TestEndpoint::with_calls_at_once(1).await;
    let first = call(&place.function("f", LONG));
    let answer = place.arrived("f").await;
    // This call comes from another mapping to the same function.
    let second = call(&place.function("f", SHORT));
    place.a_short_timeout_passes().await;
    assert!(!second.is_finished() && place.arrivals.is_empty());
    answer.send(TAKEN).unwrap();
    place.arrived("f").await.send(TAKEN).unwrap();
    assert_eq!(first.await.unwrap(), Ok(BatchResponse::default()));
    assert_eq!(second.await.unwrap(), Ok(BatchResponse::default()));
}

#[tokio::test]
async fn a_call_that_timed_out_keeps_its_turn_until_the_endpoint_is_done_with_it() {
    let mut place = TestEndpoint::with_calls_at_once(1).await;
    let slow = call(&place.function("f", SHORT));
    let answer = place.arrived("f").await;
    assert_eq!(slow.await.unwrap().unwrap_err(), "the function failed: Task timed out after 0.05 seconds");
    let next = call(&place.function("f", SHORT));
    place.a_short_timeout_passes().await;
    assert!(!next.is_finished() && place.arrivals.is_empty());
    answer.send(TAKEN).unwrap();
    place.arrived("f").await.send(TAKEN).unwrap();
    assert_eq!(next.await.unwrap(), Ok(BatchResponse::default()));
}

#[tokio::test]
async fn an_endpoint_that_can_take_more_is_sent_more() {
    for mut place in [TestEndpoint::with_calls_at_once(2).await, TestEndpoint::new().await] {
        let function = place.function("f", LONG);
        let calls = [call(&function), call(&function)];
        let answers = [place.arrived("f").await, place.arrived("f").await];
        answers.into_iter().for_each(|answer| answer.send(TAKEN).unwrap());
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok(BatchResponse::default()));
        }
    }
}

#[tokio::test]
async fn functions_do_not_wait_for_each_other() {
    let mut place = TestEndpoint::with_calls_at_once(1).await;
    let calls = [call(&place.function("f", LONG)), call(&place.function("g", LONG))];
    let arrived = [place.arrivals.recv().await.unwrap(), place.arrivals.recv().await.unwrap()];
    arrived.into_iter().for_each(|arrived| arrived.answer.send(TAKEN).unwrap());
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(BatchResponse::default()));
    }
}

#[tokio::test]
async fn a_function_has_answered_when_itself_did_and_not_when_its_endpoint_did() {
    let mut place = TestEndpoint::new().await;
    let function = place.new_function("f", SHORT, LONG);
    let not_its_own: [CannedAnswer; 5] =
        [(404, "none"), (429, "later"), (502, "down"), (500, "?"), (413, "large")];
    for said in not_its_own {
        let call = call(&function);
        place.arrived("f").await.send(said).unwrap();
        call.await.unwrap().unwrap_err();
        assert_eq!(function.shared.patience().wait, LONG, "{said:?}");
    }
    for said in [TAKEN, ERROR] {
        let function = place.new_function("f", SHORT, LONG);
        let call = call(&function);
        place.arrived("f").await.send(said).unwrap();
        let _ = call.await.unwrap();
        assert_eq!(function.shared.patience().wait, SHORT + LOCAL_GRACE, "{said:?}");
    }
}

#[tokio::test]
async fn that_no_first_answer_came_is_not_held_against_the_records() {
    let mut place = TestEndpoint::new().await;
    let call = call(&place.new_function("f", SHORT, SHORT));
    let never = place.arrived("f").await;
    let said = call.await.unwrap().unwrap_err();
    assert!(said.starts_with("the function could not be invoked") && said.ends_with("compiling"), "{said}");
    drop(never);
}
