//! Snapshot transfers to followers that are slow, busy or silent, or that get chunks twice.

use super::situations::phase;
use super::*;

/// Runs a follower that needs a snapshot, with a round trip per chunk, while its leader compacts after every entry.
/// Returns the number of heartbeats until the follower has nearly caught up.
fn slow_follower(s: &mut Script) -> usize {
    s.timeout(1);
    s.deliver_without(&[3]);
    for n in 0..10 {
        s.propose(1, &n.to_string());
        s.deliver_without(&[3]);
    }
    s.0.compact(id(1));
    let mut beats = 0;
    while s.0.raft(3).status().commit + 3 < s.0.raft(1).status().commit && beats < 100 {
        beats += 1;
        s.pass(100, &[1]);
        // Messages to and from n3 take one heartbeat per hop; the others are fast.
        let (slow, fast): (Vec<Packet>, Vec<Packet>) =
            std::mem::take(&mut s.0.net).into_iter().partition(|p| p.to == id(3) || p.from == id(3));
        s.0.net = fast;
        for packet in slow {
            s.0.deliver(packet);
        }
        s.propose(1, &format!("more {beats}"));
        let mut later = Vec::new();
        while let Some(packet) = (!s.0.net.is_empty()).then(|| s.0.net.remove(0)) {
            if packet.to == id(3) || packet.from == id(3) { later.push(packet) } else { s.0.deliver(packet) }
        }
        s.0.net = later;
        s.0.compact(id(1));
    }
    s.0.check_logs();
    beats
}

#[test]
fn a_follower_slower_than_compaction_catches_up_under_load() {
    let mut s = Script::new(3, |c| (c.keep_entries, c.snapshot_chunk) = (0, 2));
    let beats = slow_follower(&mut s);
    assert!(beats < 40, "{beats} heartbeats");
}

/// The pin is bounded: without room for the log after the snapshot, the transfer restarts again and again.
#[test]
fn a_pin_holds_no_more_than_its_bytes() {
    let mut s = Script::new(3, |c| (c.keep_entries, c.snapshot_chunk, c.max_pinned_bytes) = (0, 2, 100));
    assert_eq!(slow_follower(&mut s), 100, "it never catches up while the load goes on");
    assert!(s.0.raft(1).status().log_bytes < 300, "{}", s.0.raft(1).status().log_bytes);
}

/// Nothing is kept for a follower that makes no progress.
#[test]
fn a_pin_ends_when_the_follower_is_silent() {
    let mut s = Script::new(3, |c| c.keep_entries = 0);
    s.elect(1);
    for n in 0..30 {
        s.propose(1, &n.to_string());
        s.deliver_without(&[3]);
        s.pass(100, &[1]);
        s.deliver_without(&[3]);
        s.0.compact(id(1));
    }
    let status = s.0.raft(1).status();
    assert_eq!((status.first, status.commit), (32, 31));
}

/// A chunk that is postponed, late or duplicated does not restart the transfer.
#[test]
fn pieces_that_are_put_off_late_or_doubled_do_no_harm() {
    let mut s = Script::new(3, |c| (c.keep_entries, c.snapshot_chunk) = (0, 2));
    s.timeout(1);
    s.deliver_without(&[3]);
    s.propose(1, "a");
    s.deliver_without(&[3]);
    s.0.compact(id(1));
    let (mut sent, mut copies) = (0, Vec::new());
    for beat in 0..100 {
        s.0.busy = beat % 3 == 1;
        s.pass(100, &[1]);
        while let Some(packet) = (!s.0.net.is_empty()).then(|| s.0.net.remove(0)) {
            if let Body::Snapshot { .. } = packet.message.body {
                sent += 1;
                s.0.busy |= beat % 3 == 2 && sent % 2 == 0;
                copies.push(packet.clone());
                if sent == 4 {
                    s.0.net.extend(copies.iter().cloned());
                }
            }
            s.0.deliver(packet);
        }
        if s.0.raft(3).status().commit == 2 {
            break;
        }
    }
    assert_eq!(s.0.raft(3).status().commit, 2);
    assert!(sent <= 8 + 4 + 4, "{sent} pieces for a file of 8");
    for packet in copies {
        s.0.deliver(packet);
        s.deliver();
    }
    assert_eq!((s.0.oracle.snapshots_restored, phase(&s, 1, 3)), (1, "replicate"));
    s.0.check_logs();
}
