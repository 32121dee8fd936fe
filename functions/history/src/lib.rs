//! `GET /{id}/events` and `GET /{id}/versions/{n}`: an order's past, from the event store.
//!
//! Unlike the view, this is never behind. The crate imports nothing that knows of channels.

use axum::extract::State;
use axum::response::Response;
use domain::{EncodedEvent, Event, Invalid, Order, OrderId, Snapshot, Version};
use event_store::{Commit, EventStore, Load, Of, StoreError, fold_to};
use http::header::{CACHE_CONTROL, ETAG, LINK};
use http::{HeaderValue, StatusCode, Uri};
use runtime::http::{PathText, json, query};
use runtime::{Problem, Routes, Store};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use smol_str::SmolStr;

/// The largest number of events on a page; also the number when the client gives no limit.
const PAGE: usize = 500;

/// The function's routes.
pub fn routes(store: Of<Order, EventStore>) -> Routes {
    Routes::of(env!("CARGO_PKG_NAME"), Store::Events)
        .get("/{id}/events", events)
        .get("/{id}/versions/{version}", version)
        .with_state(store)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    after: Option<String>,
    limit: Option<usize>,
}

/// An event with its time and its causes.
#[derive(Serialize)]
struct EventBody<'a> {
    version: Version,
    #[serde(rename = "type")]
    kind: SmolStr,
    time: jiff::Timestamp,
    data: Box<RawValue>,
    command_id: &'a str,
    command_kind: &'static str,
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
}

async fn events(
    State(store): State<Of<Order, EventStore>>,
    PathText(id): PathText<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let asked: EventsQuery = query(&uri)?;
    let after = asked.after.as_deref().map_or(Ok(Version::NONE), Version::parse);
    let after = after.map_err(|error| Problem::invalid("after", error.to_string()))?;
    let limit = asked.limit.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&limit) {
        return Err(Problem::invalid("limit", format!("limit is {limit}; allowed: 1 to {PAGE}")));
    }
    let (id, commits) = load(&store, &id).await?;
    let mut page = Vec::new();
    for commit in commits.iter().filter(|commit| commit.last_version() > after) {
        page.extend(bodies(commit)?.filter(|event| event.version > after));
        if page.len() > limit {
            break;
        }
    }
    let more = page.len() > limit;
    page.truncate(limit);
    let mut response = json(StatusCode::OK, &page);
    if let (true, Some(last)) = (more, page.last())
        && let Ok(link) = HeaderValue::try_from(format!(
            "</{id}/events?limit={limit}&after={}>; rel=\"next\"",
            last.version
        ))
    {
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

/// Returns a commit's events in today's form, whatever program wrote them.
fn bodies(commit: &Commit) -> Result<impl Iterator<Item = EventBody<'_>>, Problem> {
    let recorded = commit.recorded::<Event>().map_err(|error| Problem::internal(error.to_string()))?;
    Ok(recorded.into_iter().map(|recorded| {
        let EncodedEvent { kind, data, .. } = EncodedEvent::encode(&recorded.event);
        EventBody {
            version: recorded.version,
            kind,
            time: recorded.time,
            data,
            command_id: commit.command_id.id(),
            command_kind: commit.command_id.kind().name(),
            correlation_id: &commit.metadata.correlation_id,
            causation_id: commit.metadata.causation_id.as_deref(),
            actor: commit.metadata.actor.as_deref(),
        }
    }))
}

async fn version(
    State(store): State<Of<Order, EventStore>>,
    PathText((id, version)): PathText<(String, String)>,
) -> Result<Response, Problem> {
    let version = Version::parse(&version).map_err(|error| invalid(&error))?;
    let (id, commits) = load(&store, &id).await?;
    let order: Snapshot =
        fold_to(id, &commits, version).map_err(|error| Problem::internal(error.to_string()))?;
    if order.version != version || version == Version::NONE {
        let last = commits.last().map_or(Version::NONE, Commit::last_version);
        let detail = format!("The order has the versions 1 to {last}.");
        let (kind, title) = ("version-not-found", "The order has no such version");
        return Err(Problem::not_found(kind, title, detail).at("version"));
    }
    let mut response = json(StatusCode::OK, &order);
    if let Ok(etag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(ETAG, etag);
    }
    // A past version of an order never changes.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=31536000, immutable"));
    Ok(response)
}

/// Loads a stream; on MongoDB with majority read concern. During a failover of MongoDB, a deposed primary may still answer, and
/// then the newest commits are missing. Before a command is refused, the handler checks for that; a read does not.
async fn load(store: &EventStore, id: &str) -> Result<(OrderId, Vec<Commit>), Problem> {
    let id = OrderId::parse(id).map_err(|error| invalid(&error))?;
    let load = Load { stream: id.clone(), after: Version::NONE, command: None };
    let stream = store.load(load).await.map_err(|error| match error {
        StoreError::Unavailable(cause) => {
            Problem::unavailable(2, "The event store is not available.").because(cause.as_ref())
        }
        StoreError::Unreadable(_) => Problem::internal(error.to_string()),
    })?;
    if stream.commits.is_empty() {
        return Err(Problem::not_found("order-not-found", "There is no such order", "No order has this id."));
    }
    Ok((id, stream.commits))
}

fn invalid(error: &Invalid) -> Problem {
    Problem::invalid(error.what, error.to_string())
}
