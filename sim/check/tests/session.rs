//! Every property weaker than linearizability, compared with its definition on small random histories, and with the
//! other properties: a linearizable history is sequentially consistent, and so on.

mod common;
#[path = "session/oracle.rs"]
mod oracle;

use common::{End, Raw, Rng, Shape, brute_force, generate, record};
use oracle::Oracle;
use seaworthy_check::session::{self, Guarantee, Options, Unit};
use seaworthy_check::{Call, History, Reply, Verdict, Version, linear};

/// Number of histories: the default, or `CHECK_HISTORIES`.
fn histories(sample: u64) -> u64 {
    let asked = std::env::var("CHECK_HISTORIES").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(if cfg!(debug_assertions) { sample } else { sample * 5 })
}

/// Makes some reads return other values written to their key, and swaps two reported revisions.
fn scramble(raws: &mut [Raw], times: u64, rng: &mut Rng) {
    let told = |raw: &Raw| matches!(raw.end, End::Ok(Reply::Done { revision: Some(_) }));
    let told: Vec<usize> = (0..raws.len()).filter(|&i| told(&raws[i])).collect();
    if !told.is_empty() && rng.percent(50) {
        let mut pick = || told[rng.below(told.len() as u64) as usize];
        let (a, b) = (pick(), pick());
        let end = raws[a].end.clone();
        raws[a].end = std::mem::replace(&mut raws[b].end, end);
    }
    for _ in 0..times {
        let at = rng.below(raws.len() as u64) as usize;
        let key = raws[at].key;
        let mut values: Vec<Option<String>> = vec![None];
        for raw in raws.iter().filter(|raw| raw.key == key) {
            if let Call::Put { value, .. } = &raw.call {
                values.push(Some(value.clone()));
            }
        }
        if rng.percent(3) {
            values.push(Some("phantom".to_owned()));
        }
        let value = values[rng.below(values.len() as u64) as usize].clone();
        if let End::Ok(Reply::Got(seen)) = &mut raws[at].end {
            *seen = value.map(|value| Version { value, revision: None });
        }
    }
}

fn shape(rng: &mut Rng) -> Shape {
    Shape {
        ops: 2 + rng.below(5) as usize,
        processes: 2 + rng.below(2) as usize,
        keys: 1 + rng.below(2),
        values: [0, 0, 0, 2][rng.below(4) as usize],
        info: [0, 0, 30][rng.below(3) as usize],
        fail: [0, 10][rng.below(2) as usize],
        conditional: [0, 0, 50][rng.below(3) as usize],
        revisions: [0, 0, 60][rng.below(3) as usize],
    }
}

fn random(rng: &mut Rng, shape: Shape) -> Vec<Raw> {
    let mut raws = generate(shape, rng);
    if rng.percent(85) {
        let times = rng.below(4);
        scramble(&mut raws, times, rng);
    }
    raws
}

/// Counts verdicts, and compares them with the truth.
#[derive(Default, Debug)]
struct Tally {
    valid: u64,
    invalid: u64,
    unknown: u64,
}

impl Tally {
    fn note(&mut self, name: &str, report: &linear::Report, expected: bool, raws: &[Raw]) {
        let invalid = report.violations().next().is_some();
        let unknown = report.unknowns().next();
        match (invalid, unknown) {
            (true, _) => {
                assert!(!expected, "{name}: called invalid: {raws:#?}\n{report}");
                self.invalid += 1;
            }
            (false, None) => {
                assert!(expected, "{name}: called valid: {raws:#?}");
                self.valid += 1;
            }
            (false, Some(_)) => self.unknown += 1,
        }
    }

    fn both_occur(&self, name: &str, n: u64) {
        assert!(self.valid > n / 10 && self.invalid > n / 20, "{name}: {self:?} of {n}: too one-sided");
        assert!(self.unknown < n / 20, "{name}: {self:?} of {n}: too much unknown");
    }
}

#[test]
fn guarantees_are_as_defined() {
    let mut rng = Rng(31);
    let n = histories(4_000);
    let mut tallies: [Tally; 4] = Default::default();
    for _ in 0..n {
        let revisions = [0, 100][rng.below(2) as usize];
        let shape = Shape { ops: 6 + rng.below(5) as usize, revisions, ..shape(&mut rng) };
        let shape =
            if rng.percent(80) { Shape { values: 0, fail: 0, conditional: 0, info: 0, ..shape } } else { shape };
        let mut raws = random(&mut rng, shape);
        scramble(&mut raws, 4, &mut rng);
        let history = record(&raws);
        let options = Options { revisions: rng.percent(80), real_time: rng.percent(50), ..Options::default() };
        let oracles = Oracle::all(&history);
        for (tally, guarantee) in tallies.iter_mut().zip(Guarantee::ALL) {
            let report = session::check_guarantee(&history, guarantee, &options);
            let expected = oracles.iter().any(|oracle| oracle.guarantee(guarantee, &options));
            tally.note(guarantee.name(), &report, expected, &raws);
        }
    }
    for (tally, guarantee) in tallies.iter().zip(Guarantee::ALL) {
        println!("{}: {tally:?}", guarantee.name());
        assert!(tally.invalid > n / 40 && tally.valid > n / 4, "{}: {tally:?}: too one-sided", guarantee.name());
        assert!(tally.unknown < n / 20);
    }
}

#[test]
fn causal_consistency_is_as_defined() {
    let mut rng = Rng(32);
    let n = histories(3_000);
    let mut tallies: [Tally; 3] = Default::default();
    for _ in 0..n {
        let mut raws = {
            let shape = shape(&mut rng);
            random(&mut rng, shape)
        };
        scramble(&mut raws, 3, &mut rng);
        let history = record(&raws);
        let options = Options::default();
        let oracles = Oracle::all(&history);
        let any = |holds: &dyn Fn(&Oracle) -> bool| oracles.iter().any(holds);
        tallies[0].note("CC", &session::check_causal(&history, &options), any(&Oracle::causal), &raws);
        tallies[1].note("CCv", &session::check_causal_convergence(&history, &options), any(&Oracle::convergent), &raws);
        tallies[2].note("CM", &session::check_causal_memory(&history, &options), any(&Oracle::memory), &raws);
    }
    for (tally, name) in tallies.iter().zip(["CC", "CCv", "CM"]) {
        println!("{name}: {tally:?}");
        tally.both_occur(name, n);
    }
}

#[test]
fn sequential_consistency_is_as_defined() {
    let mut rng = Rng(33);
    let n = histories(6_000);
    let mut tally = Tally::default();
    for _ in 0..n {
        let shape = Shape { ops: 2 + rng.below(6) as usize, ..shape(&mut rng) };
        let raws = random(&mut rng, shape);
        let history = record(&raws);
        let report = session::check_sequential(&history, &Options::default());
        tally.note("sequential", &report, oracle::sequential(&history, None), &raws);
        if report.is_valid() {
            let witness = session::sequential_witness(&history, &Options::default()).expect("a witness");
            assert!(oracle::sequential(&history, Some(&witness)), "{witness:?} explains nothing: {raws:#?}");
        }
    }
    println!("{tally:?}");
    tally.both_occur("sequential", n);
    assert_eq!(tally.unknown, 0);
}

#[test]
fn staleness_is_as_defined() {
    let mut rng = Rng(34);
    let n = histories(2_000);
    let (mut zero, mut some, mut never, mut several, mut fast) = (0, 0, 0, 0, 0);
    for _ in 0..n {
        let plain = rng.percent(70);
        let shape = Shape { keys: 1, processes: 3, ops: 4 + rng.below(4) as usize, ..shape(&mut rng) };
        let shape = if plain { Shape { values: 0, conditional: 0, revisions: 0, ..shape } } else { shape };
        let mut raws = random(&mut rng, shape);
        if rng.percent(70) {
            scramble(&mut raws, 2, &mut rng);
        }
        let history = record(&raws);
        if history.keys() == 0 {
            continue;
        }
        let limits = linear::Options::default();
        let found = &session::smallest_delta(&history, Unit::Events, &limits)[0];
        let expected = (0..=history.events() as usize + 1).find(|&delta| delta_atomic(&raws, delta));
        fast += u64::from(found.by == "zones");
        match expected {
            Some(delta) => assert_eq!(found.exact(), Some(delta as u64), "{found:?}: {raws:#?}"),
            None => assert_eq!(found.upper, None, "{found:?}: {raws:#?}"),
        }
        match expected {
            Some(0) => zero += 1,
            Some(_) => some += 1,
            None => never += 1,
        }
        // Events are 1,000 ns apart.
        let ns = &session::smallest_delta(&history, Unit::Nanoseconds, &limits)[0];
        assert_eq!(ns.exact().map(|ns| ns.div_ceil(1_000)), expected.map(|delta| delta as u64), "{ns:?}: {raws:#?}");
        if !raws.iter().all(|raw| oracle::stale_model_knows(&raw.call, &raw.end)) {
            continue;
        }
        let found = &session::smallest_k(&history, &limits)[0];
        let expected = (1..=history.operations().len() + 1).find(|&k| oracle::k_atomic(&history, k));
        assert_eq!(found.exact(), expected.map(|k| k as u64), "{found:?}: {raws:#?}");
        several += u64::from(expected.is_some_and(|k| k > 1));
        if let (Some(k), Some((lower, upper))) = (expected, session::bounds_of_k(&history)[0]) {
            assert!(lower <= k as u64 && k as u64 <= upper, "{k} is not in {lower}..={upper}: {raws:#?}");
        }
    }
    println!("Δ: {zero} zero, {some} more, {never} never, {fast} by zones; k > 1: {several}, of {n}");
    assert!(zero > n / 5 && some > n / 20 && never > n / 100 && several > n / 20 && fast > n / 4);
}

/// Returns whether the only key is linearizable when every read is called this many events earlier.
fn delta_atomic(raws: &[Raw], delta: usize) -> bool {
    let mut raws = raws.to_vec();
    for raw in &mut raws {
        let early = if matches!(raw.call, Call::Get) { delta } else { 0 };
        raw.events =
            ((1_000 + raw.events.0 - early) * 1_000 + raw.events.0, raw.events.1.map(|e| (1_000 + e) * 1_000 + e));
    }
    // The oracle needs operations in the order of their calls.
    raws.sort_by_key(|raw| raw.events.0);
    let key = format!("k{}", raws[0].key);
    brute_force(&record(&raws), &key, u32::MAX, None)
}

#[test]
fn each_property_implies_the_weaker_ones() {
    let mut rng = Rng(35);
    let n = histories(6_000);
    let mut counts = [0u64; 5];
    for _ in 0..n {
        let shape = Shape { ops: 4 + rng.below(14) as usize, processes: 2 + rng.below(4) as usize, ..shape(&mut rng) };
        let raws = random(&mut rng, shape);
        let history = record(&raws);
        let told = Options::default();
        let free = Options { revisions: false, ..told };
        let strict = Options { real_time: true, ..told };
        let verdict = |report: &linear::Report| match (report.violations().next(), report.unknowns().next()) {
            (Some(_), _) => Some(false),
            (None, None) => Some(true),
            (None, Some(_)) => None,
        };
        let linear = verdict(&seaworthy_check::check(&history, &linear::Options::default()));
        let sequential = verdict(&session::check_sequential(&history, &told));
        let convergent = verdict(&session::check_causal_convergence(&history, &free));
        let memory = verdict(&session::check_causal_memory(&history, &free));
        let causal = verdict(&session::check_causal(&history, &free));
        let implies = |a: Option<bool>, b: Option<bool>, what: &str| {
            assert!(!(a == Some(true) && b == Some(false)), "{what}: {raws:#?}");
        };
        implies(linear, sequential, "linearizable, not sequential");
        implies(sequential, convergent, "sequential, not convergent");
        implies(sequential, memory, "sequential, not a causal memory");
        implies(convergent, causal, "convergent, not causal");
        implies(memory, causal, "a causal memory, not causal");
        let guarantees = |options| session::check_guarantees(&history, options);
        for report in &guarantees(&free) {
            implies(convergent, verdict(report), report.property);
        }
        for report in &guarantees(&told) {
            implies(sequential, verdict(report), report.property);
        }
        for report in &guarantees(&strict) {
            implies(linear, verdict(report), report.property);
        }
        if linear == Some(true) {
            let deltas = session::smallest_delta(&history, Unit::Nanoseconds, &linear::Options::default());
            assert!(deltas.iter().all(|bound| bound.exact() == Some(0)), "{deltas:?}: {raws:#?}");
            assert_eq!(session::measure(&history).get("stale reads"), Some(0.0), "{raws:#?}");
            assert!(session::check_phantom_writes(&history).violations().next().is_none());
            assert!(session::check_lost_writes(&history, &told).violations().next().is_none(), "{raws:#?}");
            assert!(session::check_convergence(&history, &told).violations().next().is_none(), "{raws:#?}");
        }
        for (count, holds) in counts.iter_mut().zip([linear, sequential, convergent, memory, causal]) {
            *count += u64::from(holds == Some(true));
        }
    }
    println!("of {n}: linear, sequential, convergent, memory, causal: {counts:?}");
    assert!(
        counts[0] > n / 10 && counts[1] > counts[0] && counts[4] > counts[1] && counts[4] < n * 9 / 10,
        "{counts:?}"
    );
}

/// With repeated values the verdict is unknown.
#[test]
fn equal_values_are_not_guessed_at() {
    let shape = Shape { ops: 3_000, processes: 5, keys: 2, values: 3, info: 0, fail: 0, conditional: 0, revisions: 0 };
    let history: History = record(&generate(shape, &mut Rng(5)));
    let report = session::check_causal(&history, &Options::default());
    assert!(matches!(&report.parts[0].verdict, Verdict::Unknown(why) if why.contains("equal values")), "{report}");
}
