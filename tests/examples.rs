//! Checks that the examples produce what they claim.

#[path = "../examples/raft_core.rs"]
mod raft_core;

#[test]
fn three_raft_cores_agree() {
    raft_core::main();
}
