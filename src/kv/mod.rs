//! The revisioned store (placeholder).
mod command;
pub use command::*;
