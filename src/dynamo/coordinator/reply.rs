//! What a client is shown of a key's versions.

use crate::dynamo::siblings::{Content, Siblings, Version};
use crate::dynamo::{Achieved, ClientReply, Sibling, context};
use crate::types::Bytes;

/// All versions, mergeable ones as one, and the context that covers exactly what is known of them.
pub(super) fn value(key: &[u8], siblings: &Siblings, achieved: Achieved) -> ClientReply {
    let shown = if siblings.is_deleted() { Vec::new() } else { shown(siblings.versions()) };
    ClientReply::Value { siblings: shown, context: context::encode(key, &context::Seen::of(siblings)), achieved }
}

fn shown(versions: &[Version]) -> Vec<Sibling> {
    let mut shown = Vec::new();
    let mut merged: Option<(crate::dynamo::merge::State, &Version)> = None;
    for version in versions {
        match (&version.content, &mut merged) {
            (Content::Value(value), _) => shown.push(sibling(version, Some(value.clone()))),
            (Content::Tombstone, _) => shown.push(sibling(version, None)),
            (Content::Merge(state), None) => merged = Some((state.clone(), version)),
            (Content::Merge(state), Some((all, last))) => {
                all.merge(state);
                if (version.stamp, version.dot) > (last.stamp, last.dot) {
                    *last = version;
                }
            }
        }
    }
    if let Some((state, last)) = merged {
        shown.push(sibling(last, Some(Bytes::from(state.render().to_string()))));
        shown.sort_unstable_by_key(|sibling| sibling.dot);
    }
    shown
}

fn sibling(version: &Version, value: Option<Bytes>) -> Sibling {
    Sibling { value, dot: version.dot, stamp: version.stamp, write: version.write }
}
