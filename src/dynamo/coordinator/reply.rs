//! The reply that shows a client the versions of a key.

use crate::dynamo::context::{self, MAX_HELD_ACTORS};
use crate::dynamo::siblings::{Content, Siblings, Version};
use crate::dynamo::store::MAX_HELD_BYTES;
use crate::dynamo::{Achieved, ClientReply, Refusal, Sibling};
use crate::types::Bytes;

/// Most bytes of values in an answer. Together with the context and the envelope that fits a frame.
const MAX_SHOWN_BYTES: usize = 7 << 20;

/// Returns all versions, mergeable ones merged into one, and the context that covers exactly those; or a refusal if the
/// reply could not be sent, or the context could not be sent back.
pub(in crate::dynamo) fn value(key: &[u8], siblings: &Siblings, achieved: Achieved) -> ClientReply {
    if siblings.clock().len() > MAX_HELD_ACTORS {
        return ClientReply::Refused(Refusal::TooManyActors(siblings.clock().len() as u32));
    }
    if siblings.versions().len() > 1 && siblings.bytes() > MAX_HELD_BYTES {
        return ClientReply::Refused(Refusal::TooManyBytes(siblings.bytes() as u64));
    }
    let shown = if siblings.is_deleted() { Vec::new() } else { shown(siblings.versions()) };
    let bytes: usize = shown.iter().map(|sibling| sibling.value.as_ref().map_or(0, Bytes::len)).sum();
    if bytes > MAX_SHOWN_BYTES {
        return ClientReply::Refused(Refusal::TooManyBytes(bytes as u64));
    }
    ClientReply::Value { siblings: shown, context: context::encode(key, &context::Seen::of(siblings)), achieved }
}

fn shown(versions: &[Version]) -> Vec<Sibling> {
    let mut shown = Vec::new();
    let mut merged: Option<(crate::dynamo::crdt::State, &Version)> = None;
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
