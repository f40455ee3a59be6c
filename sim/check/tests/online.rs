//! The online checker compared with trying every order of every prefix.

mod common;

use common::{Rng, Shape, brute_force, generate, mutate, record};
use seaworthy_check::model::kv::Kv;
use seaworthy_check::online::{Bounds, Impossible, Online};
use seaworthy_check::{History, Recorder};

/// Feeds a history event by event: the checker sees no reply before its event.
fn feed(history: &History, bounds: Bounds) -> (Option<Impossible>, bool) {
    let mut online = Online::new(Kv, bounds);
    let mut broken = None;
    for (event, op, returned) in history.in_order() {
        if !returned {
            online.called(history, op);
        } else if let Err(impossible) = online.ended(history, op) {
            assert_eq!((impossible.event, impossible.op), (event, op));
            broken = broken.or(Some(impossible));
        }
    }
    let lost = online.given_up().next().is_some() && broken.is_none();
    (broken, lost)
}

#[test]
fn tells_the_first_impossible_event() {
    let count = std::env::var("CHECK_HISTORIES").map_or(30_000, |n| n.parse().expect("CHECK_HISTORIES is a number"));
    let mut rng = Rng(23);
    let (mut impossible, mut possible) = (0, 0);
    for n in 0..count {
        let shape = Shape {
            ops: 2 + rng.below(6) as usize,
            processes: 2 + rng.below(3) as usize,
            keys: 1 + u64::from(rng.percent(10)),
            values: [0, 0, 1, 2, 3][rng.below(5) as usize],
            info: [0, 10, 40][rng.below(3) as usize],
            fail: [0, 10][rng.below(2) as usize],
            conditional: [0, 30, 70][rng.below(3) as usize],
            revisions: [0, 50, 100][rng.below(3) as usize],
        };
        let mut raws = generate(shape, &mut rng);
        for _ in 0..rng.below(3) {
            mutate(&mut raws, &mut rng);
        }
        let history = record(&raws);
        let (found, lost) = feed(&history, Bounds { configurations: 1_000_000, open: 64 });
        assert!(!lost);
        let orders = |events: u32| {
            (0..history.keys())
                .all(|key| brute_force(&history, &history.key(seaworthy_check::KeyId(key)), events, None))
        };
        match found {
            Some(Impossible { event, .. }) => {
                assert!(!orders(event + 1), "history {n}: event {event} is possible: {raws:#?}");
                assert!(orders(event), "history {n}: impossible before event {event}: {raws:#?}");
                impossible += 1;
            }
            None => {
                assert!(orders(u32::MAX), "history {n}: not seen: {raws:#?}");
                possible += 1;
            }
        }
    }
    assert!(impossible > count / 6 && possible > count / 4, "{impossible} impossible, {possible} possible: one-sided");
}

/// Many writes of unknown outcome, without revisions, give more configurations than the bounds allow.
#[test]
fn gives_a_key_up_at_the_bounds() {
    let mut log = Recorder::default();
    let mut online = Online::new(Kv, Bounds { configurations: 100, open: 50 });
    for process in 0..20 {
        let op = log.invoke(process, 0, "k", seaworthy_check::Call::put(&format!("v{process}")));
        online.called(log.history(), op);
        log.info(op, 0);
        assert_eq!(online.ended(log.history(), op), Ok(()));
    }
    assert_eq!(online.given_up().count(), 0);
    let op = log.invoke(20, 0, "k", seaworthy_check::Call::put("last"));
    online.called(log.history(), op);
    log.ok(op, 0, seaworthy_check::Reply::Done { revision: None });
    assert_eq!(online.ended(log.history(), op), Ok(()));
    assert_eq!(online.given_up().count(), 1);
}
