//! HTTP for a load: many small calls over one keep-alive connection. A call costs little work, because the measured server often
//! has the same processors.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, ETAG, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A replica: its address, and the base in front of each path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
    base: String,
    host_header: HeaderValue,
}

impl Target {
    /// Reads `http://HOST[:PORT][/BASE]`.
    ///
    /// # Errors
    /// A text that says what is wrong with the URL.
    pub fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
        if uri.scheme_str() != Some("http") {
            return Err("not a URL that begins with http://".into());
        }
        let authority = uri.authority().ok_or("there is no host in it")?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err("a host and a path are allowed, no user and no query".into());
        }
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            base: uri.path().trim_end_matches('/').to_owned(),
            host_header: HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?,
        })
    }
}

/// A call with all its parts, so that it can be repeated as it was.
pub(crate) struct HttpCall {
    pub(crate) method: Method,
    /// Begins with `/`.
    pub(crate) path: String,
    /// The `Idempotency-Key` of a command.
    pub(crate) key: Option<String>,
    /// JSON, or empty.
    pub(crate) body: Bytes,
}

impl HttpCall {
    pub(crate) fn get(path: String) -> Self {
        Self { method: Method::GET, path, key: None, body: Bytes::new() }
    }
}

/// The answer to a call.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The version in the `ETag`, if it is one.
    pub(crate) version: Option<u64>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// No answer came back. The server may or may not have done what it was asked.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("{0} can't be reached: {1}")]
    Connect(String, io::Error),
    #[error("the connection broke: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("the connection was closed")]
    Closed,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0:?} is not a path: {1}")]
    BadPath(String, http::uri::InvalidUri),
}

/// One client: it calls, waits for the answer, calls again.
pub(crate) struct Client {
    targets: Arc<[Target]>,
    current: usize,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    connection: Option<Connection>,
}

impl Client {
    /// Creates a client. Its `number` chooses the replica with which it begins.
    pub(crate) fn new(
        targets: &[Target],
        number: usize,
        authorization: Option<&HeaderValue>,
        timeout: Duration,
    ) -> Self {
        let authorization = authorization.cloned();
        Self {
            targets: targets.into(),
            current: number % targets.len(),
            authorization,
            timeout,
            connection: None,
        }
    }

    /// Goes on with the next replica, if there are several.
    pub(crate) fn next_replica(&mut self) {
        if self.targets.len() > 1 {
            self.current = (self.current + 1) % self.targets.len();
            self.connection = None;
        }
    }

    pub(crate) fn replicas(&self) -> u32 {
        self.targets.len() as u32
    }

    /// Makes one try, over the open connection if there is one.
    pub(crate) async fn call(&mut self, call: &HttpCall) -> Result<Answer, Failure> {
        let request = self.request(call)?;
        let timeout = self.timeout;
        // The connection is taken out, so that one that fails or times out is not used again.
        let open = self.connection.take();
        let target = &self.targets[self.current];
        let exchange = async {
            let mut connection = match open {
                Some(connection) => connection,
                None => Connection::open(target).await?,
            };
            let answer = connection.exchange(request).await?;
            Ok((answer, connection))
        };
        let (answer, connection) =
            tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(Failure::Timeout(timeout)))?;
        self.connection = Some(connection).filter(|connection| connection.reusable);
        Ok(answer)
    }

    fn request(&self, call: &HttpCall) -> Result<Request<Full<Bytes>>, Failure> {
        let target = &self.targets[self.current];
        let path = Bytes::from(format!("{}{}", target.base, call.path));
        let uri = Uri::from_maybe_shared(path).map_err(|error| Failure::BadPath(call.path.clone(), error))?;
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(HOST, target.host_header.clone());
        if !call.body.is_empty() {
            headers.insert(CONTENT_TYPE, JSON);
        }
        // A key is made of an order's id, so it is always a valid header value.
        if let Some(key) = call.key.as_deref().and_then(|key| HeaderValue::from_str(key).ok()) {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }
}

/// A connection without a task of its own. The task that waits for an answer also moves the bytes, so a call costs no switch
/// between tasks.
struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<TcpStream>, Full<Bytes>>,
    reusable: bool,
}

impl Connection {
    async fn open(target: &Target) -> Result<Self, Failure> {
        let unreachable = |error| Failure::Connect(format!("{}:{}", target.host, target.port), error);
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver, reusable: true })
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let Self { sender, driver, reusable } = self;
        let mut answer = pin!(async {
            sender.ready().await?;
            read(sender.send_request(request).await?).await
        });
        let (answer, may_be_reused) = poll_fn(|context| {
            // An answer that came in one packet takes two turns. The first reads its head, the second its body, which is read
            // once it is wanted.
            for _ in 0..2 {
                let closed = Pin::new(&mut *driver).poll(context).is_ready();
                match answer.as_mut().poll(context) {
                    Poll::Ready(answer) => {
                        let answer = answer.map(|(answer, keep)| (answer, keep && !closed));
                        return Poll::Ready(answer);
                    }
                    // The connection has ended, so the rest of the answer won't come.
                    Poll::Pending if closed => return Poll::Ready(Err(Failure::Closed)),
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await?;
        *reusable = may_be_reused;
        Ok(answer)
    }
}

/// The answer, and `true` if the server keeps the connection.
async fn read(response: Response<Incoming>) -> Result<(Answer, bool), Failure> {
    let (head, body) = response.into_parts();
    let answer = Answer {
        status: head.status,
        version: version(&head.headers),
        retry_after: seconds(&head.headers),
        body: body.collect().await?.to_bytes(),
    };
    let closes =
        head.headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    Ok((answer, !closes))
}

fn version(headers: &HeaderMap) -> Option<u64> {
    headers.get(ETAG)?.to_str().ok()?.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

fn seconds(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_with_a_port_and_a_path_where_it_has_one() {
        let parts = |url| Target::parse(url).map(|target| (target.host, target.port, target.base)).unwrap();
        assert_eq!(parts("http://127.0.0.1:8080"), ("127.0.0.1".into(), 8080, String::new()));
        assert_eq!(parts("http://orders.example/"), ("orders.example".into(), 80, String::new()));
        assert_eq!(parts("http://[::1]:9000/v1/"), ("::1".into(), 9000, "/v1".into()));
    }

    #[test]
    fn a_target_that_can_not_be_called_is_refused() {
        for url in
            ["", "127.0.0.1:8080", "https://example", "http://", "http://user@host", "http://host/?a=b"]
        {
            assert!(Target::parse(url).is_err(), "{url:?}");
        }
    }
}
