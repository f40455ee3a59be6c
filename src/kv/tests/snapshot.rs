//! Snapshots: a restored state equals the original, and damage is refused.

use super::*;
use crate::kv::encoding::Reader;

/// Returns the end offset of each record in `bytes`.
fn record_ends(bytes: &[u8]) -> Vec<usize> {
    let mut reader = Reader::new(bytes);
    let mut ends = Vec::new();
    while !reader.is_empty() {
        assert!(reader.record().is_ok());
        ends.push(reader.offset());
    }
    ends
}

fn lived_in() -> Kv {
    let mut kv = kv();
    run(&mut kv, 1, None, Op::OpenSession);
    run(&mut kv, 2, Some((1, 1)), put("a", "one"));
    run(
        &mut kv,
        3,
        Some((1, 2)),
        Op::Write(Write::Put {
            key: "a".into(),
            value: "two".into(),
            when: Condition { exists: Some(false), ..Condition::ALWAYS },
            ttl_ms: None,
        }),
    );
    run(&mut kv, 4, None, put_for("b", 500));
    run(&mut kv, 5, None, put("c", "three"));
    run(&mut kv, 6, None, delete("c"));
    run(&mut kv, 7, None, Op::OpenSession);
    kv
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Also: entries applied before the snapshot is written out do not show in it.
    #[test]
    fn a_restored_replica_cannot_be_told_from_the_original(
        steps in steps(1..120), cut in any::<prop::sample::Index>(), max_bytes in 0usize..400,
    ) {
        let entries = entries(&steps);
        let (before, after) = entries.split_at(cut.index(entries.len() + 1));
        let mut original = Kv::with_limits(3, 2, Mutant::default());
        apply_all(&mut original, before);
        let mut snapshot = original.snapshot();
        let at_once = blocks(&original, usize::MAX);
        let (digest, index) = (original.digest(), original.applied());
        let replies = apply_all(&mut original, after);

        let written: Vec<_> = std::iter::from_fn(|| snapshot.next_block(max_bytes)).collect();
        prop_assert_eq!(written.concat(), at_once.concat());
        for block in &written {
            prop_assert!(block.len() <= max_bytes || record_ends(block).len() == 1);
        }
        let mut restored = restore(&written, index).unwrap();
        prop_assert_eq!(restored.digest(), digest);
        prop_assert_eq!(blocks(&restored, usize::MAX), at_once);
        prop_assert_eq!(apply_all(&mut restored, after), replies);
        prop_assert_eq!(restored.digest(), original.digest());
        prop_assert_eq!((restored.len(), restored.next_expiry()), (original.len(), original.next_expiry()));
    }

    /// The bytes of a snapshot are canonical, so they decide which states are equal. The digest must agree, and the
    /// incremental digest must equal one computed from scratch.
    #[test]
    fn digests_are_equal_exactly_when_states_are(a in steps(1..40), b in steps(1..40), common in steps(0..40)) {
        let state = |tail: &[Step]| {
            let mut kv = Kv::with_limits(3, 2, Mutant::default());
            apply_all(&mut kv, &entries(&[&common[..], tail].concat()));
            kv
        };
        let (a1, a2, b) = (state(&a), state(&a), state(&b));
        prop_assert_eq!(a1.digest(), a2.digest());
        prop_assert_eq!(a1.digest() == b.digest(), blocks(&a1, 1000) == blocks(&b, 1000));
    }

    #[test]
    fn random_blocks_never_panic(mut bytes in vec(any::<u8>(), 0..200), tag in 0u8..6, after_header in any::<bool>()) {
        let mut restore = KvRestore::new(Mutant::default());
        if after_header {
            restore.block(&blocks(&kv(), 0)[0]).unwrap();
        }
        if let Some(first) = bytes.first_mut() {
            *first = tag;
        }
        if restore.block(&bytes).is_ok() && restore.finish(0).is_ok() {
            prop_assert!(bytes.is_empty());
        }
    }
}

/// The storage task writes the snapshot on its own thread.
#[test]
fn a_snapshot_can_be_sent_to_another_thread() {
    let kv = lived_in();
    let mut snapshot = kv.snapshot();
    let written = std::thread::spawn(move || snapshot.next_block(usize::MAX)).join().unwrap();
    assert_eq!(written.as_ref(), blocks(&kv, usize::MAX).first());
}

#[test]
fn a_large_tree_is_written_whole_by_small_blocks() {
    let mut kv = kv();
    for n in 0..6_000u64 {
        run(&mut kv, n, None, put(&format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15)), format!("{n}")));
    }
    for n in (0..6_000u64).step_by(3) {
        run(&mut kv, n, None, delete(&format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))));
    }
    let written = blocks(&kv, 300);
    assert!(written.len() > 600 && written.iter().all(|block| block.len() <= 300));
    let restored = restore(&written, kv.applied()).unwrap();
    assert_eq!((restored.digest(), restored.len()), (kv.digest(), 4_000));
}

#[test]
fn every_damaged_bit_of_a_snapshot_is_refused() {
    let kv = lived_in();
    let bytes = blocks(&kv, usize::MAX).concat();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(restore(&[damaged], kv.applied()).is_err(), "bit {bit}");
    }
}

#[test]
fn a_snapshot_with_anything_missing_or_twice_is_refused() {
    let kv = lived_in();
    let bytes = blocks(&kv, usize::MAX).concat();
    let ends = record_ends(&bytes);
    assert_eq!(ends.len(), 1 + 3 + 2, "a header, three keys, two sessions");
    for cut in 0..bytes.len() {
        assert!(restore(&[bytes[..cut].to_vec()], kv.applied()).is_err(), "cut at {cut}");
    }
    let records: Vec<Vec<u8>> =
        [0].iter().chain(&ends).zip(&ends).map(|(&from, &to)| bytes[from..to].to_vec()).collect();
    assert!(restore(&records, kv.applied()).is_ok());
    for i in 0..records.len() {
        let mut missing = records.clone();
        missing.remove(i);
        assert!(restore(&missing, kv.applied()).is_err(), "without record {i}");
        let mut twice = records.clone();
        twice.insert(i, records[i].clone());
        assert!(matches!(restore(&twice, kv.applied()), Err(RestoreError::Block { .. })), "record {i} twice");
        for j in 0..i {
            let mut swapped = records.clone();
            swapped.swap(i, j);
            assert!(restore(&swapped, kv.applied()).is_err(), "records {j} and {i} swapped");
        }
    }
}

#[test]
fn errors_say_what_and_where() {
    let kv = lived_in();
    let written = blocks(&kv, 0);
    assert_eq!(restore(&[], 7).err(), Some(RestoreError::Empty));
    assert_eq!(restore(&written, 8).err(), Some(RestoreError::Index { got: 7, want: 8 }));
    assert_eq!(restore(&written[..5], 7).err(), Some(RestoreError::Count { what: "sessions", got: 1, want: 2 }));
    let mut damaged = written.clone();
    damaged[2][0] = 99;
    assert_eq!(restore(&damaged, 7).err().unwrap().to_string(), "snapshot block 2: unknown record at byte 1");
    let mut damaged = written;
    let last = damaged[1].len() - 1;
    damaged[1][last] ^= 1;
    assert_eq!(restore(&damaged, 7).err(), Some(RestoreError::Digest));
}

#[test]
fn a_retry_after_a_restore_is_still_a_retry() {
    let kv = lived_in();
    let mut restored = restore(&blocks(&kv, 100), kv.applied()).unwrap();
    let retried = run(&mut restored, 900, Some((1, 2)), put("a", "two"));
    assert!(matches!(retried, Reply::Refused(Some(held)) if held.value == "one"), "the remembered reply");
    assert_eq!(restored.get(b"a").unwrap().revision, 0);
}

/// The planted bug shows in the digest, and as a write that is applied twice.
#[cfg(feature = "mutants")]
#[test]
fn forgotten_sessions_are_caught() {
    use crate::mutant::Bug;
    let mut kv = Kv::new(Mutant::planted(Bug::ForgetSessions));
    run(&mut kv, 1, None, Op::OpenSession);
    assert_eq!(revision(&run(&mut kv, 2, Some((1, 1)), put("k", "v"))), 0);
    assert_eq!(revision(&run(&mut kv, 3, Some((1, 1)), put("k", "v"))), 0, "without a snapshot nothing is wrong");
    let mut restored = restore(&blocks(&kv, 100), kv.applied()).unwrap();
    assert_ne!(restored.digest(), kv.digest());
    assert_eq!(revision(&run(&mut restored, 4, Some((1, 1)), put("k", "v"))), 1, "applied twice");
}
