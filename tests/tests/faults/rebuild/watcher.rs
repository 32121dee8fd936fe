//! A reader that remembers every version that it has seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;
use tests::system::System;

/// The versions that were seen on any of the replicas.
#[derive(Default)]
pub(super) struct Watcher {
    seen: BTreeMap<String, u64>,
    reads: AtomicU64,
}

impl Watcher {
    /// Reads through all replicas in turn until `over` is set. No order may be older than it was on any of them before, or gone.
    pub(super) async fn watch(&mut self, replicas: &[&System], random: &mut StdRng, over: &AtomicBool) {
        let mut after = String::new();
        while !over.load(Ordering::Relaxed) {
            for system in replicas {
                after = self.look_at_page(system, &after).await;
                for _ in 0..4 {
                    self.look_at_one(system, random).await;
                }
            }
        }
    }

    /// Returns the number of reads.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Returns the number of orders that were seen.
    pub(super) fn orders(&self) -> usize {
        self.seen.len()
    }

    /// Reads the page behind this id, and returns the id where it ends.
    async fn look_at_page(&mut self, system: &System, after: &str) -> String {
        let asked = if after.is_empty() { String::new() } else { format!("&after={after}") };
        let page = system.get(&format!("/?limit=100{asked}")).await.with_status(200);
        let shown: BTreeMap<String, u64> = page.json().as_array().unwrap().iter().map(version).collect();
        let end = shown.keys().next_back().filter(|_| page.next_page().is_some()).cloned();
        let covered = self
            .seen
            .iter()
            .filter(|(id, _)| id.as_str() > after && end.as_ref().is_none_or(|end| *id <= end));
        for (id, version) in covered {
            assert!(shown.get(id) >= Some(version), "{id} was at {version} and is at {:?}", shown.get(id));
        }
        self.seen.extend(shown);
        self.reads.fetch_add(1, Ordering::Relaxed);
        end.unwrap_or_default()
    }

    async fn look_at_one(&mut self, system: &System, random: &mut StdRng) {
        if self.seen.is_empty() {
            return;
        }
        let nth = random.random_range(0..self.seen.len());
        let (id, before) = self.seen.iter_mut().nth(nth).unwrap();
        let answer = system.get(&format!("/{id}")).await;
        assert!(answer.status != 404, "{id} was at {before} and is at None");
        let answer = answer.with_status(200);
        assert!(answer.version() >= *before, "{id} was at {before} and is at {}", answer.version());
        *before = answer.version();
        self.reads.fetch_add(1, Ordering::Relaxed);
    }
}

fn version(order: &Value) -> (String, u64) {
    (order["id"].as_str().unwrap().to_owned(), order["version"].as_u64().unwrap())
}
