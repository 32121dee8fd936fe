//! POST /{id}: starts the fulfilment of an order.
