//! Anomalies planted by hand. Each must be found under its name, with its transactions and edges, and described in
//! golden texts. The levels that it rules out are checked too.

mod common;
mod txn_common;

use seaworthy_check::txn::{Anomaly, Findings, Isolation, Options, check, find};
use seaworthy_check::{History, Verdict};
use txn_common::{Txn, record, sequence, together, txn};

fn findings(txns: &[Txn]) -> Findings {
    find(&record(txns), &Options::default()).expect("a history of transactions")
}

/// Returns the names found and how often each was found.
fn names(findings: &Findings) -> Vec<(&str, u64)> {
    findings.counts.iter().map(|count| (count.name, count.times)).collect()
}

/// Returns the labels of an anomaly's edges, with the operations that they connect.
fn edges(anomaly: &Anomaly) -> Vec<(u32, &str, u32)> {
    let label = |why: &'_ str| why.find(':').unwrap_or(why.len());
    anomaly.edges.iter().map(|edge| (edge.from.0, &edge.why[..label(&edge.why)], edge.to.0)).collect()
}

fn ops(anomaly: &Anomaly) -> Vec<u32> {
    anomaly.ops.iter().map(|op| op.0).collect()
}

/// Returns the example of an anomaly.
fn the<'a>(findings: &'a Findings, name: &str) -> &'a Anomaly {
    findings.anomalies.iter().find(|anomaly| anomaly.name == name).unwrap_or_else(|| panic!("no {name}: {findings:#?}"))
}

fn report(history: &History, isolation: Isolation) -> String {
    check(history, isolation, &Options::default()).to_string()
}

/// Checks that there is one anomaly of this name, with these operations, these edges and a golden description, and that
/// these levels remain.
fn planted(txns: &[Txn], name: &str, members: &[u32], cycle: &[(u32, &str, u32)], remain: &[Isolation]) {
    let found = findings(txns);
    let anomaly = the(&found, name);
    assert_eq!(found.counts.iter().find(|count| count.name == name).map(|count| count.times), Some(1));
    assert_eq!(ops(anomaly), members, "{found:#?}");
    assert_eq!(edges(anomaly), cycle, "{found:#?}");
    assert_eq!(found.strongest(), remain, "{:?}", names(&found));
    assert!(anomaly.smallest);
    for level in Isolation::ALL {
        let remains = remain.iter().any(|&strongest| strongest.implies(level));
        assert_eq!(found.may_be.contains(&level), remains, "{level}");
        assert_eq!(found.not.contains(&level), !remains, "{level}");
        assert_eq!(matches!(found.verdict(level), Verdict::Invalid(_)), !remains, "{level}");
    }
    let text = format!("{}\n\n{}", anomaly.explanation, anomaly.diagram);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => true }, {
        insta::assert_snapshot!(name.replace([' ', '-'], "_") + if uses_registers(txns) { "_register" } else { "" }, text);
    });
}

fn uses_registers(txns: &[Txn]) -> bool {
    txns.iter().flat_map(|txn| &txn.ops).any(|op| matches!(op, txn_common::Op::Write(..) | txn_common::Op::Read(..)))
}

use Isolation::{
    CursorStability, ParallelSnapshotIsolation, PrefixConsistency, ReadAtomic, ReadCommitted, ReadUncommitted,
    RepeatableRead, Serializable, SnapshotIsolation, StrictSerializable, StrongSessionSerializable,
    StrongSessionSnapshotIsolation, StrongSnapshotIsolation,
};

#[test]
fn g0_writes_interleaved() {
    let txns = together(&["ax1 ay1", "ax2 ay2", "rx12 ry21"]);
    planted(&txns, "G0", &[0, 1], &[(0, "ww x", 1), (1, "ww y", 0)], &[]);
    // Two transactions whose appends to one list are mixed.
    let txns = together(&["ax1 ax3", "ax2", "rx123"]);
    assert_eq!(names(&findings(&txns)), [("G0", 1)]);
}

#[test]
fn g0_of_an_unknown_outcome_may_be_a_dirty_read() {
    let found = findings(&together(&["ax1 ay1", "ax2 ay2~", "rx12 ry21"]));
    assert_eq!(names(&found), [("G0", 1)]);
    assert_eq!(found.strongest(), [ReadUncommitted]);
}

#[test]
fn g1a_aborted_read() {
    let txns = together(&["ax1!", "rx1"]);
    planted(&txns, "G1a", &[0, 1], &[(0, "wr x", 1)], &[ReadUncommitted]);
    let txns = together(&["wx1!", "rx=1"]);
    planted(&txns, "G1a", &[0, 1], &[(0, "wr x", 1)], &[ReadUncommitted]);
}

#[test]
fn g1b_intermediate_read() {
    let txns = together(&["ax1 ax2", "rx1", "rx12"]);
    planted(&txns, "G1b", &[0, 1], &[(0, "wr x", 1)], &[ReadUncommitted]);
    let txns = together(&["wx1 wx2", "rx=1"]);
    planted(&txns, "G1b", &[0, 1], &[(0, "wr x", 1)], &[ReadUncommitted]);
    // A transaction may read its own intermediate state.
    assert_eq!(names(&findings(&together(&["ax1 rx1 ax2", "rx12"]))), []);
    assert_eq!(names(&findings(&together(&["wx1 rx=1 wx2", "rx=2"]))), []);
}

#[test]
fn g1c_circular_information_flow() {
    let txns = together(&["ax1 ry1", "ax2 ay1", "rx12"]);
    planted(&txns, "G1c", &[0, 1], &[(0, "ww x", 1), (1, "wr y", 0)], &[ReadUncommitted]);
    let txns = together(&["wx1 ry=1", "wy1 rx=1"]);
    planted(&txns, "G1c", &[0, 1], &[(0, "wr x", 1), (1, "wr y", 0)], &[ReadUncommitted]);
}

#[test]
fn g_single_read_skew() {
    let txns = together(&["ax1 ay1", "rx[] ry1", "rx1"]);
    planted(&txns, "G-single", &[0, 1], &[(0, "wr y", 1), (1, "rw x", 0)], &[CursorStability]);
    let txns = together(&["wx1 wy1", "rx=- ry=1"]);
    planted(&txns, "G-single", &[0, 1], &[(0, "wr y", 1), (1, "rw x", 0)], &[CursorStability]);
}

#[test]
fn g_nonadjacent_long_fork_with_dependencies_between() {
    // Transaction 0 misses 1's x; 2 reads 1's y; 2 misses 3's z; 0 reads 3's w.
    let txns = together(&["rx[] rw1", "ax1 ay1", "ry1 rz[]", "az1 aw1", "rx1 rz1"]);
    let cycle = [(0, "rw x", 1), (1, "wr y", 2), (2, "rw z", 3), (3, "wr w", 0)];
    planted(&txns, "G-nonadjacent", &[0, 1, 2, 3], &cycle, &[ParallelSnapshotIsolation]);
}

#[test]
fn g2_item_write_skew() {
    let txns = together(&["rx[] ay1", "ry[] ax1", "rx1 ry1"]);
    planted(&txns, "G2-item", &[0, 1], &[(0, "rw x", 1), (1, "rw y", 0)], &[StrongSnapshotIsolation]);
    let txns = together(&["rx=- wy1", "ry=- wx1"]);
    planted(&txns, "G2-item", &[0, 1], &[(0, "rw x", 1), (1, "rw y", 0)], &[StrongSnapshotIsolation]);
}

#[test]
fn g2_item_long_fork() {
    // Two readers see two writes in opposite orders: not even snapshots explain that.
    let found = findings(&together(&["ax1", "ay1", "rx1 ry[]", "rx[] ry1", "rx1 ry1"]));
    assert_eq!(names(&found), [("G-nonadjacent", 1)]);
    let cycle = [(0, "wr x", 2), (2, "rw y", 1), (1, "wr y", 3), (3, "rw x", 0)];
    assert_eq!(edges(the(&found, "G-nonadjacent")), cycle);
}

#[test]
fn lost_update() {
    let txns = together(&["rx[] ax1", "rx[] ax2", "rx12"]);
    planted(&txns, "lost update", &[0, 1], &[(0, "rw x", 1), (1, "rw x", 0)], &[PrefixConsistency]);
    let found = findings(&txns);
    assert_eq!(edges(the(&found, "G-single")), [(0, "ww x", 1), (1, "rw x", 0)]);
    let txns = together(&["wx1", "rx=1 wx2", "rx=1 wx3"]);
    planted(&txns, "lost update", &[1, 2], &[(1, "rw x", 2), (2, "rw x", 1)], &[PrefixConsistency]);
    // The same when no read ever shows the writes.
    let found = findings(&together(&["rx[] ax1", "rx[] ax2"]));
    assert_eq!(names(&found), [("lost update", 1), ("G2-item", 1)]);
    assert_eq!(found.strongest(), [PrefixConsistency]);
}

#[test]
fn dirty_update() {
    let txns = together(&["ax1!", "ax2", "rx12"]);
    planted(&txns, "dirty update", &[0, 1], &[], &[ReadUncommitted]);
}

#[test]
fn incompatible_order() {
    let txns = together(&["ax1", "ax2", "rx12", "rx21"]);
    planted(&txns, "incompatible order", &[2, 3], &[], &[ReadUncommitted]);
}

#[test]
fn duplicate_elements() {
    planted(&together(&["ax1", "rx11"]), "duplicate elements", &[1], &[], &[]);
}

#[test]
fn misordered_appends() {
    planted(&together(&["ax1 ax2", "rx21"]), "misordered appends", &[0, 1], &[], &[]);
    assert_eq!(ops(the(&findings(&together(&["ax1 ax2", "rx2"])), "misordered appends")), [0, 1]);
}

#[test]
fn phantom_value() {
    planted(&together(&["ax1", "rx19"]), "phantom value", &[1], &[], &[]);
    planted(&together(&["wx1", "rx=9"]), "phantom value", &[1], &[], &[]);
}

#[test]
fn internal() {
    planted(&together(&["ax1 rx[]"]), "internal", &[0], &[], &[RepeatableRead]);
    planted(&together(&["wx1 rx=2", "wx2"]), "internal", &[0], &[], &[RepeatableRead]);
}

#[test]
fn future_read() {
    planted(&together(&["rx1 ax1"]), "future read", &[0], &[], &[ReadUncommitted]);
    planted(&together(&["rx=1 wx1"]), "future read", &[0], &[], &[ReadUncommitted]);
}

#[test]
fn non_repeatable_read() {
    let txns = together(&["ax1", "rx[] rx1"]);
    planted(&txns, "non-repeatable read", &[1], &[], &[CursorStability]);
    assert_eq!(edges(the(&findings(&txns), "G-single")), [(0, "wr x", 1), (1, "rw x", 0)]);
    let txns = together(&["wx1", "wx2", "rx=1 rx=2"]);
    planted(&txns, "non-repeatable read", &[2], &[], &[RepeatableRead]);
}

#[test]
fn cyclic_versions() {
    let txns = together(&["rx=1 wx2", "rx=2 wx1"]);
    planted(&txns, "cyclic versions", &[0, 1], &[], &[ReadUncommitted]);
}

#[test]
fn assumptions_order_registers_and_are_named() {
    // The first write returned before the second was called. After both, the first value was read again.
    let history = record(&sequence(&["wx1", "wx2", "rx=1 wy1", "rx=2 ry=1"]));
    // No order of the writes agrees with both their returns and the reads.
    let plain = check(&history, StrictSerializable, &Options::default());
    assert_eq!(
        plain.violations().map(|evidence| evidence.anomaly.as_str()).collect::<Vec<_>>(),
        ["no serial order-realtime"]
    );
    let plain = check(&history, StrongSessionSerializable, &Options::default());
    assert!(plain.is_valid() && plain.parts[0].by.contains("an order of all transactions"), "{plain}");
    let options = Options { linearizable_keys: true, ..Options::default() };
    let found = find(&history, &options).expect("transactions");
    assert_eq!(names(&found), [("cyclic versions", 1)]);
    let report = check(&history, StrictSerializable, &options);
    assert!(
        report.parts[0].by.contains("assuming linearizable keys")
            && report.to_string().contains("Assumed: linearizable keys")
    );
    // The same with all transactions by one client.
    let mut txns = sequence(&["wx1", "wx2", "rx=1"]);
    txns.iter_mut().for_each(|txn| txn.process = 0);
    let options = Options { sequential_keys: true, ..Options::default() };
    let found = find(&record(&txns), &options).expect("transactions");
    assert_eq!(names(&found), [("cyclic versions", 1)]);
    // An assumption about keys orders versions at every level; what a transaction read does not.
    assert_eq!(found.strongest(), []);
    assert_eq!(names(&findings(&txns)), [("no serial order-process", 1), ("no serial order-realtime", 1)]);
}

#[test]
fn g0_of_registers_is_one_where_their_order_is_assumed() {
    // Two clients overwrite two registers in opposite orders, and each sees that.
    let mut txns = together(&["wx1 wy2", "wx2 wy1", "rx=1", "rx=2", "ry=1", "ry=2"]);
    for (at, (process, events)) in
        [(0, (0, 1)), (1, (2, 3)), (2, (4, 5)), (2, (6, 7)), (3, (8, 9)), (3, (10, 11))].into_iter().enumerate()
    {
        (txns[at].process, txns[at].events) = (process, (events.0, Some(events.1)));
    }
    let options = Options { sequential_keys: true, ..Options::default() };
    let found = find(&record(&txns), &options).expect("transactions");
    assert_eq!((names(&found)[0], found.strongest()), (("G0", 1), vec![]));
}

#[test]
fn g_cursor_is_an_append_between_read_and_append() {
    let txns = together(&["rx[] ax1", "ax2", "rx21"]);
    planted(&txns, "G-cursor", &[0, 1], &[(0, "rw x", 1), (1, "ww x", 0)], &[PrefixConsistency]);
}

#[test]
fn a_fractured_read_sees_half_of_what_another_wrote() {
    let txns = together(&["ax1 ay1", "rx[] ry1", "rx1"]);
    planted(&txns, "fractured read", &[0, 1], &[(0, "wr y", 1), (1, "rw x", 0)], &[CursorStability]);
    // A third transaction in between: this is no longer a fractured read, but no prefix explains it either.
    let found = findings(&together(&["ax1", "rx1 ay1", "rx[] ry1", "rx1"]));
    assert_eq!((names(&found), found.strongest()), (vec![("G-single", 1)], vec![CursorStability, ReadAtomic]));
}

#[test]
fn registers_of_unknown_order_are_not_called_valid_without_an_order_that_explains_them() {
    // The third read what the second overwrote, so it comes first; but the second missed what the third wrote.
    let txns = together(&["wx1 wy1", "rx=1 rz=- wy2", "ry=1 wz1"]);
    let history = record(&txns);
    let report = check(&history, Serializable, &Options::default());
    assert_eq!(report.violations().map(|evidence| evidence.anomaly.as_str()).collect::<Vec<_>>(), ["no serial order"]);
    assert!(report.to_string().contains("Still possible: strong snapshot isolation."), "{report}");
    let report = check(&record(&together(&["wx1 wy1", "rx=1 wy2", "ry=1 wz1"])), Serializable, &Options::default());
    assert!(report.is_valid() && report.parts[0].by.contains("an order of all transactions"), "{report}");
    // Without steps to search for an order there is no verdict.
    let none = Options { steps: 0, ..Options::default() };
    let report = check(&history, Serializable, &none);
    assert!(report.to_string().contains("leave the order of writes to y open"), "{report}");
    assert!(check(&history, ReadCommitted, &none).is_valid());
}

/// Assigns these transactions to one client.
fn in_process(mut txns: Vec<Txn>, process: u32, which: &[usize]) -> Vec<Txn> {
    which.iter().for_each(|&i| txns[i].process = process);
    txns
}

#[test]
fn g0_process_and_realtime() {
    // 1 appended before 0, though 0 had returned; a read shows it.
    let txns = sequence(&["ax1", "ax2", "rx21"]);
    planted(&txns, "G0-realtime", &[0, 1], &[(0, "realtime", 1), (1, "ww x", 0)], &[StrongSessionSerializable]);
    let txns = in_process(txns, 7, &[0, 1]);
    planted(&txns, "G0-process", &[0, 1], &[(0, "process", 1), (1, "ww x", 0)], &[Serializable]);
}

#[test]
fn g1c_process_and_realtime() {
    let txns = sequence(&["rx1", "ax1"]);
    planted(&txns, "G1c-realtime", &[0, 1], &[(0, "realtime", 1), (1, "wr x", 0)], &[StrongSessionSerializable]);
    let txns = in_process(txns, 7, &[0, 1]);
    planted(&txns, "G1c-process", &[0, 1], &[(0, "process", 1), (1, "wr x", 0)], &[Serializable]);
}

#[test]
fn g_single_process_and_realtime() {
    let txns = sequence(&["ax1", "rx[]", "rx1"]);
    planted(&txns, "G-single-realtime", &[0, 1], &[(0, "realtime", 1), (1, "rw x", 0)], &[StrongSessionSerializable]);
    let txns = in_process(txns, 7, &[0, 1]);
    planted(&txns, "G-single-process", &[0, 1], &[(0, "process", 1), (1, "rw x", 0)], &[Serializable]);
}

#[test]
fn g_nonadjacent_process_and_realtime() {
    // Each client writes, and then misses what the other wrote. The two writes are concurrent, and so are the two
    // reads.
    let mut txns = together(&["ax1", "ay1", "ry[]", "rx[]", "rx1 ry1"]);
    for (i, events) in [(0, 2), (1, 3), (4, 8), (5, 9), (10, 11)].into_iter().enumerate() {
        txns[i].events = (events.0, Some(events.1));
    }
    let txns = in_process(in_process(txns, 7, &[0, 2]), 8, &[1, 3]);
    let cycle = [(0, "process", 2), (2, "rw y", 1), (1, "process", 3), (3, "rw x", 0)];
    planted(&txns, "G-nonadjacent-process", &[0, 2, 1, 3], &cycle, &[Serializable]);
    // Transaction 0 misses 2's x; 2 returned before 3 was called; 3 misses 1's y; 0 saw 1's z.
    let mut txns = together(&["rx[] rz1", "ay1 az1", "ax1", "ry[]", "rx1 ry1 rz1"]);
    for (i, events) in [(0, 6), (1, 8), (2, 3), (4, 7), (9, 10)].into_iter().enumerate() {
        txns[i].events = (events.0, Some(events.1));
    }
    let cycle = [(0, "rw x", 2), (2, "realtime", 3), (3, "rw y", 1), (1, "wr z", 0)];
    planted(&txns, "G-nonadjacent-realtime", &[0, 2, 3, 1], &cycle, &[StrongSessionSerializable]);
}

#[test]
fn g2_item_process_and_realtime() {
    // Transaction 0 misses 1's x; 1 returned before 2 was called; 2 misses 0's y.
    let mut txns = together(&["rx[] ay1", "ax1", "ry[]", "rx1 ry1"]);
    for (i, events) in [(0, 7), (1, 2), (4, 6), (8, 9)].into_iter().enumerate() {
        txns[i].events = (events.0, Some(events.1));
    }
    let cycle = [(0, "rw x", 1), (1, "realtime", 2), (2, "rw y", 0)];
    planted(&txns, "G2-item-realtime", &[0, 1, 2], &cycle, &[StrongSnapshotIsolation, StrongSessionSerializable]);
    let txns = in_process(txns, 7, &[1, 2]);
    let cycle = [(0, "rw x", 1), (1, "process", 2), (2, "rw y", 0)];
    planted(&txns, "G2-item-process", &[0, 1, 2], &cycle, &[StrongSnapshotIsolation, Serializable]);
}

#[test]
fn appends_that_no_read_saw_come_last() {
    // Writers of one key, and transactions that missed all of them and also write: a fan of edges, none from a
    // transaction to itself.
    let txns = together(&["ax1", "ax2", "ax3", "ax4", "rx[] ay1", "rx[] ax5 az1"]);
    assert_eq!(names(&findings(&txns)), []);
    // Another key puts one of the writers before one of the readers.
    let txns = together(&["ax1", "ax2 ay1", "ax3", "ax4", "rx[] ry1"]);
    let found = findings(&txns);
    assert_eq!(names(&found), [("fractured read", 1), ("G-single", 1)]);
    assert_eq!(edges(the(&found, "G-single")), [(1, "wr y", 4), (4, "rw x", 1)]);
    assert!(!found.is_total());
}

#[test]
fn unknown_outcomes_count_once_they_are_seen() {
    // No read saw the append: it may never have happened.
    assert_eq!(names(&findings(&sequence(&["ax1~", "rx[]"]))), []);
    // One read saw it, and a later one did not.
    let txns = sequence(&["ax1~", "rx1", "rx[]"]);
    let found = findings(&txns);
    assert_eq!(edges(the(&found, "G-single-realtime")), [(0, "wr x", 1), (1, "realtime", 2), (2, "rw x", 0)]);
    // The transaction was seen, so its other append has happened too.
    let found = findings(&together(&["ax1 ay1~", "rx1 ry[]"]));
    assert_eq!(edges(the(&found, "G-single")), [(0, "wr x", 1), (1, "rw y", 0)]);
}

#[test]
fn what_cannot_be_told_is_unknown() {
    let unknown = |txns: &[Txn], why: &str| {
        let report = check(&record(txns), Serializable, &Options::default());
        assert!(matches!(&report.parts[0].verdict, Verdict::Unknown(said) if said.contains(why)), "{report}");
    };
    unknown(&together(&["ax1", "ax1", "rx1"]), "1 was written to x more than once");
    unknown(&together(&["ax1", "wx2"]), "key x is used as a list and as a register");
    let mut log = seaworthy_check::Recorder::default();
    log.invoke(0, 0, "k", seaworthy_check::Call::Get);
    let report = check(&log.finish(), Serializable, &Options::default());
    assert!(matches!(&report.parts[0].verdict, Verdict::Unknown(why) if why.contains("is no transaction")));
    // What is certain is still reported.
    let found = findings(&together(&["az1", "az1", "ax1!", "rx1"]));
    assert!(matches!(found.verdict(ReadCommitted), Verdict::Invalid(_)));
    assert!(matches!(found.verdict(ReadUncommitted), Verdict::Unknown(_)));
}

#[test]
fn examples_are_bounded_and_all_are_counted() {
    let mut texts = vec!["ax1!"];
    texts.resize(100, "rx1");
    let found = findings(&together(&texts));
    assert_eq!(names(&found), [("G1a", 99)]);
    assert_eq!(found.anomalies.len(), Options::default().examples);
}

#[test]
fn the_report_names_the_worst_anomaly_that_the_level_forbids() {
    let history = record(&together(&["rx[] ay1", "ry[] ax1", "rx1 ry1", "az1!", "rz1"]));
    let named = |level| {
        let report = check(&history, level, &Options::default());
        (report.property, report.violations().map(|evidence| evidence.anomaly.clone()).collect::<Vec<_>>())
    };
    assert_eq!(named(Serializable), ("serializable", vec!["G1a".to_owned()]));
    assert_eq!(named(ReadUncommitted), ("isolated as read uncommitted", vec![]));
    let skew = record(&together(&["rx[] ay1", "ry[] ax1", "rx1 ry1"]));
    assert!(check(&skew, SnapshotIsolation, &Options::default()).is_valid());
    assert!(check(&skew, StrongSessionSnapshotIsolation, &Options::default()).is_valid());
    assert!(!check(&skew, RepeatableRead, &Options::default()).is_valid());
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!("report", report(&skew, StrictSerializable));
    });
}

#[test]
fn levels_imply_each_other_and_have_names() {
    for level in Isolation::ALL {
        assert_eq!(Isolation::named(level.name()), Some(level));
        assert!(StrictSerializable.implies(level) && level.implies(ReadUncommitted));
    }
    assert!(!SnapshotIsolation.implies(RepeatableRead) && !RepeatableRead.implies(SnapshotIsolation));
    assert!(!StrongSnapshotIsolation.implies(Serializable) && !Serializable.implies(StrongSessionSnapshotIsolation));
    assert!(SnapshotIsolation.forbids("G-single") && !SnapshotIsolation.forbids("G2-item"));
}

#[test]
fn a_long_chain_is_no_deep_recursion() {
    // A hundred thousand transactions, each reading what the one before appended, and the first reading the last's.
    let n = 100_000;
    let mut txns: Vec<Txn> = (0..n).map(|i| txn(i, "", (i as usize, (n + i) as usize))).collect();
    for i in 0..n {
        txns[i as usize].ops = vec![txn_common::Op::List(i, Some(vec![1])), txn_common::Op::Append((i + 1) % n, 1)];
    }
    let found = findings(&txns);
    assert_eq!(names(&found), [("G1c", 1)]);
    assert_eq!(found.anomalies[0].ops.len(), n as usize);
    assert!(found.anomalies[0].explanation.len() < 10_000 && found.anomalies[0].diagram.len() < 20_000);
}
