//! GET /{id}/events and GET /{id}/versions/{n}: an order's past, from the event store.
