//! Limits on requests: an invalid request is refused here, with a reason, before anything is done.

use crate::dynamo::{ClientRequest, Refusal, Update};
use crate::placement::Buckets;
use crate::types::{Level, MAX_KEY_BYTES, MAX_VALUE_BYTES, Mode, Policy};

/// Returns the policy of the request's bucket.
pub(super) fn check(request: &ClientRequest, buckets: &Buckets) -> Result<Policy, Refusal> {
    let key = request.key();
    let Mode::Ap(policy) = buckets.mode(key) else {
        return invalid("the key's bucket is kept by Raft, not by quorums".to_owned());
    };
    if key.len() > MAX_KEY_BYTES {
        return invalid(format!("the key has {} bytes; at most {MAX_KEY_BYTES} are allowed", key.len()));
    }
    let level = match request {
        ClientRequest::Get { r, .. } => r,
        ClientRequest::Put { w, .. } => w,
    };
    if let Some(Level::Count(count)) = level
        && !(1..=policy.n).contains(count)
    {
        return invalid(format!("{count} replicas are asked for; the bucket has {} of each key", policy.n));
    }
    let bytes = match request {
        ClientRequest::Put { update: Update::Set(value), .. } => value.len(),
        ClientRequest::Put { update: Update::Merge(op), .. } => op.bytes(),
        _ => 0,
    };
    if bytes > MAX_VALUE_BYTES {
        return invalid(format!("the value has {bytes} bytes; at most {MAX_VALUE_BYTES} are allowed"));
    }
    Ok(*policy)
}

fn invalid<T>(why: String) -> Result<T, Refusal> {
    Err(Refusal::Invalid(why))
}
