//! The views of an application, as the host works with them. It knows each by name; the type is behind a trait object.

use std::any::{Any, TypeId};
use std::process::ExitCode;
use std::sync::Arc;

use event_sourcing::{StreamId, View};
use event_store::EventStore;
use futures_util::future::BoxFuture;
use indicatif::ProgressBar;
use read_store::{
    DropRefused, HeldEvent, HeldId, HeldSummary, OpenError, Program, ReadStore, ReadStoreError,
    RedriveCounts, Registration, Walk,
};
use runtime::SecretUrl;

use crate::output::Label;
use crate::rebuild::{self, Rebuilt};
use crate::verify::{self, VerifySettings};

/// A view that an application has registered.
#[derive(Clone, Copy)]
pub struct ViewType {
    /// Its name.
    pub name: &'static str,
    /// The type of the events from which it is folded.
    pub event: TypeId,
    open: fn(SecretUrl) -> Opening,
}

impl ViewType {
    /// Creates the description of this view.
    #[must_use]
    pub fn of<V: View>() -> Self {
        Self { name: V::NAME, event: TypeId::of::<V::Event>(), open: open::<V> }
    }

    /// Opens the view in the read store that the URL names.
    ///
    /// # Errors
    /// When the URL can't be used.
    pub async fn open(&self, url: SecretUrl) -> Result<Arc<dyn AnyView>, OpenError> {
        (self.open)(url).await
    }
}

type Opening = BoxFuture<'static, Result<Arc<dyn AnyView>, OpenError>>;

fn open<V: View>(url: SecretUrl) -> Opening {
    Box::pin(async { Ok(Arc::new(ReadStore::<V>::open(url).await?) as Arc<dyn AnyView>) })
}

/// The answer of a read store.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, ReadStoreError>>;

/// A view of any type. The calls of a [`ReadStore`] are those of the same name there.
pub trait AnyView: Any + Send + Sync {
    /// The view's name.
    fn name(&self) -> &'static str;
    /// See [`ReadStore::is_file`].
    fn is_file(&self) -> bool;
    /// See [`ReadStore::ping`].
    fn ping(&self) -> Answer<'_, ()>;
    /// See [`ReadStore::migrate`].
    fn migrate(&self) -> Answer<'_, ()>;
    /// See [`ReadStore::register`].
    fn register(&self, program: Program) -> Answer<'_, Registration>;
    /// See [`ReadStore::leave`].
    fn leave<'a>(&'a self, program: &'a str) -> Answer<'a, ()>;
    /// See [`ReadStore::walk`].
    fn walk(&self) -> Answer<'_, Walk>;
    /// See [`ReadStore::doubt`].
    fn doubt<'a>(&'a self, why: &'a str) -> Answer<'a, ()>;
    /// See [`ReadStore::held_summary`].
    fn held_summary(&self) -> Answer<'_, Vec<HeldSummary>>;
    /// See [`ReadStore::held`].
    fn held<'a>(
        &'a self,
        stream: Option<&'a StreamId>,
        after: Option<HeldId>,
        limit: usize,
    ) -> Answer<'a, Vec<HeldEvent>>;
    /// See [`ReadStore::held_event`].
    fn held_event(&self, id: HeldId) -> Answer<'_, Option<HeldEvent>>;
    /// See [`ReadStore::redrive`].
    fn redrive<'a>(&'a self, stream: Option<&'a StreamId>) -> Answer<'a, RedriveCounts>;
    /// See [`ReadStore::drop_held`].
    fn drop_held(&self, id: HeldId) -> BoxFuture<'_, Result<(), DropRefused>>;
    /// See [`rebuild::needs_no_filling`].
    fn needs_no_filling<'a>(&'a self, events: &'a EventStore) -> BoxFuture<'a, anyhow::Result<bool>>;
    /// See [`rebuild::fill_new_view`].
    fn fill<'a>(
        &'a self,
        events: &'a EventStore,
        progress: &'a ProgressBar,
    ) -> BoxFuture<'a, anyhow::Result<Option<Rebuilt>>>;
    /// See [`rebuild::rebuild`].
    fn rebuild<'a>(
        &'a self,
        events: &'a EventStore,
        progress: &'a ProgressBar,
    ) -> BoxFuture<'a, anyhow::Result<Rebuilt>>;
    /// See [`verify::verify`]. `kind` is the name of the view's aggregate.
    fn verify<'a>(
        &'a self,
        events: &'a EventStore,
        kind: &'static str,
        label: Label,
        settings: &'a VerifySettings,
    ) -> BoxFuture<'a, anyhow::Result<ExitCode>>;
}

impl<V: View> AnyView for ReadStore<V> {
    fn name(&self) -> &'static str {
        V::NAME
    }

    fn is_file(&self) -> bool {
        ReadStore::is_file(self)
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(ReadStore::ping(self))
    }

    fn migrate(&self) -> Answer<'_, ()> {
        Box::pin(ReadStore::migrate(self))
    }

    fn register(&self, program: Program) -> Answer<'_, Registration> {
        Box::pin(ReadStore::register(self, program))
    }

    fn leave<'a>(&'a self, program: &'a str) -> Answer<'a, ()> {
        Box::pin(ReadStore::leave(self, program))
    }

    fn walk(&self) -> Answer<'_, Walk> {
        Box::pin(ReadStore::walk(self))
    }

    fn doubt<'a>(&'a self, why: &'a str) -> Answer<'a, ()> {
        Box::pin(ReadStore::doubt(self, why))
    }

    fn held_summary(&self) -> Answer<'_, Vec<HeldSummary>> {
        Box::pin(ReadStore::held_summary(self))
    }

    fn held<'a>(
        &'a self,
        stream: Option<&'a StreamId>,
        after: Option<HeldId>,
        limit: usize,
    ) -> Answer<'a, Vec<HeldEvent>> {
        Box::pin(ReadStore::held(self, stream, after, limit))
    }

    fn held_event(&self, id: HeldId) -> Answer<'_, Option<HeldEvent>> {
        Box::pin(ReadStore::held_event(self, id))
    }

    fn redrive<'a>(&'a self, stream: Option<&'a StreamId>) -> Answer<'a, RedriveCounts> {
        Box::pin(ReadStore::redrive(self, stream))
    }

    fn drop_held(&self, id: HeldId) -> BoxFuture<'_, Result<(), DropRefused>> {
        Box::pin(ReadStore::drop_held(self, id))
    }

    fn needs_no_filling<'a>(&'a self, events: &'a EventStore) -> BoxFuture<'a, anyhow::Result<bool>> {
        Box::pin(rebuild::needs_no_filling(events, self))
    }

    fn fill<'a>(
        &'a self,
        events: &'a EventStore,
        progress: &'a ProgressBar,
    ) -> BoxFuture<'a, anyhow::Result<Option<Rebuilt>>> {
        Box::pin(rebuild::fill_new_view(events, self, progress))
    }

    fn rebuild<'a>(
        &'a self,
        events: &'a EventStore,
        progress: &'a ProgressBar,
    ) -> BoxFuture<'a, anyhow::Result<Rebuilt>> {
        Box::pin(rebuild::rebuild(events, self, progress))
    }

    fn verify<'a>(
        &'a self,
        events: &'a EventStore,
        kind: &'static str,
        label: Label,
        settings: &'a VerifySettings,
    ) -> BoxFuture<'a, anyhow::Result<ExitCode>> {
        Box::pin(verify::verify(events, self, kind, label, settings))
    }
}

/// A view whose stores are open. Cheap to clone.
#[derive(Clone)]
pub struct OpenView {
    /// The view.
    pub view: Arc<dyn AnyView>,
    /// The name of the aggregate from whose events it is folded.
    pub kind: &'static str,
    /// The event store of that aggregate.
    pub events: EventStore,
}

impl OpenView {
    /// Returns the read store, if the view is this one.
    #[must_use]
    pub fn store_of<V: View>(&self) -> Option<&ReadStore<V>> {
        let view: &dyn Any = &*self.view;
        view.downcast_ref()
    }
}
