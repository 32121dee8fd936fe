//! The events of each function: requests of API Gateway's HTTP API, batches of records, the schedule's event.

use std::ops::Range;

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

    /// Returns whether the function is behind the HTTP API.
    pub(crate) fn is_http(self) -> bool {
        matches!(
            self,
            Self::CreateOrder | Self::ProcessOrder | Self::CancelOrder | Self::Query | Self::History
        )
    }

    /// Checks that the function did what it was asked.
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

/// A function, and how many records each of its events has, if it is one that takes records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) function: Function,
    pub(crate) records: u32,
}

impl Work {
    pub(crate) fn one(function: Function) -> Self {
        Self { function, records: 1 }
    }

    /// Returns the numbers of the orders that must be there for so many invocations.
    pub(crate) fn orders(self, invocations: u32) -> Range<u64> {
        match self.function {
            Function::CreateOrder | Function::Query | Function::Projector | Function::Relay => 0..0,
            Function::ProcessOrder | Function::CancelOrder | Function::History | Function::Processor => {
                0..u64::from(invocations) * u64::from(self.records)
            }
        }
    }

    /// Returns whether these orders must be in processing.
    pub(crate) fn needs_started(self) -> bool {
        self.function == Function::Processor
    }

    /// Returns the event of an invocation; no two have an order in common.
    pub(crate) fn event(self, invocation: u32) -> anyhow::Result<Value> {
        let first = u64::from(invocation) * u64::from(self.records);
        let id = commits::order(first)?;
        let path = format!("/{id}");
        Ok(match self.function {
            Function::CreateOrder => {
                request("POST", "/", "POST /", Some(&json!({"id": id.to_string(), "name": "a lamp"})))
            }
            Function::ProcessOrder => request("POST", &path, "POST /{id}", None),
            Function::CancelOrder => request("DELETE", &path, "DELETE /{id}", None),
            Function::Query => request("GET", "/", "GET /", None),
            Function::History => request("GET", &format!("{path}/events"), "GET /{id}/events", None),
            Function::Projector => self.batch(first, 1, "OrderCreated", &json!({"name": "a lamp"}))?,
            Function::Processor => self.batch(first, 2, "ProcessingStarted", &json!({}))?,
            Function::Relay => json!({}),
        })
    }

    /// Returns a batch of records, each of another order, as the event source mapping of a self-managed Kafka sends it.
    fn batch(self, first: u64, version: u64, kind: &str, data: &Value) -> anyhow::Result<Value> {
        let record = |number: u64| {
            let order = commits::order(number)?.to_string();
            let value = json!({
                "type": kind, "schema": 1, "stream": order, "version": version,
                "time": "2026-01-01T00:00:00Z", "data": data,
            });
            anyhow::Ok(json!({
                "topic": "orders.events",
                "partition": 0,
                "offset": number,
                "timestamp": 1_767_225_600_000_u64,
                "timestampType": "CREATE_TIME",
                "key": BASE64_STANDARD.encode(order),
                "value": BASE64_STANDARD.encode(value.to_string()),
                "headers": [],
            }))
        };
        let records = (first..first + u64::from(self.records)).map(record);
        Ok(json!({
            "eventSource": "SelfManagedKafka",
            "bootstrapServers": "broker:9092",
            "records": {"orders.events-0": records.collect::<anyhow::Result<Vec<_>>>()?},
        }))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn no_order_is_in_two_events_and_each_is_there() {
        let work = Work { function: Function::Processor, records: 2 };
        assert_eq!(work.orders(3), 0..6);
        let offsets: Vec<Value> = (0..3)
            .flat_map(|invocation| {
                let event = work.event(invocation).unwrap();
                event["records"]["orders.events-0"].as_array().unwrap().clone()
            })
            .map(|record| record["offset"].clone())
            .collect();
        assert_eq!(offsets, [0, 1, 2, 3, 4, 5]);
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
