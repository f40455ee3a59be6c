//! Tests that cut power at every single step of a node's disk, through snapshots of both kinds and checkpoints. The
//! node has Raft groups and the AP core. Everything it acknowledged must be there afterwards.

use super::many::{ap_put_of, key, put};
use super::*;
use crate::dynamo::context::Seen;
use crate::dynamo::siblings::{Content, Siblings, WriteId};
use crate::dynamo::version_vector::Actor;
use crate::dynamo::{Cause, ClientReply, Message, PutResult};
use crate::kv::Reply;
use crate::storage::StorageError;
use crate::types::{Bytes, Hlc, Key, Lane, Resolve};

const ME: NodeId = NodeId(1);
const OWNER: NodeId = NodeId(3);

/// What a node was asked to store.
#[derive(Clone, Debug)]
enum Kept {
    /// A key of a Raft group, and how often it was written.
    Group(Key, u64),
    /// A write of a key of an AP bucket.
    Ap(Key, WriteId),
    /// The same, as a hint for [`OWNER`].
    Hint(Key, WriteId),
}

/// One of three servers. Each group has one voter, and each key of `cart/…` one replica.
fn alone_of_three() -> Arc<Layout> {
    let mut buckets = carts();
    buckets.named.insert("cart".to_owned(), Mode::Ap(Policy { n: 1, ..Policy::default() }));
    Arc::new(layout(3, buckets, 9, 1))
}

struct Life {
    node: Node,
    post: Post,
    time: Arc<AtomicU64>,
    next: u64,
}

impl Life {
    fn begin(disk: &MemDisk) -> Result<Life, StorageError> {
        let (post, time) = (Post::default(), Arc::new(AtomicU64::new(0)));
        let world = World { me: ME, post: post.clone(), time: time.clone() };
        let tune = |config: &mut NodeConfig, store: &mut StoreConfig| {
            (config.snapshot_entries, config.raft.keep_entries) = (6, 2);
            store.segment_bytes = 1 << 12;
        };
        let mut node = Node::try_start(world, &alone_of_three(), disk.clone(), tune)?;
        node.vouch()?;
        Ok(Life { node, post, time, next: 0 })
    }

    /// Lets 10 ms pass and returns what was sent meanwhile.
    fn turn(&mut self) -> Result<Vec<Packet>, StorageError> {
        self.time.fetch_add(10_000_000, Ordering::Relaxed);
        self.node.try_disk_works()?;
        self.node.try_turn()?;
        Ok(mem::take(&mut *self.post.lock().unwrap()).into_iter().map(|(.., packet)| packet).collect())
    }

    /// Repeats a request until the response is not a refusal.
    fn ask(&mut self, body: &RequestBody) -> Result<ResponseBody, StorageError> {
        let mut body = body.clone();
        let answer = self.ask_as_it_stands(&body)?;
        if take_window(&mut body, &answer) { self.ask_as_it_stands(&body) } else { Ok(answer) }
    }

    fn ask_as_it_stands(&mut self, body: &RequestBody) -> Result<ResponseBody, StorageError> {
        for _ in 0..20 {
            self.next += 1;
            let id = self.next;
            let request = Packet::from(Ask::new(id, body.clone()));
            self.node.hears(Addr::Client(CLIENT), request);
            for _ in 0..20 {
                let answer = self.turn()?.into_iter().find_map(|packet| match packet {
                    Packet::Response(response) if response.id == id => Some(response.body),
                    _ => None,
                });
                match answer {
                    Some(ResponseBody::Refused(_)) => {
                        for _ in 0..10 {
                            self.turn()?;
                        }
                        break;
                    }
                    Some(answer) => return Ok(answer),
                    None => {}
                }
            }
        }
        panic!("no answer to {body:?}");
    }

    /// Takes a hint from n2 until it is acknowledged.
    fn keep_hint(&mut self, op: u64, key: &Key, write: WriteId) -> Result<(), StorageError> {
        let mut siblings = Siblings::default();
        let (actor, policy) = (Actor { node: NodeId(2), incarnation: op }, (Resolve::Siblings, Mutant::default()));
        let content = Content::Value(Bytes::from(vec![3; 700]));
        siblings.write(&Seen::default(), actor, (Hlc(op), write), content, policy);
        let cause = Cause::Write(NodeId(2));
        let put = Message::Put { op, key: key.clone(), siblings, owner: Some(OWNER), cause, epoch: 0 };
        self.node.hears(
            Addr::Node(NodeId(2)),
            Packet::Peer { origin: origin_of(NodeId(2)), lane: Lane::Control, raft: Vec::new(), ap: vec![put] },
        );
        for _ in 0..20 {
            let stored = Message::PutReply { op, result: PutResult::Stored };
            let told = |packet: &Packet| matches!(packet, Packet::Peer { ap, .. } if ap.contains(&stored));
            if self.turn()?.iter().any(told) {
                return Ok(());
            }
        }
        panic!("the hint was not acknowledged");
    }

    fn holds(&mut self, kept: &Kept) -> bool {
        let ap =
            |life: &Life| life.node.driver.ap.as_ref().map(|ap| (ap.dynamo().keys(), ap.dynamo().hints())).unwrap();
        match kept {
            Kept::Group(key, times) => {
                let found = self.ask(&RequestBody::Get { key: key.clone() }).expect("power");
                let ResponseBody::Reply(Reply::Value(found)) = found else { panic!("{found:?}") };
                found.is_some_and(|found| found.revision + 1 >= *times)
            }
            Kept::Ap(key, write) => ap(self).0.get(key).is_some_and(|entry| holds(&entry.siblings, *write)),
            Kept::Hint(key, write) => {
                ap(self).1.get(&(OWNER, key.clone())).is_some_and(|hint| holds(&hint.entry.siblings, *write))
            }
        }
    }
}

fn holds(siblings: &Siblings, write: WriteId) -> bool {
    siblings.versions().iter().any(|version| version.write == write)
}

/// Keys with `node` as their only voter, and keys of `cart/…` with `node` as their only replica.
fn keys_of(node: NodeId) -> (Vec<Key>, Vec<Key>) {
    let layout = alone_of_three();
    let of_group = |key: &Key| layout.voters_of(layout.group_of(key)) == [node];
    let in_cart = (0..1000).map(|n| Key::from(format!("cart/{n}"))).filter(|key| layout.order(key)[0] == node);
    ((0..1000).map(key).filter(of_group).take(4).collect(), in_cart.take(12).collect())
}

/// Runs the same workload on every disk. Calls `done` for everything that was acknowledged.
fn script(disk: &MemDisk, mut done: impl FnMut(Kept)) -> Result<(), StorageError> {
    let mut life = Life::begin(disk)?;
    let ((cp, ap), (_, owners)) = (keys_of(ME), keys_of(OWNER));
    let mut sessions = Vec::new();
    for key in &cp {
        match life.ask(&RequestBody::OpenSession { key: key.clone() })? {
            ResponseBody::Session { id, .. } => sessions.push(id),
            other => panic!("{other:?}"),
        }
    }
    for n in 0..40_u64 {
        let at = n as usize % cp.len();
        let (key, number) = (&cp[at], n / cp.len() as u64 + 1);
        let answer = life.ask(&put(sessions[at], number, key.clone()))?;
        assert!(matches!(answer, ResponseBody::Reply(Reply::Done { .. })), "{answer:?}");
        done(Kept::Group(key.clone(), number));
        let key = &ap[n as usize % ap.len()];
        let answer = life.ask(&ap_put_of(std::str::from_utf8(key).unwrap(), n, 400))?;
        assert!(matches!(answer, ResponseBody::Ap(ClientReply::Done { .. })), "{answer:?}");
        done(Kept::Ap(key.clone(), WriteId { client: 5, number: n }));
        if n % 4 == 0 {
            let (key, write) = (&owners[n as usize % owners.len()], WriteId { client: 6, number: n });
            life.keep_hint(2 * n + 1, key, write)?;
            done(Kept::Hint(key.clone(), write));
        }
    }
    Ok(())
}

#[test]
fn power_cut_at_every_step_loses_nothing_acknowledged() {
    let whole = MemDisk::default();
    let mut all = 0;
    let (mut snapshots, mut segments) = (BTreeSet::new(), BTreeSet::new());
    script(&whole, |_| {
        all += 1;
        let (snaps, logs): (Vec<String>, Vec<String>) =
            whole.names().into_iter().partition(|name| name.starts_with("snap-"));
        snapshots.extend(snaps);
        segments.extend(logs.into_iter().filter(|name| name.ends_with(".log")).min());
    })
    .unwrap();
    let of_ap = snapshots.iter().filter(|name| name.starts_with("snap-00000000-")).count();
    assert!(of_ap >= 2 && snapshots.len() >= of_ap + 6 && segments.len() >= 3, "{snapshots:?} {segments:?}");
    assert_eq!(all, 90);

    let rng = &mut Rng::new(1, "power");
    for step in 0..whole.changes() {
        let disk = MemDisk::default();
        disk.cut_power_after(step);
        let mut kept = Vec::new();
        script(&disk, |item| kept.push(item)).expect_err("the power was cut");
        disk.crash(rng, [0.0, 0.5, 1.0][step as usize % 3]);
        if step % 2 == 0 {
            // Power is cut again while the node starts.
            disk.cut_power_after(step / 2 % 10);
            let _ = Life::begin(&disk);
            disk.crash(rng, 0.5);
        }
        let mut life = Life::begin(&disk).unwrap_or_else(|error| panic!("step {step}: {error}"));
        // For a Raft group's key the last write is enough.
        let (groups, ap): (Vec<Kept>, Vec<Kept>) = kept.into_iter().partition(|kept| matches!(kept, Kept::Group(..)));
        for kept in ap.iter().chain(&groups[groups.len().saturating_sub(4)..]) {
            assert!(life.holds(kept), "step {step}: lost {kept:?}");
        }
    }
}
