//! One sentence for each kind of refutation, readable without the literature.

/// A sentence for each anomaly.
const KINDS: &[(&str, &str)] = &[
    ("stale read", "A read returned what had already been overwritten or removed."),
    ("stale refusal", "A write was refused because of a state that had already gone."),
    ("reads go backwards", "A read returned an older state than an earlier read had returned."),
    ("revision goes back", "A later operation was told an older revision."),
    ("lost update", "Two updates were made from the same state, so one of them is lost."),
    ("dirty read", "A read returned a value whose write never took effect."),
    ("future read", "A read returned a value before anyone had written it."),
    ("phantom value", "A read returned a value that was never written."),
    ("phantom append", "A read returned something that was never appended."),
    ("phantom element", "An element turned up that was never put in."),
    ("phantom write", "A read returned a value that was never written."),
    ("two values at one revision", "One revision was given to two different values."),
    ("write applied twice", "There were more changes than writes: one was applied more than once."),
    ("wrong refusal", "A write was refused although its condition held."),
    ("unexpected", "Something came out of the queue that was never put in."),
    ("lost", "An element that was acknowledged never came out of the queue."),
    ("duplicated element", "A read shows one element more than once."),
    ("stale element", "A read missed an element that was known to be there."),
    ("wrong total", "Money was made or lost: the balances of a read have another sum."),
    ("negative value", "An account was overdrawn."),
    ("nil balance", "An account was shown without a balance."),
    ("unexpected key", "An account was shown that does not exist."),
    ("long fork", "Two reads saw two writes in opposite orders."),
    ("wrong empty", "The queue was said to be empty while an element was in it."),
    ("lost append", "An acknowledged append is missing from a later read."),
    ("lost element", "An element that was put in is missing."),
    ("lost write", "A write that was acknowledged is not seen in the end."),
    ("reordered", "Elements came out of the queue in another order than they went in."),
    ("removed element is back", "An element that had been removed turned up again."),
    ("duplicate dequeue", "One element was taken out of the queue twice."),
    ("duplicate element", "One element was taken out more often than it was put in."),
    ("duplicate elements", "A list holds an element twice that was appended once."),
    ("duplicate number", "One number was given out twice."),
    ("two holders", "Two clients held the lock at the same time."),
    ("divergence", "The last reads of a key do not agree."),
    ("incompatible order", "Two reads show the same appends in different orders."),
    ("misordered appends", "A read shows the appends of one transaction out of their order."),
    ("internal", "A transaction did not see its own earlier reads or writes."),
    ("non-repeatable read", "A transaction read one key twice and saw different values."),
    ("dirty update", "A transaction built on a value whose write was aborted."),
    ("cyclic versions", "The versions of a key would each have to be older than the other."),
    ("G0", "Writes of transactions are interleaved: each overwrote the other."),
    ("G1a", "A transaction read what another had written that was aborted."),
    ("G1b", "A transaction read a state from the middle of another."),
    ("G1c", "Transactions saw each other's writes in a circle."),
    ("G-single", "A transaction saw some effects of another and missed others."),
    ("G-nonadjacent", "Transactions missed each other's effects in a circle, though never two in a row."),
    ("G2-item", "Transactions each missed what the other wrote."),
    ("ThinAirRead", "A read returned a value that was never written."),
    ("CyclicCO", "Causes would have to come before themselves."),
    ("CyclicCF", "Clients would have to agree on two opposite orders of the same writes."),
    ("CyclicHB", "One client would have to see writes in a circle."),
    ("WriteCORead", "A read returned a value that something it depends on had overwritten."),
    ("WriteCOInitRead", "A read found nothing although it depends on a write."),
    ("WriteHBInitRead", "A read found nothing although its client had to see a write first."),
];

/// What went wrong, in one sentence.
pub fn headline(property: &str, anomaly: &str) -> String {
    let (kind, how) = match anomaly.rsplit_once('-') {
        Some((kind, "process")) => (kind, " It takes each client's own order to see it."),
        Some((kind, "realtime")) => (kind, " It takes real time to see it."),
        _ => (anomaly, ""),
    };
    match (KINDS.iter().find(|(name, _)| *name == kind), property) {
        (Some((_, sentence)), _) => format!("{sentence}{how}"),
        (None, "linearizable") => "No order that keeps real time explains these replies.".to_owned(),
        (None, "sequentially consistent") => {
            "No order that keeps each client's own order explains these replies.".to_owned()
        }
        (None, property) => format!("These replies cannot all be true if the history is {property}."),
    }
}
