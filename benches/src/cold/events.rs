//! What each function is invoked with: requests of API Gateway's HTTP API, batches of one record, the schedule's event.

use anyhow::ensure;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::servers::commits;

/// A function that is measured. Its artefact has its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Function {
    /// Creates an order
    CreateOrder,
    /// Starts the fulfilment of an order
    ProcessOrder,
    /// Cancels a new order
    CancelOrder,
    /// Lists orders
    Query,
    /// The events of an order
    History,
    /// An OrderCreated into the view
    Projector,
    /// A ProcessingStarted, fulfilled by the mock
    Processor,
    /// Finds nothing to publish
    Relay,
}

impl Function {
    /// The artefact's name.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The numbers of the orders of a round: one for each invocation.
    pub(crate) fn orders(self, round: u32) -> Vec<u64> {
        let first = u64::from(round) * 2;
        match self {
            Self::CreateOrder | Self::Query | Self::Projector | Self::Relay => vec![],
            Self::ProcessOrder | Self::CancelOrder | Self::History | Self::Processor => {
                vec![first, first + 1]
            }
        }
    }

    /// Whether its orders must be in processing.
    pub(crate) fn needs_started(self) -> bool {
        self == Self::Processor
    }

    /// The two events of a round.
    pub(crate) fn events(self, round: u32) -> anyhow::Result<[Value; 2]> {
        let first = u64::from(round) * 2;
        Ok([self.event(first)?, self.event(first + 1)?])
    }

    fn event(self, number: u64) -> anyhow::Result<Value> {
        let id = commits::order(number)?;
        Ok(match self {
            Self::CreateOrder => {
                request("POST", "/", "POST /", Some(&json!({"id": id.to_string(), "name": "a lamp"})))
            }
            Self::ProcessOrder => request("POST", &format!("/{id}"), "POST /{id}", None),
            Self::CancelOrder => request("DELETE", &format!("/{id}"), "DELETE /{id}", None),
            Self::Query => request("GET", "/", "GET /", None),
            Self::History => request("GET", &format!("/{id}/events"), "GET /{id}/events", None),
            Self::Projector => batch(number, &id.to_string(), 1, "OrderCreated", &json!({"name": "a lamp"})),
            Self::Processor => batch(number, &id.to_string(), 2, "ProcessingStarted", &json!({})),
            Self::Relay => json!({}),
        })
    }

    /// The function did what it was asked.
    pub(crate) fn check(self, answer: &Value) -> anyhow::Result<()> {
        let expected = match self {
            Self::CreateOrder => ("/statusCode", json!(201)),
            Self::ProcessOrder | Self::CancelOrder | Self::Query | Self::History => {
                ("/statusCode", json!(200))
            }
            Self::Projector | Self::Processor => ("/batchItemFailures", json!([])),
            Self::Relay => ("/failed", json!(0)),
        };
        ensure!(answer.pointer(expected.0) == Some(&expected.1), "it answers {answer}");
        Ok(())
    }
}

fn request(method: &str, path: &str, route: &str, body: Option<&Value>) -> Value {
    json!({
        "version": "2.0",
        "routeKey": route,
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "host": "api.execute-api.eu-west-1.amazonaws.com"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api",
            "domainName": "api.execute-api.eu-west-1.amazonaws.com",
            "stage": "$default",
            "requestId": "request",
            "routeKey": route,
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1_767_225_600_000_u64,
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "bench"},
        },
        "body": body.map(Value::to_string),
        "isBase64Encoded": false,
    })
}

/// One record, as the event source mapping of a self-managed Kafka sends it.
fn batch(offset: u64, order: &str, version: u64, kind: &str, data: &Value) -> Value {
    let value = json!({
        "type": kind, "schema": 1, "order": order, "version": version,
        "time": "2026-01-01T00:00:00Z", "data": data,
    });
    json!({
        "eventSource": "SelfManagedKafka",
        "bootstrapServers": "broker:9092",
        "records": {
            "orders.events-0": [{
                "topic": "orders.events",
                "partition": 0,
                "offset": offset,
                "timestamp": 1_767_225_600_000_u64,
                "timestampType": "CREATE_TIME",
                "key": BASE64_STANDARD.encode(order),
                "value": BASE64_STANDARD.encode(value.to_string()),
                "headers": [],
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn no_order_is_taken_twice() {
        let orders: Vec<u64> = (0..3).flat_map(|round| Function::CancelOrder.orders(round)).collect();
        assert_eq!(orders, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn an_answer_that_is_not_as_it_should_be_is_refused() {
        Function::CreateOrder.check(&json!({"statusCode": 201})).unwrap();
        Function::CreateOrder.check(&json!({"statusCode": 503})).unwrap_err();
        Function::Projector.check(&json!({"batchItemFailures": []})).unwrap();
        Function::Projector.check(&json!({"batchItemFailures": [{"itemIdentifier": {}}]})).unwrap_err();
        Function::Relay.check(&json!({"errorMessage": "x"})).unwrap_err();
    }
}
