//! Names of sessions on the wire: unique in the cluster, while a session's id is unique in its Raft group only.

use crate::kv::SessionId;
use crate::types::GroupId;

/// Returns a session's name on the wire. With one group it equals the id in the group.
pub(super) fn session_name(id: SessionId, group: GroupId, groups: u32) -> SessionId {
    id.saturating_mul(u64::from(groups)).saturating_add(u64::from(group.0 - 1))
}

/// Returns the session and the group that a name on the wire stands for.
pub(super) fn session_of(name: SessionId, groups: u32) -> (SessionId, GroupId) {
    let groups = u64::from(groups);
    (name / groups, GroupId((name % groups) as u32 + 1))
}
