//! Golden conversations. Each script drives a few nodes by hand; the snapshot is what was said.

use super::cluster::{Cluster, Packet};
use super::*;
use crate::dynamo::siblings::WriteId;
use crate::types::{Level, Policy, Resolve};

/// Nodes whose conversation is written down.
struct Script {
    cluster: Cluster,
    writes: u64,
}

impl Script {
    fn new(size: u32, policy: Policy, configure: impl Fn(&mut Config)) -> Script {
        let mut cluster = Cluster::new(size, 1, policy, configure);
        cluster.transcript = Some(String::new());
        Script { cluster, writes: 0 }
    }

    /// A heading in the transcript.
    fn says(&mut self, text: &str) {
        self.cluster.note(&format!("# {text}"));
    }

    fn set(&mut self, key: &Key, value: &str) -> ClientRequest {
        self.writes += 1;
        ClientRequest::Put {
            write: WriteId { client: 1, number: self.writes },
            key: key.clone(),
            update: Update::Set(Bytes::copy_from_slice(value.as_bytes())),
            context: Bytes::new(),
            w: None,
            sloppy: None,
            deadline_ms: 1000,
            read_back: false,
        }
    }

    fn put(&mut self, n: u32, key: &Key, value: &str) -> RequestId {
        let request = self.set(key, value);
        self.cluster.request(id(n), request)
    }

    fn put_strictly(&mut self, n: u32, key: &Key, value: &str) -> RequestId {
        let mut request = self.set(key, value);
        if let ClientRequest::Put { sloppy, .. } = &mut request {
            *sloppy = Some(false);
        }
        self.cluster.request(id(n), request)
    }

    fn put_after(&mut self, n: u32, key: &Key, value: &str, read: RequestId) -> RequestId {
        let seen = self.context(read);
        let mut request = self.set(key, value);
        if let ClientRequest::Put { context, .. } = &mut request {
            *context = seen;
        }
        self.cluster.request(id(n), request)
    }

    fn get(&mut self, n: u32, key: &Key) -> RequestId {
        let request = ClientRequest::Get { key: key.clone(), r: None, deadline_ms: 1000 };
        self.cluster.request(id(n), request)
    }

    fn context(&self, read: RequestId) -> Bytes {
        match &self.cluster.replies[&read] {
            ClientReply::Value { context, .. } => context.clone(),
            other => panic!("no value: {other:?}"),
        }
    }

    fn values(&self, read: RequestId) -> Vec<String> {
        match &self.cluster.replies[&read] {
            ClientReply::Value { siblings, .. } => {
                let text = |v: &Bytes| String::from_utf8_lossy(v).into_owned();
                siblings.iter().map(|s| s.value.as_ref().map_or("†".to_owned(), text)).collect()
            }
            other => panic!("no value: {other:?}"),
        }
    }

    fn deliver(&mut self) {
        self.cluster.deliver_unless(|_| false);
    }

    /// Delivers until none is left, except what goes to or comes from `cut`.
    fn deliver_without(&mut self, cut: &[u32]) {
        self.cluster.deliver_unless(without(cut));
    }

    fn states(&mut self, key: &Key) {
        for node in self.cluster.ids() {
            if self.cluster.nodes[&node].up {
                let line = transcript::siblings(&self.cluster.held(node, key));
                self.cluster.note(&format!("{node} holds {line}"));
            }
        }
    }

    fn end(mut self) -> String {
        self.cluster.transcript.take().unwrap()
    }
}

fn without(cut: &[u32]) -> impl Fn(&Packet) -> bool {
    move |p| cut.contains(&p.from.0) || cut.contains(&p.to.0)
}

fn three() -> Policy {
    Policy::default()
}

/// N=3, R=W=2: the slowest replica is waited for by nobody.
#[test]
fn put_and_get() {
    let mut s = Script::new(3, three(), |_| {});
    s.cluster.instant_disk = false;
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.put(1, &k, "x");
    s.says("n2 is quick, n1's own disk is next; n3's acknowledgement comes after the answer");
    let (to_n2, to_n3) = (s.cluster.net.remove(0), s.cluster.net.remove(0));
    s.cluster.deliver(to_n2);
    s.cluster.sync(id(2));
    s.deliver();
    s.cluster.sync(id(1));
    s.cluster.deliver(to_n3);
    s.cluster.sync(id(3));
    s.deliver();
    s.says("a read asks two");
    let read = s.get(3, &k);
    s.deliver();
    assert_eq!(s.values(read), ["x"]);
    s.says("what was read is superseded by a write with its context");
    s.put_after(1, &k, "y", read);
    s.cluster.sync(id(1));
    s.deliver();
    for n in [2, 3] {
        s.cluster.sync(id(n));
    }
    s.deliver();
    s.states(&k);
    insta::assert_snapshot!(s.end());
}
