//! Figures of the simulated world alone, without any database in it. Run with `cargo run --release --config
//! build.rustflags=['--cfg','madsim'] --target-dir target/sim -p seaworthy-sim --example world_bench`.

#[cfg(madsim)]
fn main() {
    bench::all();
}

#[cfg(not(madsim))]
fn main() {
    eprintln!("build it with --cfg madsim");
    std::process::exit(2);
}

#[cfg(madsim)]
mod bench {
    use seaworthy::env::{Clock, Transport};
    use seaworthy::storage::Disk;
    use seaworthy::types::{Addr, Lane, NodeId};
    use seaworthy::wire::{Packet, Request, RequestBody};
    use seaworthy_sim::world::Latency;
    use seaworthy_sim::world::clock::ClockSettings;
    use seaworthy_sim::world::disk::{DiskHandle, DiskSettings};
    use seaworthy_sim::world::ledger::Ledger;
    use seaworthy_sim::world::net::{Carriage, LinkSettings, Net, NetSettings};
    use seaworthy_sim::world::runtime::{CpuSettings, NodeEnv, Process, World, WorldSettings};
    use seaworthy_sim::world::schedule::{Due, Schedule};
    use seaworthy_sim::world::trace::{Kind, Trace};
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    const MS: u64 = 1_000_000;
    const CLOCK: ClockSettings = ClockSettings { start: 0, epoch: 1 << 60, drift_ppm: 10, bug: None };

    pub fn all() {
        trace();
        models();
        disk();
        runtimes();
        ping_pong();
        idle();
    }

    fn settings() -> WorldSettings {
        let ms = Duration::from_millis;
        let links = LinkSettings { latency: Latency::uniform(ms(1), ms(4)), ..LinkSettings::CLEAN };
        let disk = DiskSettings {
            per_operation: Duration::from_micros(5),
            per_kib: Duration::from_micros(1),
            sync: Latency::uniform(ms(1), ms(4)),
            capacity: 1 << 34,
            block_sectors: 1,
            bug: None,
        };
        let net = NetSettings {
            server_links: links.clone(),
            client_links: links,
            carriage: Carriage::Datagrams,
            queue: 64 << 20,
            to_clients: 64 << 20,
            link_limit: 100_000,
            mailbox_limit: 100_000,
            mailbox_bytes: 1 << 30,
            bug: None,
        };
        WorldSettings { seed: 1, net, disk, tcp: None, cpu: CpuSettings::default() }
    }

    /// CPU time of this process, with the system's resolution of 10 ms. The machine may be busy with something else.
    struct Cpu(Duration);

    impl Cpu {
        fn now() -> Cpu {
            let stat = std::fs::read_to_string("/proc/self/stat").expect("a system with /proc");
            let ticks =
                |n: usize| stat.split_whitespace().nth(n).and_then(|t| t.parse::<u64>().ok()).expect("a number");
            Cpu(Duration::from_millis((ticks(13) + ticks(14)) * 10))
        }

        fn elapsed(&self) -> Duration {
            Cpu::now().0 - self.0
        }
    }

    fn rate(what: &str, count: u64, begun: &Cpu) {
        let took = begun.elapsed();
        let each = took.as_nanos() as f64 / count as f64;
        println!("{what}: {count} in {took:.2?} of CPU, {each:.0} ns each, {:.2} M/s", 1e3 / each);
    }

    fn trace() {
        let (trace, count) = (Trace::new(), 20_000_000);
        let (from, to) = (Addr::Node(NodeId(1)), Addr::Node(NodeId(2)));
        let begun = Cpu::now();
        (0..count).for_each(|i| trace.event(i, Kind::Deliver, from, to, [i, 0, 0]));
        rate("trace events", count, &begun);
        assert_ne!(trace.hash(), 0);
    }

    /// The network model without an executor: 100-byte frames between five endpoints, 1000 in flight.
    fn models() {
        let mut net = Net::new(1, settings().net, Trace::new(), Ledger::default());
        let mut schedule = Schedule::default();
        let mut under_way = BinaryHeap::new();
        let addrs: Vec<Addr> = (0..5).map(|i| Addr::Node(NodeId(i))).collect();
        let ends: Vec<_> = addrs.iter().map(|addr| net.bind(0, *addr)).collect();
        let frame = bytes::Bytes::from(vec![7; 100]);
        let (count, mut now) = (3_000_000u64, 0);
        let begun = Cpu::now();
        for i in 0..count as usize {
            let (from, to) = (i % 5, (i + 1 + i / 5 % 4) % 5);
            net.send(now, ends[from].endpoint, (addrs[to], Lane::Control), (frame.clone(), None), &mut schedule);
            now += 3_000;
            while let Some((at, Due::Frame(slot))) = schedule.take() {
                under_way.push(Reverse((at, slot)));
            }
            while let Some(Reverse((_, slot))) = under_way.peek().copied().filter(|Reverse((at, _))| *at <= now) {
                under_way.pop();
                net.deliver(now, slot);
            }
            net.take(ends[to], None);
        }
        rate("network model, frames sent and delivered", count, &begun);
    }

    fn disk() {
        let now = Arc::new(AtomicU64::new(0));
        let time = now.clone();
        let handle = DiskHandle::new(
            1,
            NodeId(1),
            settings().disk,
            Arc::new(move || time.load(Ordering::Relaxed)),
            Trace::new(),
            Ledger::default(),
        );
        let mut disk = handle.attach();
        let file = disk.open("log", true).unwrap();
        let begun = Cpu::now();
        disk.allocate(file, 1 << 30).unwrap();
        println!("disk, allocate 1 GiB: {:.2?}", begun.elapsed());
        for bytes in [512u64, 4096] {
            let data = vec![7; bytes as usize];
            let count = 100_000;
            let begun = Cpu::now();
            for i in 0..count {
                disk.write_at(file, i * bytes % (16 << 20), &data).unwrap();
                disk.sync(file).unwrap();
                now.store(handle.busy_until(), Ordering::Relaxed);
            }
            rate(&format!("disk, write of {bytes} B and sync, round a file of 16 MiB"), count, &begun);
        }
    }

    fn runtimes() {
        let count = 2_000;
        let begun = Cpu::now();
        for seed in 0..count {
            std::thread::spawn(move || {
                let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
                runtime.block_on(async {});
            })
            .join()
            .unwrap();
        }
        rate("thread and madsim runtime, made and dropped", count, &begun);
        let before = resident();
        let begun = Cpu::now();
        for _ in 0..count {
            run(|world| async move {
                (0..5).for_each(|id| world.add_node(NodeId(id), (CLOCK, 0), heartbeat));
                world.sleep_until(MS).await;
            });
        }
        rate("thread, runtime and world of five nodes", count, &begun);
        println!("  resident memory grew by {} kB over {count} of them", resident().saturating_sub(before));
    }

    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
    }

    /// Runs `body` in a separate world and returns the hash of the trace.
    fn run<F, Fut>(body: F) -> u128
    where
        F: FnOnce(Arc<World>) -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        std::thread::spawn(move || {
            let runtime = madsim::runtime::Runtime::with_seed_and_config(1, madsim::Config::default());
            runtime.block_on(async {
                let world = World::new(settings(), Trace::new(), Ledger::default());
                body(world.clone()).await;
                world.shutdown().await;
                world.trace().hash()
            })
        })
        .join()
        .expect("the world holds")
    }

    fn packet() -> Packet {
        Packet::from(Request::new(7, RequestBody::Get { key: vec![7; 40].into() }))
    }

    /// Five nodes, each keeping 100 real packets in circulation: everything except a database.
    fn ping_pong() {
        let begun = Cpu::now();
        let delivered = Arc::new(AtomicU64::new(0));
        let result = delivered.clone();
        run(move |world| async move {
            (0..5).for_each(|id| {
                world.add_node(NodeId(id), (CLOCK, 0), |mut env: NodeEnv| -> Process {
                    Box::pin(async move {
                        for i in 0..100 {
                            env.transport.send(Addr::Node(NodeId((env.id.0 + 1 + i % 4) % 5)), &packet());
                        }
                        loop {
                            let (from, packet) = env.transport.recv().await;
                            env.transport.send(from, &packet);
                        }
                    })
                });
            });
            world.sleep_until(6_000 * MS).await;
            delivered.store(world.net_stats().delivered, Ordering::Relaxed);
        });
        rate("packets encoded, sent, delivered, decoded under madsim", result.load(Ordering::Relaxed), &begun);
    }

    async fn beat(mut env: NodeEnv) {
        loop {
            let next = env.clock.now() + Duration::from_millis(50);
            loop {
                tokio::select! {
                    biased;
                    (from, packet) = env.transport.recv() => if env.id.0 != 0 { env.transport.send(from, &packet) },
                    () = env.clock.sleep_until(next) => break,
                }
            }
            if env.id.0 == 0 {
                (1..5).for_each(|peer| env.transport.send(Addr::Node(NodeId(peer)), &packet()));
            }
        }
    }

    fn heartbeat(env: NodeEnv) -> Process {
        Box::pin(beat(env))
    }

    /// A leader that sends a heartbeat every 50 ms and four followers that answer. Each has a deadline on its own
    /// drifting clock.
    fn idle() {
        let simulated = 10_000;
        let begun = Cpu::now();
        let hash = run(move |world| async move {
            (0..5).for_each(|id| world.add_node(NodeId(id), (CLOCK, 0), heartbeat));
            world.sleep_until(simulated * 1_000 * MS).await;
        });
        let took = begun.elapsed();
        println!(
            "idle: {simulated} simulated seconds in {took:.2?} of CPU, {:.0} s/s, trace {hash:032x}",
            simulated as f64 / took.as_secs_f64()
        );
    }
}
