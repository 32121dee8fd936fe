//! The rows of a view whose key is not the stream.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::view::{Refused, View};
use crate::wire::Recorded;

/// Rows of a view by their keys, as the events so far make them.
#[derive(Clone, Debug)]
pub struct Rows<V: View> {
    by_key: BTreeMap<V::Key, V::Row>,
}

impl<V: View> Default for Rows<V> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new() }
    }
}

impl<V: View> Rows<V> {
    /// Folds an event into the rows of all its keys, and returns the keys. The caller sees to it that a stream's events come in
    /// their sequence, each once.
    ///
    /// # Errors
    /// [`Refused`]; no row has changed then. A panic in the fold is one too.
    pub fn apply(&mut self, event: &Recorded<V::Event>) -> Result<Vec<V::Key>, Refused> {
        let keys = keys::<V>(event)?;
        let mut folded = Vec::with_capacity(keys.len());
        for key in &keys {
            let row = self.by_key.get(key).cloned();
            folded.push(guarded(|| V::apply(key, row, event))?);
        }
        for (key, row) in keys.iter().zip(folded) {
            match row {
                Some(row) => self.by_key.insert(key.clone(), row),
                None => self.by_key.remove(key),
            };
        }
        Ok(keys)
    }

    /// Sets the row of a key.
    pub fn insert(&mut self, key: V::Key, row: V::Row) {
        self.by_key.insert(key, row);
    }

    /// Returns the row of a key.
    pub fn get(&self, key: &V::Key) -> Option<&V::Row> {
        self.by_key.get(key)
    }

    /// Returns the rows, by their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&V::Key, &V::Row)> {
        self.by_key.iter()
    }
}

/// Returns the keys of an event in their sequence, each once.
///
/// # Errors
/// [`Refused`], also when the view panics.
pub fn keys<V: View>(event: &Recorded<V::Event>) -> Result<Vec<V::Key>, Refused> {
    guarded(|| Ok(V::keys(event)?.sorted()))
}

/// A view that panics must stop no other stream. It works on copies, so nothing is left half done.
fn guarded<T>(work: impl FnOnce() -> Result<T, Refused>) -> Result<T, Refused> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Refused("the fold panicked".to_owned())))
}
