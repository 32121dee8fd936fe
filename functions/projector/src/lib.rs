//! Kafka batch in, read store out: folds events into the orders view.
