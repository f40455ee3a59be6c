//! Storage (placeholder; the seam is `disk`).
mod disk;
pub use disk::*;
/// Placeholder.
pub struct Store<D: Disk>(D);
