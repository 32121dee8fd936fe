//! On a schedule: publishes what the event store holds unpublished.
