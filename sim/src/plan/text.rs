//! The plan as a file: made to be read, edited line by line, and compared with `diff`.
//!
//! ```text
//! seaworthy-plan 1
//! scenario leader-isolated
//! seed 7
//! cluster nodes=3 election_timeout=500ms …
//!   3.214s begin f1 partition target=leader shape=split clients=c1,c4
//!   3.301s c3 put k7 c3-12 size=20 if=cmprev:last
//!   4.800s end f1
//! ```
//!
//! Empty lines and lines that start with `#` are ignored. Settings that are missing in a header line have their
//! defaults. Event lines may be in any order and are sorted by time. Reading checks everything that can be checked
//! without a run: unknown names, faults without an end, words used twice.

use super::target::numbered;
use super::{Call, Clients, Event, Fault, FaultId, How, Kind, Plan, Tag, Target, What, When};
use crate::settings::{
    Bucket, Cluster, Cpu, Disk, Expect, Fields, Network, Problem, Setting, Source, Suits, Times, Workload, suggestion,
};
use seaworthy::types::MAX_VALUE_BYTES;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

const HEADERS: [&str; 11] =
    ["seaworthy-plan", "scenario", "seed", "cluster", "network", "disk", "cpu", "bucket", "workload", "time", "expect"];

impl Plan {
    /// The plan as text.
    #[must_use]
    pub fn write(&self) -> String {
        let mut text = format!("seaworthy-plan 1\nscenario {}\nseed {}\n", self.scenario, self.seed);
        let sections = [
            ("cluster", self.cluster.words()),
            ("network", self.network.words()),
            ("disk", self.disk.words()),
            ("cpu", self.cpu.words()),
            ("bucket", self.bucket.words()),
            ("workload", self.workload.words()),
            ("time", self.time.words()),
            ("expect", self.expect.words()),
        ];
        for (name, words) in sections {
            text += &line(name, &words);
        }
        let phases = [
            (Duration::ZERO, "warm-up"),
            (self.time.warmup, "storm"),
            (self.time.storm_ends(), "calm"),
            (Duration::MAX, ""),
        ];
        let mut phases = phases.iter().peekable();
        for event in &self.events {
            while let Some((_, name)) = phases.next_if(|(begins, _)| event.at >= *begins) {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "\n# {name}");
            }
            text += &event.line();
        }
        text
    }

    /// Reads a plan from a file.
    ///
    /// # Errors
    /// The file cannot be read, or its content is wrong.
    pub fn load(path: &Path) -> Result<Plan, Problem> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Plan::read(&file, &text),
            Err(error) => Err(Problem { file, line: 0, column: 0, what: format!("cannot be read: {error}") }),
        }
    }

    /// Reads a plan. `file` is its name in error messages.
    ///
    /// # Errors
    /// The first problem found.
    pub fn read(file: &str, text: &str) -> Result<Plan, Problem> {
        let source = Source { file, text };
        let (header, mut events) = split(source)?;
        let plan = read_header(source, &header)?;
        events.sort_by_key(|(_, event)| event.order());
        Checker::new(source, &plan).check(&events)?;
        Ok(Plan { events: events.into_iter().map(|(_, event)| event).collect(), ..plan })
    }
}

fn line(name: &str, words: &[(&'static str, String)]) -> String {
    let words: String = words.iter().map(|(field, value)| format!(" {field}={value}")).collect();
    format!("{name}{words}\n")
}

/// Seconds with three decimals, or more if needed.
fn instant(at: Duration) -> String {
    let (seconds, nanos) = (at.as_secs(), at.subsec_nanos());
    match nanos % 1_000_000 {
        0 => format!("{seconds}.{:03}s", nanos / 1_000_000),
        _ => format!("{seconds}.{nanos:09}s"),
    }
}

impl Event {
    /// The event as a line of the plan, including the line end.
    #[must_use]
    pub fn line(&self) -> String {
        let what = match &self.what {
            What::End(id) => format!("end {}\n", id.show()),
            What::Begin { id, fault, forever } => {
                let verb = if *forever { "forever" } else { "begin" };
                let mut words = vec![("target", fault.target.show())];
                words.extend(fault.kind.words());
                line(&format!("{verb} {} {}", id.show(), fault.kind.name()), &words)
            }
            What::Op { client, call, how } => format!("c{client} {}{}\n", call.show(), how.show(call)),
        };
        format!("{:>8} {what}", instant(self.at))
    }
}

impl Call {
    fn show(&self) -> String {
        let condition = |when: &When| match when {
            When::Always => String::new(),
            _ => format!(" if={}", when.show()),
        };
        match self {
            Call::Get { key } => format!("get {key}"),
            Call::Delete { key, when } => format!("delete {key}{}", condition(when)),
            Call::Extend { key, ttl } => format!("extend {key} ttl={}", ttl.show()),
            Call::Put { key, value, when, ttl } => {
                let size = match value.size == value.word.len() as u64 {
                    true => String::new(),
                    false => format!(" size={}", value.size),
                };
                let ttl = ttl.map_or(String::new(), |ttl| format!(" ttl={}", ttl.show()));
                format!("put {key} {}{size}{}{ttl}", value.word, condition(when))
            }
        }
    }
}

impl How {
    fn show(self, call: &Call) -> String {
        let name = level_of(matches!(call, Call::Get { .. }));
        let level = self.level.map_or(String::new(), |level| format!(" {name}={}", level.show()));
        level + &self.via.map_or(String::new(), |node| format!(" via={}", node.show()))
    }
}

/// The name of the level of a read or a write.
fn level_of(read: bool) -> &'static str {
    if read { "r" } else { "w" }
}

/// The words of a line with their offsets in the text.
type Words<'a> = Vec<(usize, &'a str)>;

fn words(text: &str, start: usize) -> Words<'_> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| !c.is_whitespace()) {
        let word = rest[begin..].split(char::is_whitespace).next().unwrap_or_default();
        words.push((start + text.len() - rest.len() + begin, word));
        rest = &rest[begin + word.len()..];
    }
    words
}

/// Header lines by their first word, and events with their offsets.
#[allow(clippy::type_complexity, reason = "used once")]
fn split(source: Source<'_>) -> Result<(BTreeMap<&str, Words<'_>>, Vec<(usize, Event)>), Problem> {
    let (mut header, mut events, mut start) = (BTreeMap::new(), Vec::new(), 0);
    for line in source.text.split_inclusive('\n') {
        let words = words(line, start);
        start += line.len();
        let Some(&(at, first)) = words.first().filter(|(_, word)| !word.starts_with('#')) else { continue };
        if header.is_empty() && first != HEADERS[0] {
            return Err(source.problem(at, format!("found `{first}`, expected `seaworthy-plan 1`: is this a plan?")));
        }
        if first.starts_with(|c: char| c.is_ascii_digit()) {
            events.push((at, read_event(source, &words)?));
        } else if !HEADERS.contains(&first) {
            let near = suggestion(first, &HEADERS);
            return Err(source.problem(at, format!("`{first}` is neither a time such as 3.214s nor a header{near}")));
        } else if header.insert(first, words).is_some() {
            return Err(source.problem(at, format!("a second line `{first}`")));
        }
    }
    Ok((header, events))
}

/// The one value of a header line such as `seed 7`.
fn single<T: Setting>(source: Source<'_>, header: &BTreeMap<&str, Words<'_>>, name: &str) -> Result<T, Problem> {
    let Some(words) = header.get(name) else {
        return Err(source.problem(source.text.len(), format!("the plan lacks the line `{name}`")));
    };
    match words[1..] {
        [(at, word)] => {
            let expected = || source.problem(at, format!("`{name}` is `{word}`, expected {}", T::what()));
            T::parse(word).ok_or_else(expected)
        }
        _ => Err(source.problem(words[0].0, format!("`{name}` has {} values, expected one", words.len() - 1))),
    }
}

fn read_header(source: Source<'_>, header: &BTreeMap<&str, Words<'_>>) -> Result<Plan, Problem> {
    let version: u64 = single(source, header, HEADERS[0])?;
    if version != 1 {
        let at = header[HEADERS[0]][1].0;
        return Err(source.problem(at, format!("a plan of version {version}; this simulator reads version 1")));
    }
    let cluster = section(source, header, "cluster", |f| {
        let cluster = Cluster::read(f, Cluster::default())?;
        cluster.check(f).map(|()| cluster)
    })?;
    let workload = section(source, header, "workload", |f| {
        let workload = Workload::read(f, Workload::default())?;
        workload.check(f).map(|()| workload)
    })?;
    let time = section(source, header, "time", |f| {
        let time = Times::read(f, Times::default())?;
        time.check(f, &cluster, &workload).map(|()| time)
    })?;
    Ok(Plan {
        scenario: single(source, header, "scenario")?,
        seed: single(source, header, "seed")?,
        network: section(source, header, "network", |f| Network::read(f, Network::default()))?,
        disk: section(source, header, "disk", |f| Disk::read(f, Disk::default()))?,
        cpu: match header.contains_key("cpu") {
            true => section(source, header, "cpu", |f| Cpu::read(f, Cpu::default()))?,
            // The plan was made before work took time.
            false => Cpu::default(),
        },
        expect: section(source, header, "expect", |f| Expect::read(f, Expect::default()))?,
        bucket: match header.contains_key("bucket") {
            true => section(source, header, "bucket", |f| {
                let bucket = Bucket::read(f, Bucket::default())?;
                bucket.check(f).map(|()| bucket)
            })?,
            // The plan was made when there was only Raft.
            false => Bucket { mode: Suits::Cp, ..Bucket::default() },
        },
        cluster,
        workload,
        time,
        events: Vec::new(),
    })
}

fn section<T>(
    source: Source<'_>,
    header: &BTreeMap<&str, Words<'_>>,
    name: &str,
    read: impl FnOnce(&mut Fields<'_>) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let Some(words) = header.get(name) else {
        return Err(source.problem(source.text.len(), format!("the plan lacks the line `{name}`")));
    };
    let place = format!("`{name}`");
    let mut fields = Fields::of_words(source, &place, words[0].0, &words[1..])?;
    let section = read(&mut fields)?;
    fields.finish()?;
    Ok(section)
}

fn read_event(source: Source<'_>, words: &Words<'_>) -> Result<Event, Problem> {
    let mut line = Line { source, words, next: 0 };
    let at = line.word::<Duration>()?;
    let (begins, verb) = line.any("begin, forever, end, or a client such as c3")?;
    let what = match verb {
        "end" => {
            let id = line.word()?;
            line.fields("`end`")?.finish()?;
            What::End(id)
        }
        "begin" | "forever" => {
            let id = line.word()?;
            let (kind_at, kind) = line.any("a kind of fault")?;
            let names = crate::settings::KINDS.map(|k| k.0);
            if !names.contains(&kind) {
                let near = suggestion(kind, &names);
                return Err(source.problem(kind_at, format!("`{kind}` is no kind of fault{near}")));
            }
            let mut fields = line.fields(kind)?;
            let target = fields.need("target")?;
            let kind = Kind::read(kind, &mut fields)?;
            if matches!(kind, Kind::Partition { clients: Clients::Drawn, shape: super::Shape::Split }) {
                return Err(fields.problem("clients", "`drawn` in a plan; expected free, none or a list of clients"));
            }
            fields.finish()?;
            What::Begin { id, fault: Fault { kind, target }, forever: verb == "forever" }
        }
        _ => {
            let Some(client) = numbered('c', verb) else {
                let what = format!("found `{verb}`, expected begin, forever, end, or a client such as c3");
                return Err(source.problem(begins, what));
            };
            let (call, how) = read_call(&mut line)?;
            What::Op { client, call, how }
        }
    };
    Ok(Event { at, what })
}

/// Reads an operation as written in a plan, without its time and client.
pub(crate) fn parse_call(source: Source<'_>) -> Result<(Call, How), Problem> {
    read_call(&mut Line { source, words: &words(source.text, 0), next: 0 })
}

fn read_call(line: &mut Line<'_>) -> Result<(Call, How), Problem> {
    let (at, verb) = line.any("get, put, delete or extend")?;
    if !["get", "put", "delete", "extend"].contains(&verb) {
        return Err(line.source.problem(at, format!("found `{verb}`, expected get, put, delete or extend")));
    }
    let key = line.any("a key")?.1.to_string();
    let word = if verb == "put" { line.any("a word to write")?.1.to_string() } else { String::new() };
    let mut fields = line.fields(verb)?;
    let conditional = ["put", "delete"].contains(&verb);
    let when = if conditional { fields.or("if", When::Always)? } else { When::Always };
    let how = How { level: fields.take(level_of(verb == "get"))?, via: fields.take("via")? };
    let call = match verb {
        "get" => Call::Get { key },
        "delete" => Call::Delete { key, when },
        "extend" => Call::Extend { key, ttl: fields.need("ttl")? },
        _ => {
            let size = fields.or("size", word.len() as u64)?;
            if size > MAX_VALUE_BYTES as u64 {
                return Err(fields.problem("size", format!("longer than the {MAX_VALUE_BYTES} bytes of a value")));
            }
            Call::Put { key, value: Tag { word, size }, when, ttl: fields.take("ttl")? }
        }
    };
    if call.ttl().is_some_and(|ttl| ttl < Duration::from_millis(1) || ttl.subsec_nanos() % 1_000_000 != 0) {
        return Err(fields.problem("ttl", "expected whole milliseconds, at least one"));
    }
    fields.finish()?;
    Ok((call, how))
}

/// A cursor over the words of a line.
struct Line<'a> {
    source: Source<'a>,
    words: &'a Words<'a>,
    next: usize,
}

impl<'a> Line<'a> {
    fn any(&mut self, expected: &str) -> Result<(usize, &'a str), Problem> {
        self.next += 1;
        self.words.get(self.next - 1).copied().ok_or_else(|| {
            let end = self.words.last().map_or(0, |(at, word)| at + word.len());
            self.source.problem(end, format!("the line ends here, expected {expected}"))
        })
    }

    fn word<T: Setting>(&mut self) -> Result<T, Problem> {
        let (at, word) = self.any(&T::what())?;
        T::parse(word).ok_or_else(|| self.source.problem(at, format!("found `{word}`, expected {}", T::what())))
    }

    fn fields(&self, place: &'a str) -> Result<Fields<'a>, Problem> {
        Fields::of_words(self.source, place, self.words[0].0, self.words.get(self.next..).unwrap_or_default())
    }
}

/// Checks events against each other, in order of time.
struct Checker<'a> {
    source: Source<'a>,
    plan: &'a Plan,
    /// Each fault begun so far, and its offset if it still needs an end.
    begun: BTreeMap<FaultId, Option<usize>>,
    words: BTreeSet<&'a str>,
}

impl<'a> Checker<'a> {
    fn new(source: Source<'a>, plan: &'a Plan) -> Checker<'a> {
        Checker { source, plan, begun: BTreeMap::new(), words: BTreeSet::new() }
    }

    fn check(mut self, events: &'a [(usize, Event)]) -> Result<(), Problem> {
        let put = |event: &'a Event| match &event.what {
            What::Op { call: Call::Put { value, .. }, .. } => Some(value.word.as_str()),
            _ => None,
        };
        self.words = events.iter().filter_map(|(_, event)| put(event)).collect();
        let mut written = BTreeSet::new();
        for (at, event) in events {
            if let Some(word) = put(event).filter(|word| !written.insert(*word)) {
                return Err(self.source.problem(*at, format!("`{word}` is written twice; expected a word of its own")));
            }
            self.check_event(*at, event).map_err(|what| self.source.problem(*at, what))?;
        }
        match self.begun.iter().find_map(|(id, open)| open.map(|at| (id.show(), at))) {
            None => Ok(()),
            Some((id, at)) => {
                let what = format!("{id} has no end; expected a line `end {id}`, or `forever` in place of `begin`");
                Err(self.source.problem(at, what))
            }
        }
    }

    fn check_event(&mut self, at: usize, event: &Event) -> Result<(), String> {
        let (ends, clients) = (self.plan.time.ends(), self.plan.workload.all_clients());
        match &event.what {
            _ if event.at > ends => Err(format!("after the end of the run at {}", ends.show())),
            What::End(id) => match self.begun.get_mut(id) {
                Some(open @ Some(_)) => {
                    *open = None;
                    Ok(())
                }
                Some(None) => Err(format!("{} has no end, or ended already", id.show())),
                None => Err(format!("{} has not begun by then", id.show())),
            },
            What::Begin { fault, forever: true, .. } if !fault.kind.lasts() => {
                Err(format!("a {} is instantaneous; expected `begin`", fault.kind.name()))
            }
            What::Begin { id, fault, forever } => {
                self.check_fault(fault)?;
                let open = (fault.kind.lasts() && !forever).then_some(at);
                match self.begun.insert(*id, open) {
                    None => Ok(()),
                    Some(_) => Err(format!("a second {}", id.show())),
                }
            }
            What::Op { client, .. } if !(1..=clients).contains(client) => {
                Err(format!("c{client} of {clients} clients; expected c1 to c{clients}"))
            }
            What::Op { how: How { via: Some(node), .. }, .. } if !(1..=self.plan.cluster.nodes).contains(&node.0) => {
                Err(format!("via={}; expected servers n1 to n{}", node.show(), self.plan.cluster.nodes))
            }
            What::Op { call, .. } => match call {
                Call::Put { when: When::Value(word), .. } | Call::Delete { when: When::Value(word), .. }
                    if !self.words.contains(word.as_str()) =>
                {
                    Err(format!("cmp:{word}, but no put of the plan writes `{word}`"))
                }
                _ => Ok(()),
            },
        }
    }

    fn check_fault(&self, fault: &Fault<Target>) -> Result<(), String> {
        let (nodes, clients) = (self.plan.cluster.nodes, self.plan.workload.clients);
        let wrong = match (&fault.target, &fault.kind) {
            (Target::Nodes(list), _) if list.iter().any(|n| !(1..=nodes).contains(&n.0)) => {
                Some(format!("target={}; expected servers n1 to n{nodes}", fault.target.show()))
            }
            (Target::SameAs(id), _) if !self.begun.contains_key(id) => {
                Some(format!("target={}, which has not begun by then", id.show()))
            }
            (_, Kind::Partition { clients: Clients::Inside(list), .. })
                if list.iter().any(|c| !(1..=clients).contains(c)) =>
            {
                Some(format!("a client that is not there; expected c1 to c{clients}"))
            }
            _ => None,
        };
        wrong.map_or(Ok(()), Err)
    }
}
