use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// The extension's HTTP server, on a port of its own. It gives these answers in turn, the last one for ever.
struct Server {
    extension: Extension,
    asked: Arc<Mutex<Vec<(String, String)>>>,
    server: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Server {
    async fn start(answers: Vec<(u16, &'static str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, count) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&asked);
        let router = Router::new().fallback(async move |request: Request| {
            let token = request.headers().get(TOKEN).map_or("", |token| token.to_str().unwrap()).to_owned();
            seen.lock().unwrap().push((request.uri().to_string(), token));
            let (status, body) = answers[count.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1)];
            (StatusCode::from_u16(status).unwrap(), body)
        });
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { extension: Extension { port, token: "session".to_owned(), patience: PATIENCE }, asked, server }
    }

    async fn look_up(&self, setting: &str) -> Result<String, String> {
        self.extension.look_up(&SecretLocation::of(setting).unwrap()).await
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

/// As AWS documents `GetSecretValue`.
const SECRET: &str = r#"{"ARN":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/store-AbCdEf","Name":"shop/store",
    "SecretString":"{\"url\":\"postgres://a:b@c/d\",\"port\":5432}","VersionId":"1","VersionStages":["AWSCURRENT"]}"#;

/// As AWS documents `GetParameter`.
const PARAMETER: &str =
    r#"{"Parameter":{"Name":"/shop/store","Type":"SecureString","Value":"postgres://a:b@c/d","Version":1}}"#;

#[tokio::test]
async fn a_secret_is_asked_for_by_its_id_with_the_session_token() {
    let server = Server::start(vec![(200, SECRET)]).await;
    let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/store-AbCdEf";
    let whole = server.look_up(&format!("secret:{arn}")).await.unwrap();
    assert_eq!(whole, r#"{"url":"postgres://a:b@c/d","port":5432}"#);
    assert_eq!(server.look_up(&format!("secret:{arn}#url")).await.unwrap(), "postgres://a:b@c/d");
    let path = "/secretsmanager/get?secretId=arn%3Aaws%3Asecretsmanager%3Aeu-west-1%3A123456789012%3Asecret%3Ashop%2Fstore-AbCdEf";
    let expected = (path.to_owned(), "session".to_owned());
    assert_eq!(server.asked(), [expected.clone(), expected]);
}

#[tokio::test]
async fn a_parameter_is_asked_for_decrypted() {
    let server = Server::start(vec![(200, PARAMETER)]).await;
    assert_eq!(server.look_up("parameter:/shop/store").await.unwrap(), "postgres://a:b@c/d");
    assert_eq!(
        server.asked()[0].0,
        "/systemsmanager/parameters/get?name=%2Fshop%2Fstore&withDecryption=true"
    );
}

/// A password is encoded, so that it stays one part of the URL. The mechanism stands in the setting, as brokers and topic do.
#[tokio::test]
async fn a_login_is_a_secret_and_the_rest_of_its_url_is_not() {
    let login = r#"{"SecretString":"{\"username\":\"ann\",\"password\":\"p@:/?#é\"}"}"#;
    let server = Server::start(vec![(200, login)]).await;
    let setting = "kafka://{secret:shop/kafka@eu}@b-1:9096,b-2:9096/shop.events?mechanism=SCRAM-SHA-256";
    let url = server.look_up(setting).await.unwrap();
    assert_eq!(
        url,
        "kafka://ann:p%40%3A%2F%3F%23%C3%A9@b-1:9096,b-2:9096/shop.events?mechanism=SCRAM-SHA-256"
    );
    assert_eq!(server.asked()[0].0, "/secretsmanager/get?secretId=shop%2Fkafka%40eu");
    assert!(is_secret(setting));
}

#[tokio::test]
async fn an_extension_that_is_not_ready_is_asked_again() {
    let not_ready = "not ready to serve traffic, please wait";
    let server = Server::start(vec![(400, not_ready), (400, not_ready), (503, ""), (200, SECRET)]).await;
    assert_eq!(server.look_up("secret:shop/store#url").await.unwrap(), "postgres://a:b@c/d");
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn an_extension_that_is_not_there_yet_is_waited_for() {
    // Its port is known, and nobody listens there when the first request goes out.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let extension = Extension { port: address.port(), token: String::new(), patience: PATIENCE };
    let client = Client::builder(TokioExecutor::new()).build_http();
    let place = SecretLocation::of("parameter:p").unwrap();
    assert!(matches!(extension.ask(&client, &place).await, Reply::Later(_)));
    let looked_up = tokio::spawn(async move { extension.look_up(&SecretLocation::Parameter("p")).await });
    let listener = TcpListener::bind(address).await.unwrap();
    let server = tokio::spawn(async move {
        axum::serve(listener, Router::new().fallback(async || PARAMETER)).await.unwrap();
    });
    assert_eq!(looked_up.await.unwrap().unwrap(), "postgres://a:b@c/d");
    server.abort();
}

#[tokio::test]
async fn a_refusal_is_final_and_says_what_aws_said() {
    let denied = "AccessDeniedException: not authorized to perform: secretsmanager:GetSecretValue";
    let server = Server::start(vec![(400, denied)]).await;
    let problem = server.look_up("secret:shop/store").await.unwrap_err();
    assert!(problem.contains("400") && problem.contains(denied), "{problem}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn an_extension_that_never_gets_ready_is_given_up() {
    let mut server = Server::start(vec![(400, "not ready to serve traffic, please wait")]).await;
    server.extension.patience = Duration::from_millis(100);
    let problem = server.look_up("secret:shop/store").await.unwrap_err();
    assert!(problem.contains("is the layer AWS-Parameters-and-Secrets-Lambda-Extension there?"), "{problem}");
}

#[tokio::test]
async fn what_is_wrong_with_a_secret_is_said_without_the_secret() {
    for (setting, answer, said) in [
        ("secret:s#nothing", SECRET, "no text under \"nothing\""),
        ("secret:s#port", SECRET, "no text under \"port\""),
        ("secret:s#url", r#"{"SecretString":"postgres://a:b@c/d"}"#, "not a JSON object"),
        ("secret:s", r#"{"SecretBinary":"cG9zdGdyZXM6Ly9hOmJAYy9k"}"#, "the secret is not text"),
        ("secret:s", "postgres://a:b@c/d", "not what AWS documents"),
        ("parameter:p", r#"{"Parameter":{}}"#, "not what AWS documents"),
        ("kafka://{secret:s}@b:1/t", SECRET, "no text under \"username\""),
        ("kafka://{secret:s}b:1/t", SECRET, "SCHEME://{secret:ID}@HOST"),
        ("secret:", SECRET, "allowed: secret:ID, secret:ID#KEY, parameter:NAME"),
        ("secret:s#", SECRET, "allowed: secret:ID, secret:ID#KEY, parameter:NAME"),
        ("parameter:", PARAMETER, "allowed: secret:ID, secret:ID#KEY, parameter:NAME"),
    ] {
        let server = Server::start(vec![(200, answer)]).await;
        let problem = server.look_up(setting).await.unwrap_err();
        assert!(problem.contains(said) && !problem.contains("postgres"), "{setting}: {problem}");
    }
}

#[tokio::test]
async fn any_other_setting_is_its_own_value() {
    for setting in
        ["mongodb://a/b", "postgres://a:b@c/d", "kafka://a:1/t", "sqlite:data/events.db", "data", ""]
    {
        assert!(!is_secret(setting));
        assert_eq!(resolve(&setting.into()).await.unwrap().expose(), setting);
    }
    assert!(is_secret("secret:s") && is_secret("parameter:p"));
}
