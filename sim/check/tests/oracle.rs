//! The search against a checker that tries every order, on random small histories: valid ones and mutated ones, with and
//! without unknown outcomes, revisions, conditions and repeated values.

mod common;

use common::{Rng, Shape, brute_force, generate, mutate, record};
use seaworthy_check::{Options, Verdict, check};

const HISTORIES: u64 = if cfg!(debug_assertions) { 20_000 } else { 250_000 };

#[test]
fn agrees_with_trying_every_order() {
    let mut rng = Rng(7);
    let (mut valid, mut invalid) = (0u64, 0u64);
    for n in 0..HISTORIES {
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
        let mutations = rng.below(4);
        for _ in 0..mutations {
            mutate(&mut raws, &mut rng);
        }
        let history = record(&raws);
        let report = check(&history, &Options::default());
        for key in &report.parts {
            let expected = brute_force(&history, &key.name, u32::MAX, None);
            assert!(mutations > 0 || expected, "history {n}: the generator made an impossible history: {raws:#?}");
            match &key.verdict {
                Verdict::Valid => {
                    assert!(expected, "history {n}: called valid: {raws:#?}");
                    valid += 1;
                }
                Verdict::Invalid(evidence) => {
                    assert!(!expected, "history {n}: called invalid: {raws:#?}\n{evidence}");
                    assert!(evidence.minimal);
                    let (breaks, event) = (evidence.breaks.expect("an operation"), evidence.event.expect("an event"));
                    assert!(evidence.core.contains(&breaks), "history {n}: {raws:#?}\n{evidence}");
                    // The prefix is impossible, and without its last event it is not.
                    assert!(!brute_force(&history, &key.name, event + 1, None), "history {n}: {raws:#?}");
                    assert!(brute_force(&history, &key.name, event, None), "history {n}: {raws:#?}");
                    // The core alone is impossible; without any one of its operations it is not.
                    let impossible = |core: &[_]| !brute_force(&history, &key.name, event + 1, Some(core));
                    assert!(impossible(&evidence.core), "history {n}: {raws:#?}\n{evidence}");
                    for spared in &evidence.core {
                        let rest: Vec<_> = evidence.core.iter().copied().filter(|op| op != spared).collect();
                        assert!(!impossible(&rest), "history {n}: {spared:?} can be spared: {raws:#?}\n{evidence}");
                    }
                    invalid += 1;
                }
                Verdict::Unknown(why) => panic!("history {n}: {why}: {raws:#?}"),
            }
        }
    }
    assert!(valid > HISTORIES / 4 && invalid > HISTORIES / 6, "{valid} valid, {invalid} invalid: too one-sided");
}
