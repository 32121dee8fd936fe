//! Settings that stand for a secret: `secret:ID`, `secret:ID#KEY`, `parameter:NAME`, and URLs whose login is one,
//! `kafka://{secret:ID}@host/…`. The local HTTP server of the "AWS Parameters and Secrets Lambda Extension" looks them up, so that
//! no function links an SDK and no variable holds a password.
//!
//! The extension answers only while an invocation is in hand, so a secret is looked up at the first one ([`crate::function`]). It is
//! looked up again once a server has refused a login ([`note_refused_login`]), since it may have been rotated. The secret is never
//! logged, and no error repeats it.

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::secret_url::SecretUrl;

/// The extension's port, if `PARAMETERS_SECRETS_EXTENSION_HTTP_PORT` does not name another.
const PORT: u16 = 2773;

/// The request's header that proves that the request comes from within the function. Its value is `AWS_SESSION_TOKEN`.
const TOKEN: &str = "x-aws-parameters-secrets-token";

/// The longest time for a lookup. It covers the start of the extension and its own call to AWS.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest time for one request.
const ANSWER: Duration = Duration::from_secs(4);

/// The wait before an extension that is not up yet is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(25);

/// The largest answer: a secret has up to 64 KiB, which JSON may double.
const LARGEST: usize = 256 * 1024;

/// The most characters of a refusal that are repeated. AWS says there what is missing, such as a permission.
const REFUSAL: usize = 300;

/// The number of logins that servers have refused to this process.
static REFUSED_LOGINS: AtomicU64 = AtomicU64::new(0);

/// Notes that a server has refused a login. A function whose settings stand for secrets then looks them up again.
pub fn note_refused_login() {
    REFUSED_LOGINS.fetch_add(1, Ordering::Relaxed);
}

#[cfg(feature = "lambda")]
pub(crate) fn refused_logins() -> u64 {
    REFUSED_LOGINS.load(Ordering::Relaxed)
}

/// A secret can't be looked up.
#[derive(Debug, Error)]
#[error("the setting {setting:?} can't be looked up: {problem}")]
pub struct SecretError {
    setting: SecretUrl,
    problem: String,
}

/// The place where a setting's value is kept.
#[derive(Debug, PartialEq, Eq)]
enum SecretLocation<'a> {
    /// AWS Secrets Manager: the secret's name or ARN, and the member where the secret is a JSON object.
    Secret { id: &'a str, member: Option<&'a str> },
    /// AWS Systems Manager Parameter Store: the parameter's name or ARN.
    Parameter(&'a str),
    /// A URL without its user and password, and the secret that has both. Amazon RDS and Kafka's event source mappings want it in
    /// this form: `{"username": "…", "password": "…"}`.
    Login { scheme: &'a str, id: &'a str, rest: &'a str },
}

impl<'a> SecretLocation<'a> {
    fn of(setting: &'a str) -> Option<Self> {
        if let Some((scheme, rest)) = setting.split_once("://{secret:") {
            let (id, rest) = rest.split_once("}@").unwrap_or_default();
            return Some(Self::Login { scheme, id, rest });
        }
        match setting.split_once(':')? {
            ("secret", rest) => Some(match rest.split_once('#') {
                Some((id, member)) => Self::Secret { id, member: Some(member) },
                None => Self::Secret { id: rest, member: None },
            }),
            ("parameter", name) => Some(Self::Parameter(name)),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Secret { id: "", .. }
            | Self::Secret { member: Some(""), .. }
            | Self::Parameter("")
            | Self::Login { id: "", .. } => {
                Err("a part of it is empty; allowed: secret:ID, secret:ID#KEY, parameter:NAME, \
                                                 SCHEME://{secret:ID}@HOST"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The path and query of the request to the extension.
    fn path(&self) -> String {
        let encode = |text| form_urlencoded::byte_serialize(str::as_bytes(text)).collect::<String>();
        match self {
            Self::Secret { id, .. } | Self::Login { id, .. } => {
                format!("/secretsmanager/get?secretId={}", encode(id))
            }
            Self::Parameter(name) => {
                format!("/systemsmanager/parameters/get?name={}&withDecryption=true", encode(name))
            }
        }
    }

    /// Returns the value in the answer of a service (`GetSecretValue`, `GetParameter`).
    fn value(&self, answer: &[u8]) -> Result<String, String> {
        let unreadable = || "the answer is not what AWS documents".to_owned();
        let answer: Value = serde_json::from_slice(answer).map_err(|_| unreadable())?;
        match self {
            Self::Parameter(_) => text(&answer["Parameter"]["Value"]).ok_or_else(unreadable),
            Self::Secret { member, .. } => {
                let secret = text(&answer["SecretString"]).ok_or("the secret is not text")?;
                let Some(member) = member else {
                    return Ok(secret);
                };
                member_of(&parse(&secret)?, member)
            }
            Self::Login { scheme, rest, .. } => {
                let secret = parse(&text(&answer["SecretString"]).ok_or("the secret is not text")?)?;
                let member = |name| member_of(&secret, name);
                let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                let (user, password) = (encode(&member("username")?), encode(&member("password")?));
                Ok(format!("{scheme}://{user}:{password}@{rest}"))
            }
        }
    }
}

fn parse(secret: &str) -> Result<Value, String> {
    serde_json::from_str(secret).map_err(|_| "the secret is not a JSON object".to_owned())
}

fn member_of(secret: &Value, name: &str) -> Result<String, String> {
    text(&secret[name]).ok_or_else(|| format!("the secret has no text under {name:?}"))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Returns whether a setting stands for a secret.
#[must_use]
pub fn is_secret(setting: &str) -> bool {
    SecretLocation::of(setting).is_some()
}

/// Returns a setting's value: the secret that it stands for, or else the setting itself.
///
/// # Errors
/// [`SecretError`] when the extension does not answer in time or refuses, or the secret has another form.
pub async fn resolve(setting: &SecretUrl) -> Result<SecretUrl, SecretError> {
    let Some(place) = SecretLocation::of(setting.expose()) else {
        return Ok(setting.clone());
    };
    let port = env::var("PARAMETERS_SECRETS_EXTENSION_HTTP_PORT");
    let port = port.ok().and_then(|port| port.parse().ok()).unwrap_or(PORT);
    let token = env::var("AWS_SESSION_TOKEN").unwrap_or_default();
    Extension { port, token, patience: PATIENCE }
        .look_up(&place)
        .await
        .map(SecretUrl::from)
        .map_err(|problem| SecretError { setting: setting.clone(), problem })
}

struct Extension {
    port: u16,
    token: String,
    patience: Duration,
}

/// The result of one request.
enum Reply {
    Answered(Bytes),
    /// The extension is not up yet, or its own call failed on the way.
    Later(String),
    Refused(String),
}

impl Extension {
    async fn look_up(&self, place: &SecretLocation<'_>) -> Result<String, String> {
        place.check()?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        let until = Instant::now() + self.patience;
        loop {
            let asked = timeout_at(until, self.ask(&client, place)).await;
            match asked.unwrap_or_else(|_| Reply::Later("no answer".to_owned())) {
                Reply::Answered(answer) => return place.value(&answer),
                Reply::Refused(problem) => return Err(problem),
                Reply::Later(problem) if Instant::now() + ASK_AGAIN >= until => {
                    return Err(format!(
                        "{problem}, for {:?}; is the layer AWS-Parameters-and-Secrets-Lambda-Extension there?",
                        self.patience
                    ));
                }
                Reply::Later(_) => sleep(ASK_AGAIN).await,
            }
        }
    }

    async fn ask(&self, client: &Client<HttpConnector, Empty<Bytes>>, place: &SecretLocation<'_>) -> Reply {
        // The request goes to an address. A lookup of a name may give IPv6 first, where the extension does not listen.
        let request = Request::get(format!("http://127.0.0.1:{}{}", self.port, place.path()));
        let request = match HeaderValue::try_from(&self.token) {
            Ok(mut token) => {
                token.set_sensitive(true);
                request.header(TOKEN, token).body(Empty::new())
            }
            Err(_) => return Reply::Refused("AWS_SESSION_TOKEN is not a header's value".to_owned()),
        };
        let Ok(request) = request else {
            return Reply::Refused("it makes no URL".to_owned());
        };
        let answer = timeout(ANSWER, async {
            let (parts, body) =
                client.request(request).await.map_err(|error| error.to_string())?.into_parts();
            let body = Limited::new(body, LARGEST).collect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((parts.status, body.to_bytes()))
        });
        match answer.await {
            Ok(Ok((status, body))) => judge(status, body),
            Ok(Err(problem)) => {
                Reply::Later(format!("the extension can't be reached on port {}: {problem}", self.port))
            }
            Err(_) => Reply::Later(format!("the extension did not answer within {} s", ANSWER.as_secs())),
        }
    }
}

fn judge(status: StatusCode, body: Bytes) -> Reply {
    if status.is_success() {
        return Reply::Answered(body);
    }
    let text = String::from_utf8_lossy(&body);
    let said: String = text.trim().chars().take(REFUSAL).collect();
    let problem = format!("the extension answers {status}: {said}");
    // Before the first invocation it answers 400 "not ready to serve traffic, please wait".
    let later =
        status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || text.contains("not ready");
    if later { Reply::Later(problem) } else { Reply::Refused(problem) }
}

#[cfg(test)]
mod tests;
