//! The functions on the embedded default, in this process. From time to time a new folder replaces the old one.

use std::cell::RefCell;
use std::num::NonZeroUsize;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use command_handler::{AnswerPolicy, CommandHandler};
use domain::{APPLICATION, EncodedEvent, Event, Order, OrderId, OrderName, OrdersView, Version, wire};
use event_channel::EventChannel;
use event_source_mapping::event::KafkaEvent;
use event_store::{EventStore, Namespace, Of};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use read_store::ReadStore;
use runtime::http::{check_head, traced, wrap};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

/// The number of inputs that a system takes before another replaces it, so that its files stay small.
const INPUTS: usize = 10_000;

thread_local! {
    static SYSTEM: RefCell<Option<System>> = const { RefCell::new(None) };
}

/// The functions and their stores.
pub(crate) struct System {
    runtime: Runtime,
    pub(crate) router: Router,
    pub(crate) view: ReadStore<OrdersView>,
    inputs: usize,
    // Last, so that it is dropped after everything that writes to it.
    _folder: TempDir,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Calls `use_it` with this thread's system.
pub(crate) fn with<T>(use_it: impl AsyncFnOnce(&System) -> T) -> T {
    SYSTEM.with_borrow_mut(|system| {
        if system.as_ref().is_some_and(|system| system.inputs == INPUTS) {
            *system = None;
        }
        let system = system.get_or_insert_with(System::start);
        system.inputs += 1;
        system.runtime.block_on(use_it(system))
    })
}

impl System {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let url = |name| format!("sqlite:{}", folder.path().join(name).display());
        let (router, view) = runtime.block_on(async {
            let namespace = Namespace::of::<Order>(APPLICATION).expect("a namespace");
            let store = EventStore::open(url("events.db"), &namespace).await.expect("an event store");
            let channel = EventChannel::open("memory:").expect("a channel");
            let kept = NonZeroUsize::new(100).expect("more than none");
            let handler = CommandHandler::new(store.clone(), channel, kept, AnswerPolicy::LeaveToRelay);
            let view = ReadStore::open(url("views.db")).await.expect("a read store");
            fill(&view).await;
            let routes = create_order::routes(handler.clone())
                .merge(process_order::routes(handler.clone()))
                .merge(cancel_order::routes(handler))
                .merge(query::routes(view.clone()))
                .merge(history::routes(Of::new(store)));
            (wrap(routes.into_router()), view)
        });
        Self { runtime, router, view, inputs: 0, _folder: folder }
    }

    /// Answers a request, as a listener does.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        let answered =
            traced(request, async |request| match check_head(request.version(), request.headers()) {
                Ok(()) => self.router.clone().oneshot(request).await.expect("an answer"),
                Err(problem) => problem.into_response(),
            });
        let (parts, body) = answered.await.into_parts();
        let body = body.collect().await.expect("a body").to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

/// Adds some orders for the queries to find.
async fn fill(view: &ReadStore<OrdersView>) {
    let record = |number: usize, id: &str| {
        let event = Event::OrderCreated { name: OrderName::parse("a lamp").expect("a name") };
        let id = OrderId::parse(id).expect("an id");
        let value = wire::encode(&id, Version::new(1), Default::default(), &EncodedEvent::encode(&event));
        // Text that is no base64 is read as it is.
        json!({"topic": "t", "partition": 0, "offset": number, "value": String::from_utf8(value).expect("text")})
    };
    let records: Vec<_> = ["a", "b", "c"].into_iter().enumerate().map(|(n, id)| record(n, id)).collect();
    let event: KafkaEvent = serde_json::from_value(json!({"records": {"t-0": records}})).expect("an event");
    projector::project(view, event).await.expect("the view takes them");
}
