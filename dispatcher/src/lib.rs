//! The dispatcher.

pub mod load;
