//! A cold request: from exec to the first answer. The URLs are secrets, as `template.yaml` has them, so the extension's local HTTP is
//! in the path. The limit is the slower of two raw clients, each of which connects and writes once.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::events::Work;
use super::place::Place;
use super::runtime_api::Instance;
use crate::table::{Table, median};

/// The largest time of a cold request, as a multiple of the slower raw client's time.
const MOST_OF_RAW: f64 = 1.3;

/// The local HTTP of the AWS Parameters and Secrets Lambda Extension. Its one secret has every URL, under the name of its variable.
struct Extension {
    port: u16,
    server: JoinHandle<()>,
}

impl Extension {
    async fn start(secret: &Value) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let answer = json!({"Name": SECRET, "SecretString": secret.to_string(), "VersionId": "1"});
        let router = Router::new().route("/secretsmanager/get", get(look_up)).with_state(answer.to_string());
        let server = tokio::spawn(async move {
            // A failure shows as a function that does not answer.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { port, server })
    }
}

impl Drop for Extension {
    fn drop(&mut self) {
        self.server.abort();
    }
}

const SECRET: &str = "measured";

async fn look_up(
    State(answer): State<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<String, StatusCode> {
    let is_known = query.iter().any(|(name, value)| name == "secretId" && value == SECRET);
    if is_known { Ok(answer) } else { Err(StatusCode::BAD_REQUEST) }
}

/// Measures cold requests of a command function and raw clients in turn. The events begin at `first`.
pub(super) async fn measure(
    binary: &Path,
    place: &Place,
    work: Work,
    first: u32,
    rounds: u32,
    table: &mut Table,
) -> anyhow::Result<()> {
    let plain = place.variables();
    let secret = plain.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let extension = Extension::start(&Value::Object(secret)).await?;
    let port = extension.port.to_string();
    let named: Vec<_> = plain.iter().map(|(name, value)| (*name, setting(name, value))).collect();
    let mut variables: Vec<(&str, &str)> = named.iter().map(|(name, value)| (*name, &**value)).collect();
    variables.extend([("PARAMETERS_SECRETS_EXTENSION_HTTP_PORT", &*port), ("AWS_SESSION_TOKEN", "session")]);

    let (mut ours, mut mongodb, mut kafka) = (vec![], vec![], vec![]);
    for round in 0..=rounds {
        let mut instance = Instance::start(binary, &variables, None).await?;
        let (answer, time) = instance.cold_request(&work.event(first + round)?).await?;
        work.function.check(&answer).context("the cold request")?;
        let (inserted, sent) = (place.insert_once().await?, place.send_once().await?);
        // The first round makes what later ones find: a collection, and what brokers and server read from disk.
        if round > 0 {
            ours.push(time);
            mongodb.push(inserted);
            kafka.push(sent);
        }
    }
    let (ours, mongodb, kafka) = (median(ours), median(mongodb), median(kafka));
    let name = work.function.name();
    table.alone(format!("{name}: a raw MongoDB client that connects and inserts once"), mongodb, "ms");
    table.alone(format!("{name}: a raw rdkafka producer that connects and sends once"), kafka, "ms");
    let raw = mongodb.max(kafka);
    table.compared(format!("{name}: cold request, from exec to the first answer"), ours, raw, "ms");
    if ours / raw > MOST_OF_RAW {
        table.failed(format!(
            "a cold request of {name} takes {:.2} times as long as the slower raw client; {MOST_OF_RAW} is the most",
            ours / raw
        ));
    }
    Ok(())
}

fn setting(name: &str, value: &str) -> String {
    if value.contains("://") { format!("secret:{SECRET}#{name}") } else { value.to_owned() }
}
