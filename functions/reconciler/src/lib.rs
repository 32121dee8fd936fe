//! Compares the view with the event store, slowly and all the time, and fills in what is missing. The channel may forget records that it
//! has acknowledged; the event store forgets nothing.
//!
//! - [`reconciler`]: the walk through all streams, a page a step, and when it hurries.
//! - `missing`: what the view lacks, and how it is filled in.
//! - [`settings`]: how much the walk may cost.
//!
//! An event is filled in by the rules of the projector, so that its effect is exactly once, whatever comes through the channel meanwhile;
//! and held events that it was missing for go on. What the view has too much of is for `orders verify`.

mod missing;
pub mod reconciler;
pub mod settings;

pub use reconciler::{ReconcileError, Reconciler, Round};
pub use settings::ReconcilerSettings;
