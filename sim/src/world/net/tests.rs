//! The network model: order, rates, cuts and limits.

use super::super::Latency;
use super::super::schedule::Due;
use super::*;
use seaworthy::types::NodeId;
use std::collections::BTreeSet;
use std::time::Duration;

const MS: u64 = 1_000_000;

fn n(id: u32) -> Addr {
    Addr::Node(NodeId(id))
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn plain() -> LinkSettings {
    LinkSettings { latency: Latency::uniform(ms(1), ms(9)), ..LinkSettings::CLEAN }
}

/// Two nodes and a client, stepped by hand.
struct Bench {
    net: Net,
    schedule: Schedule,
    /// Frames in flight, by arrival time.
    under_way: BTreeSet<(Nanos, u32)>,
    now: Nanos,
    ends: Vec<Binding>,
    ledger: Ledger,
    trace: Trace,
}

impl Bench {
    fn new(seed: u64, link: LinkSettings) -> Bench {
        let (trace, ledger) = (Trace::new(), Ledger::default());
        let settings = NetSettings {
            server_links: link.clone(),
            client_links: link,
            carriage: Carriage::Datagrams,
            queue: 64 << 20,
            to_clients: 64 << 20,
            link_limit: 100_000,
            mailbox_limit: 1 << 20,
            bug: None,
            mailbox_bytes: 1 << 30,
        };
        let mut net = Net::new(seed, settings, trace.clone(), ledger.clone());
        let ends = vec![net.bind(0, n(0)), net.bind(0, n(1)), net.bind(0, Addr::Client(0))];
        Bench { net, schedule: Schedule::default(), under_way: BTreeSet::new(), now: 0, ends, ledger, trace }
    }

    fn send(&mut self, from: usize, to: Addr, number: u32) {
        let frame = Bytes::copy_from_slice(&number.to_le_bytes());
        self.net.send(self.now, self.ends[from].endpoint, (to, Lane::Control), (frame, None), &mut self.schedule);
    }

    /// Sends `count` numbered frames from n0 to n1, one every 100 µs, and delivers frames as time passes.
    fn stream(&mut self, count: u32) {
        for i in 0..count {
            self.send(0, n(1), i);
            self.run(100_000);
        }
    }

    fn run(&mut self, span: Nanos) {
        let end = self.now + span;
        while let Some((at, due)) = self.schedule.take() {
            let Due::Frame(slot) = due else { panic!("only frames here, not {due:?}") };
            self.under_way.insert((at, slot));
        }
        while let Some((at, slot)) = self.under_way.first().copied().filter(|(at, _)| *at <= end) {
            self.under_way.pop_first();
            self.now = at;
            self.net.deliver(at, slot);
        }
        self.now = end;
    }

    fn drain(&mut self) {
        self.run(10_000 * MS);
    }

    fn received(&mut self, at: usize) -> Vec<u32> {
        std::iter::from_fn(|| match self.net.take(self.ends[at], None) {
            Mail::Frame(_, frame, ..) => Some(u32::from_le_bytes(frame[..].try_into().unwrap())),
            _ => None,
        })
        .collect()
    }

    fn fault(&self) -> FaultId {
        self.ledger.request("test", "", 0, None)
    }

    fn effect(&self, id: FaultId, effect: Effect) -> u64 {
        self.ledger.entries()[id.0 as usize].effects.get(&effect).copied().unwrap_or(0)
    }
}

fn near(count: u64, of: u64, probability: f64) -> bool {
    let expected = of as f64 * probability;
    // Four standard deviations of a binomial.
    (count as f64 - expected).abs() < 4.0 * (expected * (1.0 - probability)).sqrt()
}

#[test]
fn a_link_without_reordering_is_first_in_first_out_within_its_latency() {
    let mut bench = Bench::new(1, plain());
    bench.stream(5_000);
    bench.drain();
    assert_eq!(bench.received(1), (0..5_000).collect::<Vec<_>>());
    let mut bench = Bench::new(1, plain());
    bench.send(0, n(1), 7);
    bench.run(MS - 1);
    assert!(bench.received(1).is_empty());
    bench.run(9 * MS + 1);
    assert_eq!(bench.received(1), [7]);
}

#[test]
fn rates_are_as_set_and_charged_to_their_fault() {
    let mut bench = Bench::new(2, plain());
    let id = bench.fault();
    let weather = LinkSettings {
        loss: 0.1,
        duplicate: 0.05,
        reorder: 0.2,
        reorder_by: ms(50),
        corrupt: 0.02,
        ..LinkSettings::CLEAN
    };
    bench.net.lay(0, id, &[(n(0), n(1))], &LinkFault::Degrade(weather));
    bench.stream(20_000);
    bench.drain();
    let stats = bench.net.stats();
    let arrived = stats.sent - stats.lost;
    assert!(near(stats.lost, 20_000, 0.1), "{stats:?}");
    assert!(near(stats.duplicated, arrived, 0.05), "{stats:?}");
    assert!(near(stats.corrupted, arrived, 0.02), "{stats:?}");
    assert!(stats.reordered > arrived / 10 && stats.reordered <= arrived / 4, "{stats:?}");
    assert_eq!(stats.delivered, arrived + stats.duplicated);
    assert_eq!(bench.effect(id, Effect::MessagesDropped), stats.lost);
    assert_eq!(bench.effect(id, Effect::MessagesDuplicated), stats.duplicated);
    assert_eq!(bench.effect(id, Effect::MessagesCorrupted), stats.corrupted);
    assert_eq!(bench.effect(id, Effect::MessagesReordered), stats.reordered);
}

#[test]
fn the_links_own_weather_is_charged_to_nobody() {
    let mut bench = Bench::new(3, LinkSettings { loss: 0.5, ..plain() });
    let id = bench.fault();
    bench.net.lay(0, id, &[(n(0), n(1))], &LinkFault::Degrade(LinkSettings::CLEAN));
    bench.stream(1_000);
    assert!(near(bench.net.stats().lost, 1_000, 0.5));
    assert_eq!(bench.ledger.inert().len(), 1);
}

#[test]
fn a_block_is_one_way_loses_what_is_in_flight_and_ends() {
    let mut bench = Bench::new(4, plain());
    let (one_way, other) = (bench.fault(), bench.fault());
    bench.send(0, n(1), 1);
    bench.net.lay(0, one_way, &[(n(0), n(1))], &LinkFault::Block);
    bench.net.lay(0, other, &[(n(0), n(1)), (n(1), n(0)), (Addr::Client(0), n(1))], &LinkFault::Block);
    bench.send(0, n(1), 2);
    bench.send(1, n(0), 3);
    bench.send(2, n(1), 4);
    bench.drain();
    assert_eq!((bench.received(0), bench.received(1)), (vec![], vec![]));
    bench.net.lift(bench.now, other, &mut bench.schedule);
    bench.send(0, n(1), 5);
    bench.send(1, n(0), 6);
    bench.send(2, n(1), 7);
    bench.drain();
    assert_eq!((bench.received(0), bench.received(1)), (vec![6], vec![7]), "one way stays blocked");
    bench.net.lift(bench.now, one_way, &mut bench.schedule);
    bench.send(0, n(1), 8);
    bench.drain();
    assert_eq!(bench.received(1), [8]);
    let stats = bench.net.stats();
    assert_eq!((stats.cut, stats.blocked), (1, 4));
    assert_eq!(bench.effect(one_way, Effect::MessagesDropped), 3, "one cut, two blocked: the first block is charged");
    assert_eq!(bench.effect(other, Effect::MessagesDropped), 2);
}

#[test]
fn a_hang_holds_frames_back_and_delivers_them_in_order_when_it_ends() {
    let mut bench = Bench::new(5, plain());
    let id = bench.fault();
    bench.net.lay(0, id, &[(n(0), n(1))], &LinkFault::Hang);
    bench.stream(50);
    bench.drain();
    assert!(bench.received(1).is_empty());
    bench.net.lift(bench.now, id, &mut bench.schedule);
    bench.send(0, n(1), 50);
    bench.drain();
    assert_eq!(bench.received(1), (0..=50).collect::<Vec<_>>());
    assert_eq!(bench.effect(id, Effect::MessagesHeld), 50);
}

#[test]
fn bandwidth_queues_frames_and_the_link_limit_drops_them() {
    let link = LinkSettings { bandwidth: Some(4_000), ..LinkSettings::CLEAN };
    let mut bench = Bench::new(6, link);
    bench.net.settings.link_limit = 10;
    for i in 0..15 {
        bench.send(0, n(1), i);
    }
    bench.run(MS * 5 / 2);
    assert_eq!(bench.received(1), [0, 1], "four bytes a millisecond");
    bench.drain();
    assert_eq!(bench.received(1), (2..10).collect::<Vec<_>>());
    assert_eq!(bench.net.stats().link_full, 5);
}

#[test]
fn a_slow_link_adds_to_the_latency() {
    let mut bench = Bench::new(7, plain());
    let id = bench.fault();
    let slow = LinkSettings { latency: Latency::uniform(ms(200), ms(0)), ..LinkSettings::CLEAN };
    bench.net.lay(0, id, &[(n(0), n(1))], &LinkFault::Degrade(slow));
    bench.send(0, n(1), 1);
    bench.run(200 * MS);
    assert!(bench.received(1).is_empty());
    bench.run(10 * MS);
    assert_eq!(bench.received(1), [1]);
    assert_eq!(bench.effect(id, Effect::MessagesDelayed), 1);
}

#[test]
fn a_reset_loses_what_is_in_flight_once() {
    let mut bench = Bench::new(8, plain());
    let id = bench.fault();
    bench.send(0, n(1), 1);
    bench.net.reset_links(0, id, &[(n(0), n(1)), (n(1), n(0))]);
    bench.send(0, n(1), 2);
    bench.drain();
    assert_eq!(bench.received(1), [2]);
    assert_eq!(bench.effect(id, Effect::MessagesDropped), 1);
}

#[test]
fn the_dead_receive_nothing_and_what_they_sent_arrives() {
    let mut bench = Bench::new(9, plain());
    bench.send(0, n(1), 1);
    bench.drain();
    bench.send(0, n(1), 2);
    bench.send(1, n(0), 3);
    bench.net.reset(bench.now, n(1));
    assert_eq!(bench.net.take(bench.ends[1], None), Mail::Void);
    let old = std::mem::replace(&mut bench.ends[1], bench.net.bind(bench.now, n(1)));
    bench.send(0, n(1), 4);
    bench.net.unbind(bench.now, old);
    bench.drain();
    assert_eq!((bench.received(0), bench.received(1)), (vec![3], vec![4]));
    let last = bench.ends[1];
    bench.net.unbind(bench.now, last);
    bench.send(0, n(1), 5);
    bench.drain();
    assert_eq!((bench.net.stats().cut, bench.net.stats().unbound), (2, 1));
}

#[test]
fn a_full_mailbox_drops_and_counts() {
    let mut bench = Bench::new(10, plain());
    bench.net.settings.mailbox_limit = 3;
    bench.stream(5);
    bench.drain();
    assert_eq!(bench.received(1), [0, 1, 2]);
    assert_eq!(bench.net.stats().mailbox_full, 2);
}

#[test]
fn the_seed_decides_and_a_fault_on_one_link_leaves_the_others_alone() {
    let run = |seed, disturbed: bool| {
        let mut bench = Bench::new(seed, LinkSettings { loss: 0.2, reorder: 0.2, reorder_by: ms(5), ..plain() });
        if disturbed {
            let id = bench.fault();
            bench.net.lay(0, id, &[(n(1), n(0))], &LinkFault::Block);
        }
        for i in 0..200 {
            bench.send(0, n(1), i);
            bench.send(1, n(0), i);
            bench.run(MS);
        }
        bench.drain();
        (bench.trace.hash(), bench.received(1))
    };
    assert_eq!(run(1, false), run(1, false));
    assert_ne!(run(1, false).0, run(2, false).0);
    assert_ne!(run(1, false).0, run(1, true).0);
    assert_eq!(run(1, false).1, run(1, true).1);
}

fn ordered(seed: u64, link: LinkSettings, queue: u64) -> Bench {
    let mut bench = Bench::new(seed, link);
    (bench.net.settings.carriage, bench.net.settings.queue) = (Carriage::Ordered, queue);
    bench
}

#[test]
fn on_an_ordered_connection_a_lost_frame_holds_up_those_behind_it() {
    let lossy = LinkSettings { loss: 0.02, duplicate: 0.3, reorder: 0.3, reorder_by: ms(50), ..plain() };
    let mut bench = ordered(3, lossy, 1 << 20);
    bench.stream(1_000);
    let early = bench.received(1);
    bench.drain();
    let all = [early.clone(), bench.received(1)].concat();
    assert_eq!(all, (0..1_000).collect::<Vec<_>>(), "none lost, none twice, in order");
    assert!(early.len() < 900, "{} had arrived while some waited to be sent again", early.len());
    assert_eq!((bench.net.stats().lost, bench.net.stats().reordered), (0, 0));
}

#[test]
fn a_cut_delays_an_ordered_connection_and_a_long_one_breaks_it() {
    for (lasts, survives) in [(1_000, true), (5_000, false)] {
        let mut bench = ordered(4, plain(), 1 << 20);
        bench.stream(10);
        let cut = bench.fault();
        bench.net.lay(bench.now, cut, &[(n(0), n(1))], &LinkFault::Block);
        (10..20).for_each(|number| bench.send(0, n(1), number));
        bench.run(lasts * MS);
        assert!(bench.received(1).len() < 10, "what was on its way waits too");
        bench.net.lift(bench.now, cut, &mut bench.schedule);
        let lifted = bench.now;
        bench.send(0, n(1), 77);
        bench.drain();
        let late = bench.received(1);
        assert_eq!(late.last(), Some(&77));
        assert_eq!(late.len() > 10, survives, "{late:?}");
        assert!(late.is_sorted() && bench.now > lifted);
        let held = bench.ledger.entries()[cut.0 as usize].effects[&Effect::MessagesHeld];
        assert!((10..=20).contains(&held), "{held}");
    }
}

#[test]
fn a_connection_that_breaks_loses_all_under_way_and_is_dialled_again_after_a_pause() {
    let mut bench = ordered(5, plain(), 1 << 20);
    bench.stream(3);
    bench.drain();
    bench.received(1);
    for number in 0..5 {
        bench.send(0, n(1), number);
    }
    let id = bench.fault();
    bench.net.reset_links(bench.now, id, &[(n(0), n(1))]);
    bench.send(0, n(1), 9);
    bench.run(25 * MS);
    assert!(bench.received(1).is_empty(), "the next attempt is yet to come");
    bench.run(60 * MS);
    assert_eq!(bench.received(1), [9]);
    // A corrupted frame breaks the connection too.
    let dirt = bench.fault();
    let ruin = LinkFault::Degrade(LinkSettings { corrupt: 1.0, ..LinkSettings::CLEAN });
    bench.net.lay(bench.now, dirt, &[(n(0), n(1))], &ruin);
    bench.send(0, n(1), 10);
    bench.drain();
    assert!(bench.received(1).is_empty());
    assert_eq!(bench.ledger.entries()[dirt.0 as usize].effects[&Effect::ConnectionsBroken], 1);
}

#[test]
fn who_comes_back_is_dialled_when_the_pause_is_over() {
    let mut bench = ordered(6, plain(), 1 << 20);
    bench.stream(3);
    bench.net.reset(bench.now, n(1));
    bench.run(3_000 * MS);
    bench.send(0, n(1), 1);
    bench.ends[1] = bench.net.bind(bench.now, n(1));
    bench.send(0, n(1), 2);
    bench.run(2_100 * MS);
    assert_eq!(bench.received(1), [2], "frames to an address without a listener are lost");
    assert_eq!(bench.net.stats().unbound, 1);
}

#[test]
fn queues_are_bounded_in_bytes() {
    for carriage in [Carriage::Datagrams, Carriage::Ordered] {
        let narrow = LinkSettings { bandwidth: Some(1_000), ..plain() };
        let mut bench = ordered(7, narrow, 40);
        bench.net.settings.carriage = carriage;
        for number in 0..30 {
            bench.send(0, n(1), number);
        }
        assert_eq!(bench.net.stats().link_full, 20, "room for ten frames of four bytes");
        assert_eq!(bench.net.waiting_bytes(bench.now, bench.ends[0].endpoint), 40);
        let waiting = bench.net.waiting(bench.ends[0]);
        assert!(waiting.most_bytes() >= 40);
        bench.run(9 * MS);
        assert_eq!(bench.net.waiting_bytes(bench.now, bench.ends[0].endpoint), 32, "a byte a millisecond");
        bench.drain();
        assert_eq!(bench.received(1), (0..10).collect::<Vec<_>>());
        assert_eq!(bench.net.waiting_bytes(bench.now, bench.ends[0].endpoint), 0);
        assert_eq!(waiting.most_bytes(), 0);
    }
}

#[test]
fn all_that_waits_for_clients_shares_a_limit() {
    let full = |bug| {
        let mut bench = Bench::new(7, LinkSettings { bandwidth: Some(1_000), ..plain() });
        let settings = &mut bench.net.settings;
        (settings.queue, settings.to_clients, settings.bug) = (12, 20, bug);
        for number in 0..8 {
            bench.send(0, n(1), number);
            bench.send(0, Addr::Client(0), number);
            bench.send(0, Addr::Client(1), number);
        }
        (bench.net.stats().link_full, bench.net.waiting_bytes(bench.now, bench.ends[0].endpoint))
    };
    assert_eq!(full(None), (16, 32), "three frames to the peer, three to one client and two to the other");
    assert_eq!(full(Some(WorldBug::QueuesUnbounded)).1, 32 + 20, "and eight to the peer");
}

#[test]
fn what_is_delayed_arrives_among_what_was_sent_later() {
    for carriage in [Carriage::Datagrams, Carriage::Ordered] {
        let mut bench = Bench::new(8, plain());
        bench.net.settings.carriage = carriage;
        let late = bench.fault();
        bench.net.lay(bench.now, late, &[(n(0), n(1))], &LinkFault::Delay(ms(2_000)));
        bench.stream(5);
        bench.net.lift(bench.now, late, &mut bench.schedule);
        for number in 5..10 {
            bench.send(0, n(1), number);
        }
        bench.drain();
        assert_eq!(bench.received(1), [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]);
        assert_eq!(bench.ledger.entries()[late.0 as usize].effects[&Effect::MessagesDelayed], 5);
    }
}
