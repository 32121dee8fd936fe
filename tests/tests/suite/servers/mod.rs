//! What takes real servers: several processes on the same stores. Without servers none of it runs, which is said.

mod relay;
mod replicas;
