//! Both databases at once. While clients load the AP bucket of a run, the same number of other clients load a CP bucket
//! on the same servers, with the same operations at the same instants.
//!
//! Each bucket has its own history. The CP bucket's history is judged as in a run against Raft.

use super::cluster::{BESIDE, Cluster};
use super::verdict::{self, Evidence};
use super::workload::{Log, Record};
use super::{Traces, keys, operations, workload_client};
use crate::plan::{Call, How, Plan, What};
use crate::report::{FaultTally, Mode, Verdict};
use crate::world::bug::WorldBug;
use crate::world::ledger;
use bytes::Bytes;
use madsim::task::JoinHandle;
use seaworthy_check::History;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The lowest number of these clients. No plan has this many clients.
const FIRST: u32 = 2_000;

/// The clients of the CP bucket.
pub(super) struct Beside {
    /// The same operations, with keys of the CP bucket.
    plan: Arc<Plan>,
    cluster: Arc<Cluster>,
    values: Arc<BTreeMap<String, Bytes>>,
    log: Log,
}

impl Beside {
    pub(super) fn new(
        plan: &Plan,
        cluster: &Arc<Cluster>,
        (values, traces): (&Arc<BTreeMap<String, Bytes>>, &Traces),
        bug: Option<WorldBug>,
    ) -> Beside {
        let time = cluster.world.time_source();
        let log = Log { record: traces.beside.clone(), time, abort: traces.abort.clone(), bug };
        Beside { plan: Arc::new(moved(plan)), cluster: cluster.clone(), values: values.clone(), log }
    }

    /// Starts the clients.
    pub(super) fn start(&self) -> Vec<JoinHandle<()>> {
        let work = |(number, operations): (u32, Vec<usize>)| {
            let (plan, world) = (self.plan.clone(), &self.cluster.world);
            let at = (FIRST + number, Mode::Cp);
            let mut workload_client =
                workload_client(world, (&plan, &self.cluster.layout), at, self.values.clone(), &self.log);
            madsim::task::spawn(async move { workload_client.work(&plan, &operations).await })
        };
        operations(&self.plan).into_iter().map(work).collect()
    }

    /// Reads every key at the end of the run.
    pub(super) async fn read_all(&self) {
        let at = (FIRST + self.plan.workload.all_clients() + 1, Mode::Cp);
        let (world, layout) = (&self.cluster.world, &self.cluster.layout);
        let mut last = workload_client(world, (&self.plan, layout), at, self.values.clone(), &self.log);
        for key in keys(&self.plan) {
            last.perform(&Call::Get { key: named(&key) }, How::default(), None).await;
        }
    }
}

fn named(key: &str) -> String {
    match key.strip_prefix(BESIDE) {
        Some(rest) if rest.starts_with('/') => key.to_owned(),
        _ => format!("{BESIDE}/{key}"),
    }
}

/// Returns the plan with all keys moved to the CP bucket.
fn moved(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for event in &mut plan.events {
        if let What::Op { call, .. } = &mut event.what {
            let (Call::Get { key } | Call::Put { key, .. } | Call::Delete { key, .. } | Call::Extend { key, .. }) =
                call;
            *key = named(key);
        }
    }
    plan
}

/// Judges the CP bucket's history.
pub(super) fn judge(
    plan: &Plan,
    record: Record,
    faults: &[FaultTally],
    ledger: &[ledger::Entry],
) -> (Verdict, History) {
    let Record { recorder, lives, refusable, .. } = record;
    let history = recorder.finish();
    let evidence = Evidence {
        plan,
        history: &history,
        lives: &lives,
        observed: None,
        refusable: &refusable,
        violation: None,
        impossible: None,
        faults,
        divergence: None,
        heal: plan.expect.heal,
        ledger,
        elections: 0,
        entries: (0, 0),
        tombstones: 0,
        refusals: &[],
    };
    let verdict = match verdict::judge(&evidence).0 {
        Verdict::Fail { property, detail } => {
            Verdict::Fail { property, detail: format!("in the CP bucket beside: {detail}") }
        }
        verdict => verdict,
    };
    (verdict, history)
}
