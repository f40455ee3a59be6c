//! The suite in the simulated world, without bugs and with each planted bug that the suite must catch.

use super::{assert_all, clock, disk, outcome, transport};
use madsim::runtime::Runtime;
use seaworthy::types::{Addr, NodeId};
use seaworthy_sim::mutants::{MADE_FOR, Planted};
use seaworthy_sim::world::bug::WorldBug;
use seaworthy_sim::world::clock::ClockSettings;
use seaworthy_sim::world::disk::{DiskHandle, DiskSettings, SimDisk};
use seaworthy_sim::world::ledger::Ledger;
use seaworthy_sim::world::net::{Carriage, LinkSettings, NetSettings};
use seaworthy_sim::world::runtime::{CpuSettings, SimClock, SimTransport, World, WorldSettings};
use seaworthy_sim::world::trace::Trace;
use seaworthy_sim::world::{Latency, TimeSource};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Bugs of the world that the suite finds, each with the check that finds it.
const FINDS: [(WorldBug, &str); 5] = [
    (WorldBug::PastEndReads, "reads are exact"),
    (WorldBug::OvertakenUnasked, "frames keep their order and their contents"),
    (WorldBug::MailOutlives, "the mail of the dead is lost"),
    (WorldBug::LatencyIgnored, "frames take their time"),
    (WorldBug::SleepsEndEarly, "a sleep lasts as long as asked for"),
];

const LATENCY: Duration = Duration::from_millis(2);

fn disk_settings(bug: Option<WorldBug>) -> DiskSettings {
    DiskSettings {
        per_operation: Duration::from_micros(10),
        per_kib: Duration::from_micros(1),
        sync: Latency::uniform(Duration::from_millis(1), Duration::from_millis(1)),
        capacity: 1 << 30,
        block_sectors: 1,
        bug,
    }
}

struct Sectors {
    handle: DiskHandle,
    disk: SimDisk,
    now: Arc<AtomicU64>,
}

impl Sectors {
    fn new(bug: Option<WorldBug>) -> Sectors {
        let now = Arc::new(AtomicU64::new(0));
        let time = now.clone();
        let time: TimeSource = Arc::new(move || time.load(Relaxed));
        let handle = DiskHandle::new(1, NodeId(1), disk_settings(bug), time, Trace::new(), Ledger::default());
        Sectors { disk: handle.attach(), handle, now }
    }
}

impl disk::Bench for Sectors {
    type Disk = SimDisk;

    fn disk(&mut self) -> &mut SimDisk {
        self.now.fetch_max(self.handle.busy_until(), Relaxed);
        &mut self.disk
    }

    fn restart(&mut self) {
        self.disk = self.handle.attach();
    }
}

struct Sea {
    world: Arc<World>,
    bug: Option<WorldBug>,
}

impl Sea {
    fn clock_of(&self, addr: Addr) -> SimClock {
        let settings = ClockSettings { start: 5_000, epoch: 1_767_225_600_000_000_000, drift_ppm: 0, bug: self.bug };
        self.world.new_clock(addr, settings)
    }
}

impl transport::Bench for Sea {
    type Transport = SimTransport;
    type Clock = SimClock;

    async fn listen(&mut self, node: NodeId) -> SimTransport {
        self.world.endpoint(Addr::Node(node))
    }

    fn clock(&self) -> SimClock {
        self.clock_of(Addr::Client(0))
    }

    fn least_latency(&self) -> Duration {
        LATENCY
    }
}

/// Runs a test in its own world.
fn at_sea<F: Future<Output = ()>>(bug: Option<WorldBug>, test: impl FnOnce(Sea) -> F + Send) -> Result<(), String> {
    std::thread::scope(|scope| {
        let run = || {
            outcome(|| {
                let runtime = Runtime::with_seed_and_config(1, madsim::Config::default());
                runtime.block_on(async {
                    let latency = Latency::uniform(LATENCY, Duration::from_millis(3));
                    let links = LinkSettings { latency, ..LinkSettings::CLEAN };
                    let net = NetSettings {
                        server_links: links.clone(),
                        client_links: links,
                        carriage: Carriage::Datagrams,
                        queue: 64 << 20,
                        link_limit: 1_000,
                        to_clients: 64 << 20,
                        mailbox_limit: 1_000,
                        mailbox_bytes: 1 << 30,
                        bug,
                    };
                    let settings = WorldSettings {
                        seed: 1,
                        net,
                        disk: disk_settings(bug),
                        tcp: None,
                        cpu: CpuSettings::default(),
                    };
                    let world = World::new(settings, Trace::new(), Ledger::default());
                    test(Sea { world: world.clone(), bug }).await;
                    world.shutdown().await;
                });
            })
        };
        scope.spawn(run).join().expect("a check catches its own panics")
    })
}

/// Runs every check of the suite in a world with this bug, if any, and returns the results.
fn suite(bug: Option<WorldBug>) -> Vec<(&'static str, Result<(), String>)> {
    let mut results = Vec::new();
    for (name, check) in disk::checks::<Sectors>() {
        results.push((name, outcome(|| check(&mut Sectors::new(bug)))));
    }
    for name in transport::CHECKS {
        results.push((name, at_sea(bug, async |mut sea| transport::check(name, &mut sea).await)));
    }
    for name in clock::CHECKS {
        let clock = async |sea: Sea| clock::check(name, &sea.clock_of(Addr::Client(1))).await;
        results.push((name, at_sea(bug, clock)));
    }
    results
}

#[test]
fn the_simulated_world_conforms() {
    assert_all(&suite(None));
}

#[test]
fn bugs_planted_in_the_world_are_caught() {
    for (bug, by) in FINDS {
        let results = suite(Some(bug));
        let failed: Vec<&str> = results.iter().filter(|(_, result)| result.is_err()).map(|(name, _)| *name).collect();
        assert!(failed.contains(&by), "{} is caught by {failed:?}, not by “{by}”", bug.name());
    }
    for bug in WorldBug::ALL {
        let by_scenario = MADE_FOR.iter().any(|made| made.bug == Planted::World(*bug));
        assert!(by_scenario || FINDS.iter().any(|(found, _)| found == bug), "nothing catches {}", bug.name());
    }
}
