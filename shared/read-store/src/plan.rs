//! The rules of the projection, pure.
