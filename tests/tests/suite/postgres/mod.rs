//! Tests of replicas without Kafka: each has a channel in memory. Without a PostgreSQL none of them runs, and that is printed.

mod replicas;
