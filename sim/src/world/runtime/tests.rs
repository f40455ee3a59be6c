//! Tests of the world as nodes see it. Each test runs in its own thread and runtime.

use super::super::Latency;
use super::super::clock::{ClockFault, ClockSettings};
use super::super::disk::DiskTrouble;
use super::super::net::{Carriage, LinkSettings};
use super::super::trace::first_difference;
use super::super::trace::tests::Memory;
use super::*;
use seaworthy::env::{Clock, StorageHost, Transport};
use seaworthy::storage::{LogRecord, StoreConfig};
use seaworthy::types::{GroupId, Rng, Time};
use seaworthy::wire::{Packet, Request, RequestBody};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

const MS: u64 = 1_000_000;
const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);

fn n(id: NodeId) -> Addr {
    Addr::Node(id)
}

fn settings(seed: u64) -> WorldSettings {
    let ms = Duration::from_millis;
    let links = LinkSettings { latency: Latency::uniform(ms(1), ms(4)), ..LinkSettings::CLEAN };
    WorldSettings {
        seed,
        net: NetSettings {
            server_links: links.clone(),
            client_links: links,
            carriage: Carriage::Datagrams,
            queue: 64 << 20,
            link_limit: 1000,
            to_clients: 64 << 20,
            mailbox_limit: 1000,
            bug: None,
            mailbox_bytes: 1 << 30,
        },
        disk: DiskSettings {
            per_operation: Duration::from_micros(5),
            per_kib: Duration::from_micros(1),
            sync: Latency::uniform(ms(1), ms(4)),
            capacity: 1 << 30,
            block_sectors: 1,
            bug: None,
        },
        tcp: None,
        cpu: CpuSettings::default(),
    }
}

const CLOCK: ClockSettings = ClockSettings { start: 0, epoch: 1_000_000_000_000, drift_ppm: 0, bug: None };

/// Runs `body` in its own world, shuts the world down, and returns its trace.
fn in_world<F, Fut>(seed: u64, trace: Trace, body: F) -> Trace
where
    F: FnOnce(Arc<World>) -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    std::thread::spawn(move || {
        let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.block_on(async {
            let world = World::new(settings(seed), trace.clone(), Ledger::default());
            body(world.clone()).await;
            world.shutdown().await;
            assert_eq!(
                (Arc::strong_count(&world), Arc::strong_count(&world.hub)),
                (1, 1),
                "something outlives the run"
            );
        });
        trace
    })
    .join()
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn packet(id: u64) -> Packet {
    Packet::from(Request::new(id, RequestBody::Status))
}

fn number(packet: &Packet) -> u64 {
    match packet {
        Packet::Request(request) => request.id,
        other => panic!("{other:?}"),
    }
}

/// Sends every packet back to its sender.
fn echo(mut env: NodeEnv) -> Process {
    Box::pin(async move {
        loop {
            let (from, packet) = env.transport.recv().await;
            env.transport.send(from, &packet);
        }
    })
}

async fn drain(world: &World, client: &mut SimTransport) -> Vec<u64> {
    world.sleep_until(world.now() + 50 * MS).await;
    std::iter::from_fn(|| client.try_recv()).map(|(_, packet)| number(&packet)).collect()
}

#[test]
fn packets_go_round_and_a_corrupt_one_is_counted_and_dropped() {
    in_world(1, Trace::new(), |world| async move {
        world.add_node(N1, (CLOCK, 0), echo);
        let mut client = world.client(7);
        (0..10).for_each(|i| client.send(n(N1), &packet(i)));
        assert_eq!(drain(&world, &mut client).await, (0..10).collect::<Vec<_>>());
        let id = world.ledger().request("corrupt", "", 0, None);
        let rot = LinkSettings { corrupt: 1.0, ..LinkSettings::CLEAN };
        world.lay(id, &[(n(N1), Addr::Client(7))], &LinkFault::Degrade(rot));
        (0..1000).for_each(|i| client.send(n(N1), &packet(i)));
        assert!(drain(&world, &mut client).await.is_empty());
        assert_eq!(client.bad_frames(), 1000, "every flipped bit is found");
        assert!(world.ledger().inert().is_empty());
    });
}

#[test]
fn sleeps_end_on_their_nanosecond_and_cancelled_ones_wake_nobody() {
    in_world(2, Trace::new(), |world| async move {
        for wait in [1, 10_000, 300_000, 5 * MS] {
            let at = world.now() + wait;
            world.sleep_until(at).await;
            assert!((at..at + 1_000).contains(&world.now()), "late by {}", world.now() - at);
        }
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut forgotten = Box::pin(world.sleep_until(world.now() + MS));
        assert!(forgotten.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(forgotten);
        world.sleep_until(world.now() + 2 * MS).await;
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    });
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_paused_node_does_nothing_and_a_killed_one_forgets() {
    in_world(3, Trace::new(), |world| async move {
        world.add_node(N1, (CLOCK, 0), echo);
        let mut client = world.client(7);
        let id = world.ledger().request("pause", "", 0, None);
        assert!(world.pause(N1, Some(id)));
        assert!(!world.pause(N1, None) && !world.restart(N1));
        (0..5).for_each(|i| client.send(n(N1), &packet(i)));
        assert!(drain(&world, &mut client).await.is_empty(), "paused");
        assert!(world.resume(N1));
        assert_eq!(drain(&world, &mut client).await, [0, 1, 2, 3, 4], "its mail had waited");
        world.pause(N1, None);
        (5..9).for_each(|i| client.send(n(N1), &packet(i)));
        assert!(drain(&world, &mut client).await.is_empty());
        assert!(world.kill(N1, Death::PowerLoss, None));
        assert!(!world.kill(N1, Death::Process, None) && !world.resume(N1) && !world.is_alive(N1));
        client.send(n(N1), &packet(9));
        assert!(drain(&world, &mut client).await.is_empty(), "dead");
        assert!(world.restart(N1));
        client.send(n(N1), &packet(10));
        assert_eq!(drain(&world, &mut client).await, [10], "its mail is lost");
        assert!(world.ledger().inert().is_empty());
    });
}

#[test]
fn a_process_that_ends_is_dead_and_can_be_restarted() {
    in_world(4, Trace::new(), |world| async move {
        world.add_node(N1, (CLOCK, 0), |env| {
            Box::pin(async move {
                let restarts = env.restarts;
                let wait = env.clock.now() + Duration::from_millis(5 + restarts);
                env.clock.sleep_until(wait).await;
            })
        });
        world.sleep_until(3 * MS).await;
        assert!(world.is_alive(N1));
        world.sleep_until(7 * MS).await;
        assert!(!world.is_alive(N1));
        assert!(world.restart(N1) && world.is_alive(N1));
        world.sleep_until(20 * MS).await;
        assert!(!world.is_alive(N1));
    });
}

#[test]
fn a_clock_sleep_is_right_whatever_is_done_to_the_clock() {
    in_world(5, Trace::new(), |world| async move {
        let clock = world.new_clock(n(N1), ClockSettings { drift_ppm: 100_000, ..CLOCK });
        clock.sleep_until(Time(110 * MS)).await;
        assert!((100 * MS..100 * MS + 1_000).contains(&world.now()), "ten percent fast");
        let deadline = clock.now() + Duration::from_millis(110);
        let (changer, id) = (clock.clone(), world.ledger().request("freeze", "", 0, None));
        let (inner, begun) = (world.clone(), world.now());
        let meddler = madsim::task::spawn(async move {
            inner.sleep_until(begun + 50 * MS).await;
            changer.disturb(id, ClockFault::Freeze);
            inner.sleep_until(begun + 850 * MS).await;
            changer.lift(id);
        });
        clock.sleep_until(deadline).await;
        let took = world.now() - begun;
        assert!((900 * MS..900 * MS + 5_000).contains(&took), "100 ms of its time and 800 ms of ice: {took}");
        meddler.await.unwrap();
        let jump = world.ledger().request("jump", "", 0, None);
        let (shown, wall) = (clock.now(), clock.wall());
        clock.disturb(jump, ClockFault::Jump(-60_000_000_000));
        assert_eq!((clock.now(), clock.wall().0), (shown, wall.0 - 60_000_000_000));
        assert_eq!(world.ledger().inert().len(), 1, "the frozen clock was not read: {:?}", world.ledger().entries());
    });
}

#[test]
fn storage_takes_its_time_and_what_it_acknowledged_survives_power_loss() {
    let recovered = Arc::new(AtomicU64::new(0));
    let seen = recovered.clone();
    in_world(6, Trace::new(), move |world| async move {
        world.add_node(N1, (CLOCK, 0), move |env| {
            let seen = recovered.clone();
            Box::pin(async move {
                let NodeEnv { id, .. } = env;
                let config = StoreConfig { segment_bytes: 1 << 16, ..StoreConfig::new(id) };
                let (host, found) = env
                    .open(|disk| Store::open(disk, &config, &mut Rng::new(id.0.into(), "store")))
                    .expect("nothing is damaged");
                let begun = env.clock.now();
                env.disk_idle().await;
                assert!(env.clock.now().since(begun) >= Duration::from_millis(1), "opening syncs");
                let term = found.groups.get(&GroupId(1)).map_or(0, |group| group.term);
                assert!(term >= seen.load(Ordering::Relaxed), "acknowledged {seen:?}, found {term}");
                for term in term + 1.. {
                    let record = seaworthy::raft::Record::HardState { term, vote: None };
                    host.run(move |store| store.append(&[LogRecord::Raft(GroupId(1), record)]))
                        .await
                        .expect("the disk is well");
                    seen.store(term, Ordering::Relaxed);
                }
            })
        });
        let mut killed = 0;
        for i in 0..40 {
            world.sleep_until(world.now() + 60 * MS + i * 77_777).await;
            killed += u64::from(world.kill(N1, Death::PowerLoss, None));
            world.restart(N1);
        }
        assert_eq!(killed, 40);
        assert!(world.disk_stats(N1).bytes_lost > 0, "{:?}", world.disk_stats(N1));
        let id = world.ledger().request("slow", "", 0, None);
        world.disk(N1).trouble(id, DiskTrouble::Slow(50));
        world.sleep_until(world.now() + 300 * MS).await;
        assert!(world.ledger().inert().is_empty());
    });
    assert!(seen.load(Ordering::Relaxed) > 100, "{seen:?} appends");
}

#[test]
fn lifting_a_fault_takes_off_that_one_and_healing_all() {
    in_world(9, Trace::new(), |world| async move {
        world.add_node(N1, (CLOCK, 0), echo);
        let faults: Vec<FaultId> = (0..3).map(|_| world.ledger().request("test", "", 0, None)).collect();
        let (clock, mut client) = (world.clock(N1), world.client(7));
        clock.disturb(faults[0], ClockFault::Freeze);
        clock.disturb(faults[1], ClockFault::Drift(-500_000));
        world.lay(faults[2], &[(Addr::Client(7), n(N1))], &LinkFault::Block);
        world.disk(N1).trouble(faults[2], DiskTrouble::FailSyncs(u64::MAX));
        world.lift(faults[0]);
        let (shown, begun) = (clock.now(), world.now());
        client.send(n(N1), &packet(1));
        assert!(drain(&world, &mut client).await.is_empty());
        let passed = clock.now().since(shown).as_nanos() as u64;
        assert_eq!(passed, (world.now() - begun) / 2, "the drift is still on");
        world.heal();
        let (shown, begun) = (clock.now(), world.now());
        client.send(n(N1), &packet(2));
        assert_eq!(drain(&world, &mut client).await, [2]);
        assert_eq!(clock.now().since(shown).as_nanos() as u64, world.now() - begun);
        world.kill(N1, Death::Process, None);
        assert!(seaworthy::storage::Disk::sync_dir(&mut world.disk(N1).attach()).is_ok());
    });
}

/// A run with many echoes, kills, pauses and cuts.
async fn storm(world: Arc<World>) {
    for id in [N1, N2] {
        world.add_node(id, (ClockSettings { drift_ppm: i64::from(id.0) * 50, ..CLOCK }, 0), echo);
    }
    let mut client = world.client(0);
    let cut = world.ledger().request("cut", "", 0, None);
    for i in 0..200 {
        client.send(n(N1), &packet(i));
        client.send(n(N2), &packet(i));
        world.sleep_until(world.now() + MS).await;
        match i % 40 {
            5 => drop(world.kill(N1, Death::PowerLoss, None)),
            10 => drop(world.restart(N1)),
            15 => drop(world.pause(N2, None)),
            25 => drop(world.resume(N2)),
            30 => world.lay(cut, &[(n(N2), Addr::Client(0))], &LinkFault::Block),
            35 => world.lift(cut),
            _ => {}
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run_and_recording_does_not_change_it() {
    let quiet = in_world(7, Trace::new(), storm);
    let (one, two) = (Memory::default(), Memory::default());
    let recorded = in_world(7, Trace::recording(Box::new(one.clone())), storm);
    let other = in_world(8, Trace::recording(Box::new(two.clone())), storm);
    assert!(quiet.events() > 800);
    assert_eq!(quiet.hash(), recorded.hash());
    assert_ne!(quiet.hash(), other.hash());
    assert_eq!(one.text().lines().count() as u64, recorded.events());
    assert!(first_difference(one.text().as_bytes(), two.text().as_bytes()).unwrap().is_some());
}
