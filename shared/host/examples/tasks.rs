//! Two aggregates and two views in one process: tasks, and the labels that they carry. The stores are files, and the channels are
//! in memory.
//!
//! ```sh
//! cargo run -p host --example tasks
//! curl -i localhost:8080/tasks/a -H 'Content-Type: application/json' -d '{"title":"water the plants"}'
//! curl -i localhost:8080/tasks/a/labels -H 'Content-Type: application/json' -d '{"labels":["home"]}'
//! curl -i localhost:8080/labels/home
//! ```

use std::process::ExitCode;

use axum::extract::{Request, State};
use axum::response::Response;
use command_handler::CommandHandler;
use command_handler::http::{Call, stream_id};
use event_source_mapping::event::{BatchResponse, KafkaEvent, KafkaRecord};
use event_source_mapping::{Mapping, NO_WINDOW, Trigger};
use event_sourcing::testing::{Command, LabelCommand, LabelSet, LabelsView, Task, TasksView};
use event_sourcing::{Aggregate, EventType, Undecodable, View, wire};
use http::StatusCode;
use jiff::Timestamp;
use read_store::{Incoming, Origin, ReadStore, ReadStoreError};
use runtime::http::{PathText, json, read_body};
use runtime::{Problem, Routes, Store};
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    host::Application::new("tasks", "Tasks and their labels")
        .aggregate::<Task>()
        .aggregate::<LabelSet>()
        .view::<TasksView>()
        .view::<LabelsView>()
        .http(task_commands)
        .http(label_commands)
        .http(task_queries)
        .http(label_queries)
        .trigger(projection::<Task, TasksView>)
        .trigger(projection::<LabelSet, LabelsView>)
        .run()
}

fn task_commands(tasks: CommandHandler<Task>) -> Routes {
    Routes::of("task-commands", Store::Events)
        .post("/tasks/{id}", open_task)
        .post("/tasks/{id}/start", start_task)
        .post("/tasks/{id}/finish", finish_task)
        .with_state(tasks)
}

fn label_commands(labels: CommandHandler<LabelSet>) -> Routes {
    Routes::of("label-commands", Store::Events).post("/tasks/{id}/labels", add_labels).with_state(labels)
}

fn task_queries(tasks: ReadStore<TasksView>) -> Routes {
    Routes::of("task-queries", Store::Views).get("/tasks/{id}", task).with_state(tasks)
}

fn label_queries(labels: ReadStore<LabelsView>) -> Routes {
    Routes::of("label-queries", Store::Views).get("/labels/{label}", label).with_state(labels)
}

#[derive(Deserialize)]
struct NewTask {
    title: String,
}

#[derive(Deserialize)]
struct NewLabels {
    labels: Vec<String>,
}

async fn open_task(
    State(tasks): State<CommandHandler<Task>>,
    PathText(id): PathText<String>,
    request: Request,
) -> Result<Response, Problem> {
    command(&tasks, &id, request, |NewTask { title }| Command::Open { title }).await
}

async fn start_task(
    State(tasks): State<CommandHandler<Task>>,
    PathText(id): PathText<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    Call::read(&parts)?.answer(&tasks, stream_id(&id)?, Command::Start, b"").await
}

async fn finish_task(
    State(tasks): State<CommandHandler<Task>>,
    PathText(id): PathText<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    Call::read(&parts)?.answer(&tasks, stream_id(&id)?, Command::Finish, b"").await
}

async fn add_labels(
    State(labels): State<CommandHandler<LabelSet>>,
    PathText(id): PathText<String>,
    request: Request,
) -> Result<Response, Problem> {
    command(&labels, &id, request, |NewLabels { labels }| LabelCommand::Add { labels }).await
}

async fn command<A: Aggregate, B: for<'a> Deserialize<'a>>(
    handler: &CommandHandler<A>,
    id: &str,
    request: Request,
    of_body: impl FnOnce(B) -> A::Command,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (id, call) = (stream_id(id)?, Call::read(&parts)?);
    let body = read_body(&parts.headers, body).await?;
    let command = of_body(runtime::json::parse(&body)?);
    call.answer(handler, id, command, &body).await
}

async fn task(
    State(tasks): State<ReadStore<TasksView>>,
    PathText(id): PathText<String>,
) -> Result<Response, Problem> {
    found(tasks.get(&stream_id(&id)?).await)
}

async fn label(
    State(labels): State<ReadStore<LabelsView>>,
    PathText(label): PathText<String>,
) -> Result<Response, Problem> {
    found(labels.row(&label).await)
}

fn found(row: Result<Option<impl Serialize>, ReadStoreError>) -> Result<Response, Problem> {
    let row = row.map_err(|error| Problem::unavailable(1, error.to_string()))?;
    let none = || Problem::not_found("not-found", "There is nothing here", "Nothing has this name.");
    Ok(json(StatusCode::OK, &row.ok_or_else(none)?))
}

/// Projects the events of an aggregate into a view.
fn projection<A: Aggregate, V: View<Event = A::Event>>(view: ReadStore<V>) -> Trigger {
    let mapping = Mapping { window: NO_WINDOW, ..Mapping::new(format!("project-{}", V::NAME)) };
    let project = async |view: ReadStore<V>, event: KafkaEvent, _| {
        view.project(event.records.into_values().flatten().map(incoming).collect()).await?;
        Ok::<_, ReadStoreError>(BatchResponse::default())
    };
    Trigger::new(A::KIND, mapping, &view, project).of_view(V::NAME, ReadStore::<V>::shape_digest())
}

fn incoming<E: EventType>(record: KafkaRecord) -> Incoming<E> {
    let no_value = || Undecodable::Malformed("the record has no value".to_owned());
    Incoming {
        event: record.value.as_ref().ok_or_else(no_value).and_then(|value| wire::decode(value)),
        origin: Origin {
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
        },
        key: record.key.map(Into::into),
        value: record.value.map(Into::into),
        received_at: Timestamp::now(),
    }
}
