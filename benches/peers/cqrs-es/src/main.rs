//! The smallest orders service on cqrs-es and postgres-es, as their book makes one: events and an inline view in PostgreSQL.
//!
//! ```text
//! orders-on-cqrs-es ADDRESS postgres://USER:PASSWORD@HOST/DATABASE
//! ```
//!
//! It has the calls of `orders`: `POST /`, `POST /{id}` and `GET /{id}`. A command is answered when its events are committed and the
//! view has them. Idempotency keys are not read, nothing is published, and nobody fulfils an order.

mod orders;

use std::sync::Arc;

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cqrs_es::AggregateError;
use cqrs_es::persist::{GenericQuery, ViewRepository};
use postgres_es::{PostgresCqrs, PostgresViewRepository, postgres_cqrs};
use serde::Deserialize;
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;

use crate::orders::{Order, OrderCommand, OrderError, OrderView};

/// One connection for each of the 64 measured clients; postgres-es's own default is 10.
const CONNECTIONS: u32 = 64;

/// The tables as postgres-es describes them (`db/init.sql`).
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS events (
        aggregate_type text                         NOT NULL,
        aggregate_id   text                         NOT NULL,
        sequence       bigint CHECK (sequence >= 0) NOT NULL,
        event_type     text                         NOT NULL,
        event_version  text                         NOT NULL,
        payload        json                         NOT NULL,
        metadata       json                         NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, sequence)
    );
    CREATE TABLE IF NOT EXISTS order_view (
        view_id text                        NOT NULL,
        version bigint CHECK (version >= 0) NOT NULL,
        payload json                        NOT NULL,
        PRIMARY KEY (view_id)
    )";

type Views = PostgresViewRepository<OrderView, Order>;

#[derive(Clone)]
struct Service {
    commands: Arc<PostgresCqrs<Order>>,
    views: Arc<Views>,
}

#[derive(Deserialize)]
struct NewOrder {
    id: String,
    name: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().context("an address comes first: HOST:PORT")?;
    let url = words.next().context("the URL of a PostgreSQL database comes second")?;
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
    sqlx::raw_sql(TABLES).execute(&pool).await?;

    let views = Arc::new(Views::new("order_view", pool.clone()));
    let mut query = GenericQuery::new(Arc::clone(&views));
    query.use_error_handler(Box::new(|error| eprintln!("the view was not written: {error}")));
    let commands = Arc::new(postgres_cqrs(pool, vec![Box::new(query)], ()));

    let routes = Router::new()
        .route("/", post(create))
        .route("/{id}", get(show).post(process))
        .route("/ready", get(StatusCode::OK))
        .with_state(Service { commands, views });
    axum::serve(TcpListener::bind(address).await?, routes).await?;
    Ok(())
}

async fn create(State(service): State<Service>, Json(order): Json<NewOrder>) -> Response {
    let command = OrderCommand::Create { name: order.name };
    match service.commands.execute(&order.id, command).await {
        // An order is created by its first event and no other.
        Ok(()) => (StatusCode::CREATED, [(ETAG, r#""1""#)]).into_response(),
        Err(error) => refusal(&error),
    }
}

async fn process(State(service): State<Service>, Path(id): Path<String>) -> Response {
    match service.commands.execute(&id, OrderCommand::Process).await {
        // Only a new order is processed, so this is its second event.
        Ok(()) => (StatusCode::OK, [(ETAG, r#""2""#)]).into_response(),
        Err(error) => refusal(&error),
    }
}

async fn show(State(service): State<Service>, Path(id): Path<String>) -> Response {
    match service.views.load(&id).await {
        Ok(Some(view)) => ([(ETAG, format!(r#""{}""#, view.version()))], Json(view)).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn refusal(error: &AggregateError<OrderError>) -> Response {
    let status = match error {
        AggregateError::UserError(_) | AggregateError::AggregateConflict => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string()).into_response()
}
