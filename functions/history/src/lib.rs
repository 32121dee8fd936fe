//! `GET /{id}/events` and `GET /{id}/versions/{n}`: an order's past, from the event store.
//!
//! Unlike the view, this is never behind. The crate imports nothing that knows of channels.

use axum::extract::State;
use axum::response::Response;
use domain::{EncodedEvent, Event, Invalid, Order, OrderId, Snapshot, Version};
use event_store::{Commit, EventStore, Load, Of, StoreError};
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
    let id = OrderId::parse(&id).map_err(|error| invalid(&error))?;
    let commits = commits_behind(&store, &id, after, limit).await?;
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

/// Returns the commits from a version on: those that have one event more than the limit, if there are so many.
async fn commits_behind(
    store: &EventStore,
    id: &OrderId,
    after: Version,
    limit: usize,
) -> Result<Vec<Commit>, Problem> {
    let page = Load { limit: Some(limit as u64 + 1), ..Load::after(id.clone(), after) };
    match store.load(page).await {
        Ok(found) if !found.commits.is_empty() => return Ok(found.commits),
        // `after` may be in the middle of a commit.
        Ok(_) | Err(StoreError::Unreadable(_)) => {}
        Err(error) => return Err(unavailable(error)),
    }
    if is_last(store, id, after).await? { Ok(Vec::new()) } else { load(store, id).await }
}

/// Returns true if a commit of one event ends at this version, and the caller has found none behind it.
async fn is_last(store: &EventStore, id: &OrderId, after: Version) -> Result<bool, Problem> {
    let Some(before) = after.get().checked_sub(1) else { return Ok(false) };
    let last = Load { limit: Some(2), ..Load::after(id.clone(), Version::new(before)) };
    match store.load(last).await {
        Ok(found) => Ok(matches!(&found.commits[..], [commit] if commit.last_version() == after)),
        Err(StoreError::Unreadable(_)) => Ok(false),
        Err(error) => Err(unavailable(error)),
    }
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
    let id = OrderId::parse(&id).map_err(|error| invalid(&error))?;
    let order: Snapshot = store.state_at::<Order>(id.clone(), version).await.map_err(unavailable)?;
    if order.version != version || version == Version::NONE {
        let last = match order.version {
            Version::NONE => last_version(&store, id).await?,
            last => last,
        };
        if last == Version::NONE {
            return Err(no_order());
        }
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

async fn last_version(store: &EventStore, id: OrderId) -> Result<Version, Problem> {
    let stream = store.load_stream::<Order>(id, None).await.map_err(unavailable)?;
    Ok(stream.commits.last().map_or(Version::NONE, Commit::last_version))
}

/// Loads a stream; on MongoDB with majority read concern. During a failover of MongoDB, a deposed primary may still answer, and
/// then the newest commits are missing. Before a command is refused, the handler checks for that; a read does not.
async fn load(store: &EventStore, id: &OrderId) -> Result<Vec<Commit>, Problem> {
    let stream = store.load(Load::whole(id.clone())).await.map_err(unavailable)?;
    if stream.commits.is_empty() {
        return Err(no_order());
    }
    Ok(stream.commits)
}

fn no_order() -> Problem {
    Problem::not_found("order-not-found", "There is no such order", "No order has this id.")
}

fn unavailable(error: StoreError) -> Problem {
    match error {
        StoreError::Unavailable(cause) => {
            Problem::unavailable(2, "The event store is not available.").because(cause.as_ref())
        }
        StoreError::Unreadable(_) => Problem::internal(error.to_string()),
    }
}

fn invalid(error: &Invalid) -> Problem {
    Problem::invalid(error.what, error.to_string())
}
