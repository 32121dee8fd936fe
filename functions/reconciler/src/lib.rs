//! Compares the view with the event store, slowly and all the time, and fills in missing events. The channel may forget records
//! that it has acknowledged; the event store forgets nothing.
//!
//! - [`reconciler`]: the walk through all streams, one page a step, and when it goes faster.
//! - `missing`: finds the events that the view lacks and fills them in.
//! - [`settings`]: how much the walk may cost.
//!
//! An event is filled in by the rules of the projector. So it takes effect exactly once, whatever comes through the channel
//! meanwhile. Held events that waited for it are applied too. Rows that the view should not have are not found here; `orders
//! verify` finds them.

mod missing;
pub mod reconciler;
pub mod settings;

use domain::{Order, OrdersView};
use event_store::{EventStore, Of};
use read_store::ReadStore;
pub use reconciler::{ReconcileError, Reconciler, Round};
pub use settings::ReconcilerSettings;
use tokio::sync::watch;

/// The function as a task of a server, until it is told to stop.
pub async fn run(
    events: Of<Order, EventStore>,
    view: ReadStore<OrdersView>,
    settings: ReconcilerSettings,
    stop: watch::Receiver<bool>,
) {
    Reconciler::new(events.into_part(), view, settings).run(stop).await;
}
