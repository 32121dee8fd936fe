//! A function behind an Invoke API, as a process that can be killed. The process is this test binary, started once more. It runs
//! only [`a_function_notes_what_it_is_given`], and serves there until it is ended.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event_source_mapping::event::{KafkaEvent, KafkaRecord, SchemaMetadata};
use serde_json::json;
use tokio::net::TcpListener;

/// The file for the notes. If this variable is set, the process is a function.
const NOTES: &str = "KAFKA_TRIGGER_TEST_NOTES";
const PORT: &str = "KAFKA_TRIGGER_TEST_PORT";
const LISTENING: &str = "listening on ";

/// A record that a function was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) value: String,
}

/// A function's process. It ends when this is dropped.
pub(crate) struct Function {
    process: Child,
    notes: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Function {
    /// Starts a function that appends the records that it is given to a file in the folder.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::on_port(&folder.join("notes"), 0)
    }

    fn on_port(notes: &Path, port: u16) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "function::a_function_notes_what_it_is_given", "--nocapture"])
            .env(NOTES, notes)
            .env(PORT, port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut addresses = lines
            .map_while(Result::ok)
            .filter_map(|line| Some(line.split_once(LISTENING)?.1.trim().parse::<SocketAddr>().unwrap()));
        let address = addresses.next().expect("the function listens");
        Self { process, notes: notes.to_owned(), address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills the process, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Kills the process, and starts another one at the same address.
    pub(crate) fn start_again(&mut self) {
        self.kill();
        *self = Self::on_port(&self.notes, self.address.port());
    }

    /// Returns the notes so far. An incomplete line does not count.
    pub(crate) fn notes(&self) -> Vec<Note> {
        let text = fs::read_to_string(&self.notes).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let note = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().unwrap();
            Note {
                partition: word().parse().unwrap(),
                offset: word().parse().unwrap(),
                value: word().to_owned(),
            }
        };
        whole.lines().map(note).collect()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Answers an invocation. The function's name and the records decide the answer:
///
/// - `fails-with-X` fails with a batch that has a record of value X.
/// - `hangs-with-X` does not answer such a batch.
/// - `shows-schemas` notes the text of [`with_schemas`].
/// - `shows-authorization` notes two headers of the request.
/// - A name that begins with `unknown` is not known.
async fn invoke(
    State(notes): State<Arc<PathBuf>>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    if name.starts_with("unknown") {
        return (StatusCode::NOT_FOUND, r#"{"title":"Missing function","detail":"not here"}"#.to_owned());
    }
    let event: KafkaEvent = serde_json::from_slice(&body).unwrap();
    let mut text = String::new();
    let mut fails = false;
    let mut hangs = false;
    for record in event.records.values().flatten() {
        let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
        fails |= name.strip_prefix("fails-with-").is_some_and(|poison| poison == value);
        hangs |= name.strip_prefix("hangs-with-").is_some_and(|poison| poison == value);
        let noted = if name == "shows-schemas" { with_schemas(record) } else { value };
        text.push_str(&format!("{} {} {noted}\n", record.partition, record.offset));
    }
    if name == "shows-authorization" {
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
        text = format!("0 0 {}|{}\n", header("authorization"), header("x-amz-invocation-type"));
    }
    // One write, so that a killed process leaves whole lines or none.
    OpenOptions::new().create(true).append(true).open(&*notes).unwrap().write_all(text.as_bytes()).unwrap();
    if hangs {
        return std::future::pending().await;
    }
    if fails {
        let error = r#"{"errorType":"Poison","errorMessage":"on purpose"}"#;
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_owned());
    }
    (StatusCode::OK, r#"{"batchItemFailures":[]}"#.to_owned())
}

/// Returns a record's key and value as JSON, with the formats and the ids of their schemas. Bytes that are not text are in
/// base64.
fn with_schemas(record: &KafkaRecord) -> String {
    let part = |bytes: &Option<Bytes>, schema: &Option<Arc<SchemaMetadata>>| {
        let text = bytes.as_ref().map(|bytes| match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => text.to_owned(),
            _ => STANDARD.encode(bytes),
        });
        json!([text, schema.as_ref().map(|schema| format!("{} {}", schema.data_format, schema.schema_id))])
    };
    let key = part(&record.key, &record.key_schema_metadata);
    json!({"key": key, "value": part(&record.value, &record.value_schema_metadata)}).to_string()
}

async fn serve(notes: PathBuf, port: u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    println!("{LISTENING}{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/2015-03-31/functions/{name}/invocations", post(invoke))
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::new(notes));
    axum::serve(listener, router).await.unwrap();
}

#[tokio::test]
async fn a_function_notes_what_it_is_given() {
    if let Some(notes) = std::env::var_os(NOTES) {
        let port = std::env::var(PORT).unwrap().parse().unwrap();
        return serve(notes.into(), port).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut function = Function::start(folder.path());
    function.start_again();
    let event = r#"{"records":{"t-1":[{"topic":"t","partition":1,"offset":7,"value":"YSBi"}]}}"#;
    let url = format!("{}/2015-03-31/functions/f/invocations", function.url());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer =
        reqwest::Client::builder().no_proxy().build().unwrap().post(url).body(event).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), r#"{"batchItemFailures":[]}"#);
    assert_eq!(function.notes(), [Note { partition: 1, offset: 7, value: "a b".to_owned() }]);
}
