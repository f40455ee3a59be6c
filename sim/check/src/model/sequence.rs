//! Placeholder of the model `sequence`.

use crate::linear::Judge;
use crate::linear::kv::KvJudge;

/// Its procedures.
#[must_use]
pub fn judge() -> Box<dyn Judge> {
    Box::new(KvJudge::default())
}
