//! A function's answer to a batch.

use serde::{Deserialize, Serialize};

use crate::InvokeError;
use crate::message::message;

/// A function's answer: the records that failed. It is empty if none failed.
///
/// In JSON `{"batchItemFailures": [{"itemIdentifier": {"partition": "topic-0", "offset": 123}}]}`, as the AWS page "Configuring
/// error handling controls for Kafka event sources" has it; null, `{}` and a null list mean that nothing failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "Option<ResponseBody>")]
pub struct BatchResponse {
    /// For each partition that had a failure, the first record that failed. This record and those behind it come again.
    pub batch_item_failures: Vec<BatchItemFailure>,
}

/// A record that failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Item", into = "Item")]
pub struct BatchItemFailure {
    /// `topic-partition`.
    pub partition: String,
    /// The record's offset.
    pub offset: i64,
}

impl BatchResponse {
    /// Reads a function's answer.
    ///
    /// # Errors
    /// An answer of another shape counts as a failure of the whole batch: [`InvokeError::Function`].
    pub fn from_answer(answer: &[u8]) -> Result<Self, InvokeError> {
        if answer.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(answer).map_err(|error| {
            InvokeError::Function(message(&format!("its answer is not a batch response: {error}")))
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseBody {
    batch_item_failures: Option<Vec<BatchItemFailure>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    item_identifier: Identifier,
}

#[derive(Serialize, Deserialize)]
struct Identifier {
    partition: String,
    offset: i64,
}

impl From<Option<ResponseBody>> for BatchResponse {
    fn from(written: Option<ResponseBody>) -> Self {
        let failures = written.and_then(|written| written.batch_item_failures);
        Self { batch_item_failures: failures.unwrap_or_default() }
    }
}

impl From<Item> for BatchItemFailure {
    fn from(Item { item_identifier: Identifier { partition, offset } }: Item) -> Self {
        Self { partition, offset }
    }
}

impl From<BatchItemFailure> for Item {
    fn from(BatchItemFailure { partition, offset }: BatchItemFailure) -> Self {
        Self { item_identifier: Identifier { partition, offset } }
    }
}
