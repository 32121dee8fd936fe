//! DELETE /{id}: cancels an order.
