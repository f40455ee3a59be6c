//! One run: executes a plan against a cluster and judges the result.
//!
//! Everything happens on a fresh thread with a fresh madsim runtime, seeded with the plan's seed. The run ends early at
//! the first step that breaks an invariant. Either a node's own assertion or the oracle panics; the panic is caught
//! around the node and becomes the verdict. Or a reply makes the clients' history impossible. What clients saw until
//! then is kept.
//!
//! The same plan can run against Raft and against quorums. The same operations are due at the same instants. The same
//! faults hit the same servers if the second run gets the fault targets of the first ([`Options::met`]).
//!
//! - [`cluster`](self): nodes booted on the simulated world. `nemesis`: the plan's faults. `workload`: its clients.
//!   `quorums`: what clients do differently under quorums. `merges`: operations on keys of a mergeable type.
//!   `key_timeline`: the timeline of one key. `convergence`: what replicas hold and whether it is the same.
//! - `beside`: a CP bucket that other clients load at the same time on the same servers.
//! - `abort`: panics of nodes. `verdict`: the judgement, from recorded facts only.

mod abort;
mod beside;
mod cluster;
mod convergence;
mod data_checks;
mod directories;
mod key_timeline;
mod merges;
mod nemesis;
mod quorums;
mod tcp;
mod verdict;
mod workload;

pub use key_timeline::KeyTimeline;
pub use nemesis::FaultTargets;

use crate::mutants::Planted;
use crate::oracle::{Oracle, Replica, Violation};
use crate::plan::{Call, How, Plan, What, When};
use crate::report::{Mode, Outcome, RunRecord, TraceHash, Verdict};
use crate::settings::{Suits, Transport};
use crate::world::clock::ClockSettings;
use crate::world::ledger::{self, Ledger};
use crate::world::runtime::{SimClock, SimTransport, World};
use crate::world::trace::Trace;
use crate::world::{lock, nanos};
use abort::Abort;
use bytes::Bytes;
use cluster::{Cluster, Refusals};
use key_timeline::Watch;
use quorums::Quorums;
use seaworthy::client::{Client, Patience};
use seaworthy::node::tcp::TcpClientTransport;
use seaworthy::placement::Layout;
use seaworthy::storage::StorageError;
use seaworthy::types::{Addr, MergeKind, NodeId, Rng};
use seaworthy_check::History;
use seaworthy_check::model::kv::Kv;
use seaworthy_check::online::{Bounds, Online};
use seaworthy_check::replicas::{Dump, Observed};
use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tcp::Way;
use workload::{Log, Record, WorkloadClient};

/// How a plan is run.
pub struct Options {
    /// The bug planted in every node, or in their world.
    pub mutant: Option<Planted>,
    /// Where the full trace is written.
    pub trace: Option<Box<dyn Write + Send>>,
    /// Which of the two databases the plan runs against.
    pub mode: Mode,
    /// Fault targets from an earlier run of the same plan ([`Finished::met`]). Without an entry, a fault that targets
    /// the leader hits the server elected last, or the first server if there was no election yet.
    pub met: FaultTargets,
    /// The key whose timeline is recorded, in a run against quorums.
    pub watch: Option<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options { mutant: None, trace: None, mode: Mode::Cp, met: FaultTargets::new(), watch: None }
    }
}

/// The results of a run.
pub struct Finished {
    /// Figures and verdict.
    pub record: RunRecord,
    /// What clients did and saw.
    pub history: History,
    /// In a run against quorums: the operations as the replica checker needs them, what replicas held at the end, and
    /// the promises checked.
    pub observed: Option<(Observed, seaworthy_check::replicas::Options)>,
    /// What clients of the CP bucket did and saw, if the same servers had one beside an AP bucket.
    pub beside: Option<History>,
    /// What each node held for quorums at the end.
    pub replicas: BTreeMap<NodeId, Replica>,
    /// The timeline of the watched key ([`Options::watch`]).
    pub key_timeline: KeyTimeline,
    /// The targets of each fault.
    pub met: FaultTargets,
    /// The fault ledger.
    pub ledger: Vec<ledger::Entry>,
    /// Nodes that stopped because of their storage, with the error.
    pub refusals: Vec<(NodeId, StorageError)>,
}

/// Returns the fault targets that a run in `mode` must use: against quorums those of a run against Raft, if the plan suits
/// both databases and aims at leaders. Otherwise none: the run finds them by itself.
#[must_use]
pub fn fault_targets(plan: &Arc<Plan>, mode: Mode) -> FaultTargets {
    match mode == Mode::Ap && plan.bucket.mode == Suits::Both && plan.aims_at_leaders() {
        true => run(plan, Options::default()).met,
        false => FaultTargets::new(),
    }
}

/// Which servers store which key in a run of `plan`.
#[must_use]
pub fn layout(plan: &Plan, mode: Mode) -> Layout {
    cluster::layout(plan, mode)
}

/// Executes `plan` on a fresh thread and judges the result.
///
/// # Panics
/// The system cannot start a thread.
#[must_use]
pub fn run(plan: &Arc<Plan>, options: Options) -> Finished {
    let plan = plan.clone();
    let thread = thread::Builder::new().name(RUN_THREAD.into()).spawn(move || on_this_thread(&plan, options));
    thread.expect("the system has a thread for a run").join().expect("a run catches its own panics")
}

/// What the run shares with code outside it. This survives a run that unwinds.
#[derive(Clone, Default)]
struct Traces {
    trace: Trace,
    ledger: Ledger,
    oracle: Oracle,
    record: Arc<Mutex<Record>>,
    /// What the clients of the CP bucket did and saw.
    beside: Arc<Mutex<Record>>,
    refusals: Refusals,
    abort: Abort,
    met: Arc<Mutex<FaultTargets>>,
    ending: Arc<Mutex<Ending>>,
    watch: Option<Watch>,
}

impl Traces {
    /// Describes how far the run has come.
    fn when(&self) -> String {
        let at = Duration::from_nanos(self.trace.last());
        format!("seen {:.6} s into the run, after {} events", at.as_secs_f64(), self.trace.events())
    }
}

/// How far a run came.
#[derive(Default)]
struct Ending {
    sim_ns: u64,
    messages: u64,
    bytes: u64,
    divergence: Option<String>,
    dumps: Vec<Dump>,
    /// When the final reads began, after waiting for convergence.
    final_from: Option<u64>,
    heal_ns: Option<u64>,
    elections: u64,
    /// Log entries sent, and sent again.
    entries: (u64, u64),
    tombstones: u64,
}

fn on_this_thread(plan: &Arc<Plan>, options: Options) -> Finished {
    let start = Instant::now();
    let watch = options.watch.map(|key| Watch::new(key.into()));
    let traces = Traces { trace: options.trace.map_or_else(Trace::new, Trace::recording), watch, ..Traces::default() };
    *lock(&traces.met) = options.met;
    let inside = traces.clone();
    let how = (options.mode, options.mutant);
    let unwound = panic::catch_unwind(AssertUnwindSafe(|| {
        let runtime = madsim::runtime::Runtime::with_seed_and_config(plan.seed, madsim::Config::default());
        let aborted = inside.abort.clone();
        runtime.block_on(async move {
            tokio::select! {
                biased;
                () = aborted.aborted() => {}
                () = simulate(plan.clone(), how, inside) => {}
            }
        });
    }));
    let panic = traces.abort.take().or(unwound.err());
    let violation = traces.oracle.violation().or_else(|| panic.map(|payload| assertion(&*payload)));
    let violation = violation
        .map(|Violation { property, detail }| Violation { property, detail: format!("{detail}\n{}", traces.when()) });
    finish(plan, how, &traces, violation, start)
}

fn finish(
    plan: &Plan,
    (mode, mutant): (Mode, Option<Planted>),
    traces: &Traces,
    violation: Option<Violation>,
    start: Instant,
) -> Finished {
    let Record { recorder, due, impossible, mut observed, refusable, lives, .. } =
        std::mem::take(&mut *lock(&traces.record));
    observed.operations.sort_by_cached_key(|op| op.called);
    let history = recorder.finish();
    let ledger: Vec<ledger::Entry> =
        traces.ledger.entries().into_iter().filter(|entry| entry.kind != cluster::REGIONS).collect();
    let faults = verdict::tally(&ledger);
    let ending = std::mem::take(&mut *lock(&traces.ending));
    let refusals = lock(&traces.refusals).clone();
    let promised = data_checks::promised(plan, verdict::spoils_disks(plan), ending.final_from);
    let observed = Observed { dumps: ending.dumps, ..observed };
    let maps = merges::are_kept(plan.bucket.resolve) == Some(MergeKind::Map);
    let observed = if maps { merges::apart(observed) } else { observed };
    let observed = (mode == Mode::Ap).then_some((observed, promised));
    let evidence = verdict::Evidence {
        plan,
        history: &history,
        lives: &lives,
        observed: observed.as_ref().map(|(observed, promised)| (observed, promised)),
        refusable: &refusable,
        violation,
        impossible: impossible.map(|_| traces.when()),
        faults: &faults,
        heal: ending.heal_ns.map(Duration::from_nanos),
        ledger: &ledger,
        divergence: ending.divergence,
        refusals: &refusals,
        elections: ending.elections,
        entries: ending.entries,
        tombstones: ending.tombstones,
    };
    let (verdict, data_checks) = verdict::judge(&evidence);
    let beside = (mode == Mode::Ap && plan.bucket.beside).then(|| std::mem::take(&mut *lock(&traces.beside)));
    let (verdict, beside) = match beside {
        Some(record) => {
            let (other, history) = beside::judge(plan, record, &faults, &ledger);
            (if verdict == Verdict::Pass { other } else { verdict }, Some(history))
        }
        None => (verdict, None),
    };
    let figures = verdict::figures(plan, &history, &due);
    if let Err(error) = traces.trace.finish() {
        eprintln!("warning: the trace could not be written: {error}");
    }
    let outcome = Outcome {
        scenario: plan.scenario.clone(),
        mode,
        seed: plan.seed,
        mutant: mutant.map(|bug| bug.name().to_owned()),
        nodes: plan.cluster.nodes,
        ops: figures.ops,
        faults,
        verdict,
        availability: figures.availability,
        latency: figures.latency,
        recovery_ms: figures.recovery_ms,
        sim_ns: ending.sim_ns.max(traces.trace.last()),
        trace_hash: TraceHash(traces.trace.hash() as u64),
        events: traces.trace.events(),
        messages: ending.messages,
        bytes: ending.bytes,
        linearizable: data_checks.linearizable,
        stale: data_checks.stale,
        staleness: data_checks.staleness,
        conflicts: data_checks.conflicts,
        acknowledged: data_checks.acknowledged,
        lost: data_checks.lost,
        lost_to_policy: data_checks.lost_to_policy,
        heal_ms: ending.heal_ns.map(|ns| ns / 1_000_000),
        sessions: data_checks.sessions,
        ap: (mode == Mode::Ap).then(|| traces.oracle.counts()),
    };
    let record = RunRecord { outcome, wall_ns: nanos(start.elapsed()) };
    let (replicas, met) = (traces.oracle.replicas(), lock(&traces.met).clone());
    let watched = traces.watch.as_ref().zip(observed.as_ref());
    let key_timeline = watched.map(|(watch, (observed, _))| watch.told(plan, observed, &ledger)).unwrap_or_default();
    Finished { record, history, observed, beside, replicas, key_timeline, met, ledger, refusals }
}

/// Client 0 sends the nemesis' orders. It is never partitioned.
const OPERATOR: u64 = 0;

/// The run itself, inside the runtime.
async fn simulate(plan: Arc<Plan>, (mode, mutant): (Mode, Option<Planted>), traces: Traces) {
    let cluster = Arc::new(Cluster::start(&plan, (mode, mutant), &traces));
    let world = cluster.world.clone();
    let values = Arc::new(words(&plan));
    let bug = Planted::in_world(mutant);
    let log = Log { record: traces.record.clone(), time: world.time_source(), abort: traces.abort.clone(), bug };
    let online = mode == Mode::Cp && plan.expect.linearizable && !plan.expires();
    {
        let mut record = lock(&log.record);
        record.online = online.then(|| Online::new(Kv, Bounds::default()));
        record.due.reserve(plan.events.len());
        if mode == Mode::Ap {
            record.observed.operations.reserve(plan.events.len());
        }
    }
    let clients = plan.workload.all_clients();
    let mut work = Vec::new();
    for (number, operations) in operations(&plan) {
        let mut workload_client =
            workload_client(&world, (&plan, &cluster.layout), (number, mode), values.clone(), &log);
        let spawner = (plan.cluster.transport == Transport::Tcp).then(|| world.host(Addr::Client(u64::from(number))));
        let plan = plan.clone();
        let workload_client = async move { workload_client.work(&plan, &operations).await };
        work.push(match spawner {
            None => madsim::task::spawn(workload_client),
            Some(host) => host.spawn(workload_client),
        });
    }
    let shares = mode == Mode::Ap && plan.bucket.beside;
    let beside = shares.then(|| beside::Beside::new(&plan, &cluster, (&values, &traces), bug));
    work.extend(beside.iter().flat_map(beside::Beside::start));
    let before = plan.expect.elections.map(|_| {
        let (cluster, warm) = (cluster.clone(), nanos(plan.time.warmup));
        madsim::task::spawn(async move {
            cluster.world.sleep_until(warm).await;
            cluster.oracle.elections()
        })
    });
    let storm = madsim::task::spawn(nemesis::storm(plan.clone(), cluster.clone(), traces.met.clone()));
    let healing = {
        let (cluster, calm, ending) = (cluster.clone(), nanos(plan.time.storm_ends()), traces.ending.clone());
        madsim::task::spawn(async move {
            // One millisecond later, so that the nemesis has finished.
            cluster.world.sleep_until(calm + 1_000_000).await;
            let healed = cluster.heals(mode).await;
            lock(&ending).heal_ns = Some(healed);
        })
    };
    for task in work {
        task.await.expect("a client's task ends by itself");
    }
    let before = match before {
        Some(count) => count.await.expect("the count's task ends by itself"),
        None => 0,
    };
    storm.await.expect("the nemesis' task ends by itself");
    world.sleep_until(nanos(plan.time.ends())).await;
    let mut last = workload_client(&world, (&plan, &cluster.layout), (clients + 1, mode), values, &log);
    let mut divergence = cluster.converge(mode, plan.time.grace).await;
    if shares {
        divergence = divergence.or(cluster.converge(Mode::Cp, plan.time.grace).await);
    }
    let final_from = Some(world.now());
    let reads = keys(&plan);
    let reading = async move {
        for key in reads {
            last.perform(&Call::Get { key }, How::default(), None).await;
        }
    };
    match plan.cluster.transport {
        Transport::Model => reading.await,
        Transport::Tcp => {
            let host = world.host(Addr::Client(u64::from(clients) + 1));
            host.spawn(reading).await.expect("the last reads end by themselves");
        }
    }
    if let Some(beside) = beside {
        beside.read_all().await;
    }
    healing.abort();
    let net = world.net_stats();
    {
        let mut ending = lock(&traces.ending);
        let heal_ns = ending.heal_ns;
        let elections = cluster.oracle.elections() - before;
        let (sim_ns, messages, bytes, dumps) = (world.now(), net.sent, net.bytes, cluster.dumps());
        let (entries, tombstones) = (cluster.oracle.entries_sent(), cluster.oracle.tombstones());
        *ending =
            Ending { sim_ns, messages, bytes, divergence, dumps, final_from, heal_ns, elections, entries, tombstones };
    }
    world.shutdown().await;
}

/// All keys that clients ask for: randomly drawn keys in the order of their numbers, then keys of the script.
fn keys(plan: &Plan) -> Vec<String> {
    let draws = plan.workload.rate > 0 || plan.workload.think.is_some();
    let mut keys: Vec<String> = (1..=plan.workload.keys).filter(|_| draws).map(|number| format!("k{number}")).collect();
    let drawn: BTreeSet<String> = keys.iter().cloned().collect();
    let asked = plan.events.iter().filter_map(|event| match &event.what {
        What::Op { call, .. } => Some(call.key()),
        What::Begin { .. } | What::End(_) => None,
    });
    let others: BTreeSet<&str> = asked.filter(|key| !drawn.contains(*key)).collect();
    keys.extend(others.into_iter().map(str::to_owned));
    keys
}

fn workload_client(
    world: &World,
    (plan, layout): (&Plan, &Arc<Layout>),
    (number, mode): (u32, Mode),
    values: Arc<BTreeMap<String, Bytes>>,
    log: &Log,
) -> WorkloadClient<Way<SimTransport, TcpClientTransport>, SimClock> {
    let settings = ClockSettings { start: 0, epoch: EPOCH, drift_ppm: 0, bug: None };
    let clock = world.new_clock(Addr::Client(u64::from(number)), settings);
    let workload = &plan.workload;
    let (low, high) = (nanos(workload.timeout.low), nanos(workload.timeout.high));
    let patience = Patience {
        operation: Duration::from_nanos(
            Rng::new(plan.seed, &format!("patience of client {number}")).between(low, high),
        ),
        attempt: workload.attempt,
        tries: workload.tries,
        ..Patience::default()
    };
    let rng = Rng::new(plan.seed, &format!("client {number}"));
    let transport = match plan.cluster.transport {
        Transport::Model => Way::Model(world.client(u64::from(number))),
        Transport::Tcp => Way::Tcp(TcpClientTransport::new(tcp::servers(plan))),
    };
    let client = Client::new(transport, clock.clone(), nodes(plan), patience, rng);
    let confusion = Rng::new(plan.seed, &format!("contexts of client {number}"));
    let quorums = (mode == Mode::Ap).then(|| Quorums::new((plan.bucket.clone(), layout.clone()), number, confusion));
    WorkloadClient::new(client, clock, (number, workload.all_clients() + 1), quorums, values, log.clone())
}

/// The wall-clock time at which every simulation starts: 2026-01-01 00:00:00 UTC.
pub const EPOCH: u64 = 1_767_225_600_000_000_000;

fn nodes(plan: &Plan) -> Vec<NodeId> {
    (1..=plan.cluster.nodes).map(NodeId).collect()
}

/// Each client's operations, as indices into the plan's events.
fn operations(plan: &Plan) -> BTreeMap<u32, Vec<usize>> {
    let mut operations: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (position, event) in plan.events.iter().enumerate() {
        if let What::Op { client, .. } = &event.what {
            operations.entry(*client).or_default().push(position);
        }
    }
    operations
}

/// The values for the words that the plan's conditions name.
fn words(plan: &Plan) -> BTreeMap<String, Bytes> {
    let calls = || {
        plan.events.iter().filter_map(|event| match &event.what {
            What::Op { call, .. } => Some(call),
            What::Begin { .. } | What::End(_) => None,
        })
    };
    let named: BTreeSet<&String> = calls()
        .filter_map(|call| match call {
            Call::Put { when: When::Value(word), .. } | Call::Delete { when: When::Value(word), .. } => Some(word),
            _ => None,
        })
        .collect();
    let put = |call: &Call| match call {
        Call::Put { value, .. } if named.contains(&value.word) => Some((value.word.clone(), value.bytes().into())),
        _ => None,
    };
    calls().filter_map(put).collect()
}

const RUN_THREAD: &str = "run";

thread_local! {
    /// Where the panic that is unwinding this thread came from.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Suppresses the output of panics in runs: they become verdicts. Other panics are reported as usual.
pub fn quiet_panics() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if thread::current().name() == Some(RUN_THREAD) {
            let place = info.location().map_or(String::new(), |l| format!(" ({}:{})", l.file(), l.line()));
            PANIC.with_borrow_mut(|panic| *panic = Some(place));
        } else {
            report(info);
        }
    }));
}

/// Converts a node's failed assertion to a violation.
fn assertion(payload: &(dyn Any + Send)) -> Violation {
    let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    let place = PANIC.take().unwrap_or_default();
    Violation { property: "assertion", detail: format!("{}{place}", text.unwrap_or("a panic without a message")) }
}
