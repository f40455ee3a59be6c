//! Tools for golden transcripts: a few nodes driven by hand, with everything they do recorded.

use super::cluster::{Cluster, Packet};
use super::*;
use crate::dynamo::crdt::Op;
use crate::dynamo::siblings::WriteId;
use crate::types::{Level, Policy};

/// Nodes with a transcript.
pub struct Script {
    pub cluster: Cluster,
    writes: u64,
}

impl Script {
    pub fn new(size: u32, policy: Policy, configure: impl Fn(&mut Config)) -> Script {
        Script::of(Cluster::new(size, 1, policy, configure))
    }

    pub fn of(mut cluster: Cluster) -> Script {
        cluster.transcript = Some(String::new());
        Script { cluster, writes: 0 }
    }

    /// Adds a heading to the transcript.
    pub fn says(&mut self, text: &str) {
        self.cluster.note(&format!("# {text}"));
    }

    pub fn set(&mut self, key: &Key, value: &str) -> ClientRequest {
        self.writes += 1;
        ClientRequest::Put {
            slot: Slot { server: id(0), window: 0, number: 0 },
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

    pub fn put(&mut self, n: u32, key: &Key, value: &str) -> RequestId {
        let request = self.set(key, value);
        self.cluster.request(id(n), request)
    }

    /// Writes with a level other than the bucket's.
    pub fn put_at(&mut self, level: Level, n: u32, key: &Key, value: &str) -> RequestId {
        let mut request = self.set(key, value);
        if let ClientRequest::Put { w, .. } = &mut request {
            *w = Some(level);
        }
        self.cluster.request(id(n), request)
    }

    /// Adds to a counter and reads back its value.
    pub fn add(&mut self, n: u32, key: &Key, amount: i64) -> RequestId {
        let mut request = self.set(key, "");
        if let ClientRequest::Put { update, read_back, .. } = &mut request {
            (*update, *read_back) = (Update::Merge(Op::Add(amount)), true);
        }
        self.cluster.request(id(n), request)
    }

    pub fn put_strictly(&mut self, n: u32, key: &Key, value: &str) -> RequestId {
        let mut request = self.set(key, value);
        if let ClientRequest::Put { sloppy, .. } = &mut request {
            *sloppy = Some(false);
        }
        self.cluster.request(id(n), request)
    }

    pub fn put_after(&mut self, n: u32, key: &Key, value: &str, read: RequestId) -> RequestId {
        let seen = self.context(read);
        let mut request = self.set(key, value);
        if let ClientRequest::Put { context, .. } = &mut request {
            *context = seen;
        }
        self.cluster.request(id(n), request)
    }

    /// Deletes what a node holds of a key.
    pub fn delete(&mut self, n: u32, key: &Key) -> RequestId {
        let mut request = self.set(key, "");
        let seen =
            crate::dynamo::context::encode(key, &crate::dynamo::context::Seen::of(&self.cluster.held(id(n), key)));
        if let ClientRequest::Put { update, context, .. } = &mut request {
            (*update, *context) = (Update::Delete, seen);
        }
        self.cluster.request(id(n), request)
    }

    pub fn get(&mut self, n: u32, key: &Key) -> RequestId {
        self.get_at(None, n, key)
    }

    /// Reads with a level other than the bucket's.
    pub fn get_at(&mut self, r: Option<Level>, n: u32, key: &Key) -> RequestId {
        let request = ClientRequest::Get { key: key.clone(), r, deadline_ms: 1000 };
        self.cluster.request(id(n), request)
    }

    pub fn context(&self, read: RequestId) -> Bytes {
        match &self.cluster.replies[&read] {
            ClientReply::Value { context, .. } => context.clone(),
            other => panic!("no value: {other:?}"),
        }
    }

    pub fn values(&self, read: RequestId) -> Vec<String> {
        match &self.cluster.replies[&read] {
            ClientReply::Value { siblings, .. } => {
                let text = |v: &Bytes| String::from_utf8_lossy(v).into_owned();
                siblings.iter().map(|s| s.value.as_ref().map_or("†".to_owned(), text)).collect()
            }
            other => panic!("no value: {other:?}"),
        }
    }

    pub fn deliver(&mut self) {
        self.cluster.deliver_unless(|_| false);
    }

    pub fn states(&mut self, key: &Key) {
        for node in self.cluster.ids() {
            if self.cluster.nodes[&node].up {
                let line = transcript::siblings(&self.cluster.held(node, key));
                self.cluster.note(&format!("{node} holds {line}"));
            }
        }
    }

    pub fn end(mut self) -> String {
        self.cluster.transcript.take().unwrap()
    }
}

pub fn without(cut: &[u32]) -> impl Fn(&Packet) -> bool {
    move |p| cut.contains(&p.from.0) || cut.contains(&p.to.0)
}

pub fn three() -> Policy {
    Policy::default()
}
