//! POST /: creates an order.
