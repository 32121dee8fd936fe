//! Settings as `template.yaml` gives them. They name secrets, which a function gets from the AWS Parameters and Secrets Lambda
//! Extension.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use tests::poll::until;
use tests::runtime_api::Function;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::World;

const SESSION: &str = "the session's token";

/// The extension's local HTTP, as AWS documents it: the secrets that it may read, and the number of requests for each.
#[derive(Clone, Default)]
struct Extension {
    secrets: Arc<Mutex<BTreeMap<String, String>>>,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Extension {
    async fn start(&self) -> (u16, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().route("/secretsmanager/get", get(secret)).with_state(self.clone());
        (port, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
    }

    fn allow(&self, id: &str, url: &str) {
        self.keep(id, &json!({"url": url}));
    }

    fn keep(&self, id: &str, secret: &Value) {
        let secret = json!({"Name": id, "SecretString": secret.to_string(), "VersionId": "1"});
        self.secrets.lock().unwrap().insert(id.to_owned(), secret.to_string());
    }

    fn asked(&self) -> BTreeMap<String, usize> {
        self.asked.lock().unwrap().clone()
    }
}

async fn secret(
    State(extension): State<Extension>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<String, (StatusCode, &'static str)> {
    if headers.get("x-aws-parameters-secrets-token").is_none_or(|token| token != SESSION) {
        return Err((StatusCode::FORBIDDEN, "the token is not the session's"));
    }
    let id = &query["secretId"];
    *extension.asked.lock().unwrap().entry(id.clone()).or_default() += 1;
    let found = extension.secrets.lock().unwrap().get(id).cloned();
    found.ok_or((StatusCode::BAD_REQUEST, "AccessDeniedException: not authorized to perform GetSecretValue"))
}

#[tokio::test]
async fn a_function_looks_its_secrets_up_when_it_is_first_invoked_and_once() {
    let Some(world) = World::new().await else { return };
    let extension = Extension::default();
    let (port, server) = extension.start().await;
    let port = port.to_string();
    let variables = [
        ("ORDERS_EVENT_STORE", "secret:orders/events#url"),
        ("ORDERS_CHANNEL", "secret:orders/channel#url"),
        ("ORDERS_READ_STORE", "secret:orders/view#url"),
        ("PARAMETERS_SECRETS_EXTENSION_HTTP_PORT", &*port),
        ("AWS_SESSION_TOKEN", SESSION),
    ];

    // The extension answers only functions that are invoked.
    let mut query = Function::start("query", &variables).await;
    query.up().await;
    assert_eq!(extension.asked(), BTreeMap::new());

    // The function may not read this secret. Its log says why, and its answer does not.
    let (status, problem) = query.call("GET", "/", None).await;
    assert_eq!((status, &problem["detail"]), (503, &"The function can't reach what it needs.".into()));
    let log = query.log();
    assert!(log.contains("secret:orders/view#url") && log.contains("not authorized"), "{log}");

    // Once it may, the function is well without a new start, and does not ask for ever.
    extension.allow("orders/view", world.url("ORDERS_READ_STORE"));
    for _ in 0..3 {
        assert_eq!(query.call("GET", "/", None).await, (200, json!([])));
    }
    assert_eq!(extension.asked(), BTreeMap::from([("orders/view".to_owned(), 2)]));

    extension.allow("orders/events", world.url("ORDERS_EVENT_STORE"));
    extension.allow("orders/channel", world.url("ORDERS_CHANNEL"));
    let mut create = Function::start("create-order", &variables).await;
    for id in ["a", "b"] {
        let (status, order) = create.call("POST", "/", Some(&json!({"id": id, "name": "a lamp"}))).await;
        assert_eq!((status, &order["id"]), (201, &id.into()), "{order}");
    }
    let expected = [("orders/channel", 1), ("orders/events", 1), ("orders/view", 2)];
    assert_eq!(extension.asked(), expected.map(|(id, times)| (id.to_owned(), times)).into());
    server.abort();
}

/// The template has it like this for Kafka, and Amazon RDS keeps the secrets that it manages like this.
#[tokio::test]
async fn a_login_alone_may_be_the_secret() {
    let Some(world) = World::new().await else { return };
    let extension = Extension::default();
    let (port, server) = extension.start().await;
    let view = world.url("ORDERS_READ_STORE");
    let (login, place) = view.strip_prefix("postgres://").and_then(|rest| rest.rsplit_once('@')).unwrap();
    let (user, password) = login.split_once(':').unwrap();
    extension.keep("orders/view", &json!({"username": user, "password": password}));
    let (port, url) = (port.to_string(), format!("postgres://{{secret:orders/view}}@{place}"));
    let variables = [
        ("ORDERS_READ_STORE", &*url),
        ("PARAMETERS_SECRETS_EXTENSION_HTTP_PORT", &*port),
        ("AWS_SESSION_TOKEN", SESSION),
    ];
    let mut query = Function::start("query", &variables).await;
    assert_eq!(query.call("GET", "/", None).await, (200, json!([])));
    server.abort();
}

/// Runs a statement on the database of the view.
async fn sql(world: &World, statement: &str) {
    let mut connection = PgConnection::connect(world.url("ORDERS_READ_STORE")).await.unwrap();
    raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect(statement);
}

/// Both URLs are `postgres://` with a login of their own, whose password is rotated while instances are warm. They are not started
/// again, and no caller sees it.
#[tokio::test]
async fn a_password_that_was_rotated_is_looked_up_again() {
    let Some(world) = World::new().await else { return };
    let extension = Extension::default();
    let (port, server) = extension.start().await;
    let view = world.url("ORDERS_READ_STORE");
    let (owner, place) = view.strip_prefix("postgres://").and_then(|rest| rest.rsplit_once('@')).unwrap();
    let (owner, user) =
        (owner.split(':').next().unwrap(), format!("rotated_{}", uuid::Uuid::new_v4().simple()));
    sql(&world, &format!("CREATE ROLE {user} LOGIN PASSWORD 'first' IN ROLE {owner}")).await;
    extension.keep("orders/login", &json!({"username": user, "password": "first"}));
    let (port, url) = (port.to_string(), format!("postgres://{{secret:orders/login}}@{place}"));
    let variables = [
        ("ORDERS_EVENT_STORE", &*url),
        ("ORDERS_CHANNEL", world.url("ORDERS_CHANNEL")),
        ("ORDERS_READ_STORE", &url),
        ("PARAMETERS_SECRETS_EXTENSION_HTTP_PORT", &*port),
        ("AWS_SESSION_TOKEN", SESSION),
    ];
    let mut query = Function::start("query", &variables).await;
    let mut create = Function::start("create-order", &variables).await;
    assert_eq!(query.call("GET", "/", None).await, (200, json!([])));
    assert_eq!(create.call("POST", "/", Some(&json!({"id": "a", "name": "a lamp"}))).await.0, 201);

    let sessions = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'");
    let rotate = format!("ALTER ROLE {user} PASSWORD 'second'; {sessions}");
    sql(&world, &rotate).await;
    // The secret still has the old password: the caller is told to come again, and the log says why.
    assert_eq!(query.call("GET", "/", None).await.0, 503);
    assert!(query.log().contains("refuses this user or password"), "{}", query.log());

    extension.keep("orders/login", &json!({"username": user, "password": "second"}));
    assert_eq!(create.call("POST", "/", Some(&json!({"id": "b", "name": "a lamp"}))).await.0, 201);
    until("the query to look the secret up again", async || {
        (query.call("GET", "/", None).await == (200, json!([]))).then_some(())
    })
    .await;
    assert!(extension.asked()["orders/login"] <= 6, "{:?}", extension.asked());
    sql(
        &world,
        &format!("{sessions}; REASSIGN OWNED BY {user} TO {owner}; DROP OWNED BY {user}; DROP ROLE {user}"),
    )
    .await;
    server.abort();
}
