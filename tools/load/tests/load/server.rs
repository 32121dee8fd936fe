//! A system under load: it answers as the real one does, and has the trouble that a test asks for.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// The trouble with a request; a test chooses it by the request's number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// 503 with `Retry-After: 0`; nothing is done.
    Later,
    /// The same without the header.
    LaterOrNever,
    /// The call is done, and the connection breaks before the answer.
    Break,
    /// The call is done, and the replica dies before the answer.
    Die,
    /// The answer comes late.
    Slow(Duration),
    /// 409; nothing is done.
    Refuse,
}

/// All replicas together.
pub(crate) struct System {
    trouble: Box<dyn Fn(u64) -> Trouble + Send + Sync>,
    requests: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// Version and status by id.
    pub(crate) orders: BTreeMap<String, (u64, &'static str)>,
    /// How often each key came, and with which call.
    pub(crate) keys: HashMap<String, (String, u32)>,
    pub(crate) authorization: Option<String>,
    /// How many reads of an order answer 404 before it is seen.
    pub(crate) lag: u32,
    reads: HashMap<String, u32>,
}

pub(crate) struct Replica {
    pub(crate) url: String,
}

struct Broken;

impl System {
    pub(crate) fn new(trouble: impl Fn(u64) -> Trouble + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            trouble: Box::new(trouble),
            requests: AtomicU64::new(0),
            state: Mutex::new(State::default()),
        })
    }

    pub(crate) fn sound() -> Arc<Self> {
        Self::new(|_| Trouble::None)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Starts a replica on a free port.
    pub(crate) async fn start(self: &Arc<Self>) -> Replica {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(Arc::clone(self), listener));
        Replica { url }
    }

    async fn answer(
        &self,
        death: &Notify,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Broken> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
        let trouble = (self.trouble)(self.requests.fetch_add(1, Ordering::Relaxed));
        match trouble {
            Trouble::Later => return Ok(answer(503, None, &json!({"title": "later"}))),
            Trouble::LaterOrNever => {
                let mut later = answer(503, None, &json!({"title": "later"}));
                later.headers_mut().remove("retry-after");
                return Ok(later);
            }
            Trouble::Refuse => return Ok(answer(409, None, &json!({"title": "another order has this id"}))),
            Trouble::Slow(time) => tokio::time::sleep(time).await,
            Trouble::None | Trouble::Break | Trouble::Die => {}
        }
        let answer = self.state().call(&head, &body);
        match trouble {
            Trouble::Break => Err(Broken),
            Trouble::Die => {
                death.notify_one();
                pending().await
            }
            _ => Ok(answer),
        }
    }
}

impl State {
    fn call(&mut self, head: &http::request::Parts, body: &[u8]) -> Response<Full<Bytes>> {
        let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        self.authorization = header("authorization");
        let call = format!("{} {}", head.method, head.uri.path());
        if let Some(key) = header("idempotency-key") {
            let (first, times) = self.keys.entry(key).or_insert_with(|| (call.clone(), 0));
            assert!(call == "POST /" || *first == call, "another call under the same key");
            *times += 1;
        }
        match (&head.method, head.uri.path().trim_start_matches('/')) {
            (&Method::POST, "") => {
                let order: Value = serde_json::from_slice(body).unwrap();
                let id = order["id"].as_str().unwrap().to_owned();
                self.orders.entry(id.clone()).or_insert((1, "new"));
                self.show(&id, 201)
            }
            (&Method::POST, id) => {
                if let Some(order) = self.orders.get_mut(id) {
                    *order = (3, "processed");
                }
                self.show(id, 200)
            }
            (_, id) => {
                let reads = self.reads.entry(id.to_owned()).or_default();
                *reads += 1;
                if *reads <= self.lag { answer(404, None, &json!({})) } else { self.show(id, 200) }
            }
        }
    }

    fn show(&self, id: &str, status: u16) -> Response<Full<Bytes>> {
        match self.orders.get(id) {
            None => answer(404, None, &json!({"title": "there is no such order"})),
            Some((version, state)) => {
                let order = json!({"id": id, "name": id, "status": state, "version": version});
                answer(status, Some(*version), &order)
            }
        }
    }
}

fn answer(status: u16, version: Option<u64>, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status).header("retry-after", "0");
    if let Some(version) = version {
        response = response.header("etag", format!("\"{version}\""));
    }
    response.body(Full::from(body.to_string())).unwrap()
}

/// Serves until the replica dies. Then its port and its connections are closed.
async fn serve(system: Arc<System>, listener: TcpListener) {
    let death = Arc::new(Notify::new());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                connections.spawn(connection(Arc::clone(&system), Arc::clone(&death), accepted.unwrap().0));
            }
            () = death.notified() => return,
        }
    }
}

async fn connection(system: Arc<System>, death: Arc<Notify>, stream: TcpStream) {
    let service = service_fn(|request| {
        let (system, death) = (Arc::clone(&system), Arc::clone(&death));
        async move { system.answer(&death, request).await.map_err(|Broken| "broken on purpose") }
    });
    // Some tests break connections on purpose, so an error is no failure here.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
