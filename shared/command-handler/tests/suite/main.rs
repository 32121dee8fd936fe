//! The path of a command, and the races along it, on a real store and a real channel.

mod answers;
mod publishing;
mod system;
