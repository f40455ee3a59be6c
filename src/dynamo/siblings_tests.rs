use super::*;
use crate::types::{Bytes, NodeId};

fn actor(node: u32) -> Actor {
    Actor { node: NodeId(node), birth: 1 }
}

fn put(state: &mut Siblings, context: &Clock, node: u32, id: u64, value: &str) -> Dot {
    let content = Content::Value(Bytes::copy_from_slice(value.as_bytes()));
    let id = (Hlc(id), WriteId { client: 1, number: id });
    state.write(context, actor(node), id, content, (Resolve::Siblings, Mutant::default()))
}

fn values(state: &Siblings) -> Vec<String> {
    let text = |v: &Version| match &v.content {
        Content::Value(value) => String::from_utf8_lossy(value).into_owned(),
        _ => "†".to_owned(),
    };
    state.shown().map(text).collect()
}

fn merged(a: &Siblings, b: &Siblings) -> Siblings {
    let mut out = a.clone();
    out.merge(b, Resolve::Siblings, Mutant::default());
    out
}

#[test]
fn red_and_blue_become_purple() {
    let (mut a, mut b) = (Siblings::default(), Siblings::default());
    put(&mut a, &Clock::default(), 1, 1, "Red");
    put(&mut b, &Clock::default(), 2, 2, "Blue");
    let both = merged(&a, &b);
    assert_eq!(both, merged(&b, &a));
    assert_eq!(values(&both), ["Red", "Blue"]);
    assert_eq!(both.clock().to_string(), "{n1:1, n2:1}");
    let mut c = both.clone();
    put(&mut c, both.clock(), 3, 3, "Purple");
    assert_eq!(values(&c), ["Purple"]);
    assert_eq!(c.clock().to_string(), "{n1:1, n2:1, n3:1}");
    for state in [&a, &b, &both] {
        assert_eq!(merged(state, &c), c, "an ancestor is overwritten");
        assert!(c.includes(state) && !state.includes(&c));
    }
}

#[test]
fn one_server_invents_no_siblings_and_loses_none() {
    let mut a = Siblings::default();
    put(&mut a, &Clock::default(), 1, 1, "x");
    let seen = a.clock().clone();
    put(&mut a, &seen, 1, 2, "y");
    assert_eq!(values(&a), ["y"]);
    put(&mut a, &seen, 1, 3, "z");
    assert_eq!(values(&a), ["y", "z"], "both had seen x, neither the other");
}

#[test]
fn a_retry_through_another_server_is_the_same_write() {
    let (mut a, mut b) = (Siblings::default(), Siblings::default());
    put(&mut a, &Clock::default(), 1, 1, "x");
    put(&mut b, &Clock::default(), 2, 1, "x");
    let both = merged(&b, &a);
    assert_eq!(values(&both), ["x"]);
    assert_eq!(both, merged(&a, &b));
    assert_eq!(merged(&both, &b), both, "the copy does not come back");
    // Who has seen one copy has seen the write.
    let mut late = b.clone();
    put(&mut late, b.clock(), 2, 2, "y");
    assert!(late.knows(WriteId { client: 1, number: 1 }));
    assert_eq!(values(&merged(&both, &late)), ["y"]);
    assert_eq!(values(&merged(&late, &a)), ["y"]);
    assert_eq!(merged(&a, &late), merged(&late, &a), "one copy seen, all seen");
}
