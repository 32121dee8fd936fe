//! GET / and GET /{id}: the orders as the read store has them.
