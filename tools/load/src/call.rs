//! The calls of a load, and the kinds of latencies that it measures.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// POST /
    Create,
    /// POST /{id}
    Process,
    /// GET /{id}; of an order that this load has written, no older than it was acknowledged.
    Get,
    /// All of these.
    All,
}

/// The kinds of latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Create,
    Process,
    Get,
    /// From sending a command until a plain GET shows it.
    Queryable,
}

impl Call {
    pub(crate) fn kind(self) -> Option<Kind> {
        match self {
            Self::Create => Some(Kind::Create),
            Self::Process => Some(Kind::Process),
            Self::Get => Some(Kind::Get),
            Self::All => None,
        }
    }
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Process => "process",
            Self::Get => "get",
            Self::Queryable => "queryable",
        }
    }
}
