//! The node: the driver and the seams it sees the world through.
mod seams;
pub use seams::*;
