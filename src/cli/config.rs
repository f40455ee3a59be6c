//! A node's configuration file (TOML; documented in docs/deploying.md, samples in docs/cluster/).
//!
//! Every mistake is reported with file, line, column and what was expected there, before anything else is done.

use super::buckets::{Bucket, Place, Said};
use super::fields::{Mistake, address, bounded, checked, node_id};
use crate::mutant::Mutant;
use crate::node::tcp::{ClusterName, Limits, Secret, Servers, TcpConfig};
use crate::node::{MIN_MEMORY_BYTES, Memory, NodeConfig};
use crate::placement::Layout;
use crate::raft;
use crate::storage::StoreConfig;
use crate::types::NodeId;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;

/// Maximum number of servers in a cluster.
const MAX_NODES: usize = 9;
/// Maximum length of a configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The checked contents of a configuration file.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's data directory; a relative path in the file is relative to the file's own directory.
    pub data_dir: PathBuf,
    /// Listening address and peers.
    pub tcp: TcpConfig,
    /// Settings of the driver and of Raft.
    pub node: NodeConfig,
    /// Settings of the log.
    pub store: StoreConfig,
    /// The source of the cluster's secret.
    pub secret: SecretFrom,
}

/// The source of the cluster's secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretFrom {
    /// This file (`secret_file`).
    File(PathBuf),
    /// The environment variable [`SECRET`].
    Environment,
    /// None, deliberately (`insecure`).
    Nowhere,
}

/// The environment variable that holds the secret if `secret_file` is not set.
pub const SECRET: &str = "SEAWORTHY_SECRET";

impl Config {
    /// Returns the cluster as a client sees it.
    #[must_use]
    pub fn servers(&self) -> Servers {
        Servers { cluster: Some(self.tcp.cluster.clone()), nodes: self.tcp.nodes.clone() }
    }

    /// Returns the cluster's secret for a server. Clients do not need it, and a single-server cluster does not either.
    ///
    /// # Errors
    /// There is no secret, or it is not a valid one; the message says how to create one.
    pub fn secret(&self) -> Result<Secret, String> {
        match &self.secret {
            SecretFrom::File(path) => {
                let shown = path.display();
                let missing = |e: std::io::Error| match e.kind() {
                    ErrorKind::NotFound => {
                        format!("{shown}: {e}; `seaworthy secret {shown}` makes a secret, which every server must have")
                    }
                    _ => format!("{shown}: {e}"),
                };
                let text = std::fs::read(path).map_err(missing)?;
                Secret::new(&text).map_err(|what| format!("{shown}: {what}"))
            }
            SecretFrom::Environment => match std::env::var_os(SECRET) {
                Some(text) => Secret::new(text.as_encoded_bytes()).map_err(|what| format!("{SECRET}: {what}")),
                None if self.tcp.nodes.len() == 1 => Ok(Secret::none()),
                None => Err(format!(
                    "{}: no secret: the servers of a cluster prove by it that they belong together. Name a file of it with \
                     secret_file (`seaworthy secret FILE` makes one), or set {SECRET}. On a network where nobody else can \
                     reach the servers, insecure = true does without",
                    self.tcp.source
                )),
            },
            SecretFrom::Nowhere => Ok(Secret::none()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cluster: Spanned<String>,
    node: Spanned<String>,
    data_dir: PathBuf,
    listen: Option<Spanned<String>>,
    secret_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    insecure: bool,
    nodes: Spanned<BTreeMap<Spanned<String>, Spanned<String>>>,
    groups: Option<Spanned<u64>>,
    voters: Option<Spanned<u64>>,
    #[serde(default)]
    places: BTreeMap<Spanned<String>, Place>,
    #[serde(default)]
    bucket: Vec<Bucket>,
    #[serde(default)]
    hints: Hints,
    #[serde(default)]
    tuning: Tuning,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Hints {
    mib: Option<Spanned<u64>>,
    age_s: Option<Spanned<u64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Tuning {
    election_timeout_ms: Option<Spanned<u64>>,
    heartbeat_ms: Option<Spanned<u64>>,
    snapshot_log_mib: Option<Spanned<u64>>,
    snapshot_entries: Option<Spanned<u64>>,
    segment_mib: Option<Spanned<u64>>,
    max_clients: Option<Spanned<u64>>,
    max_clients_per_address: Option<Spanned<u64>>,
    max_term_jump: Option<Spanned<u64>>,
    max_open_requests: Option<Spanned<u64>>,
    memory_mib: Option<Spanned<u64>>,
    lease_ppm: Option<Spanned<u64>>,
}

/// Reads and checks a configuration file.
///
/// # Errors
/// `file:line:column: what is wrong`, or why the file cannot be read.
pub fn load(path: &Path) -> Result<Config, String> {
    let shown = path.display();
    let unreadable = |e| format!("{shown}: {e}");
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(format!("{shown}: longer than {MAX_FILE_BYTES} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let base = path.parent().unwrap_or(Path::new(""));
    let parsed = parse(&text, base).map(|mut config| {
        config.tcp.source = shown.to_string();
        config
    });
    parsed.map_err(|(span, what)| match span {
        Some(span) => {
            let (line, column) = line_and_column(&text, span.start);
            format!("{shown}:{line}:{column}: {what}")
        }
        None => format!("{shown}: {what}"),
    })
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

pub(super) fn parse(text: &str, base: &Path) -> Result<Config, Mistake> {
    let file: File = toml::from_str(text).map_err(|e| (e.span(), e.message().replace('\n', ", ")))?;
    let cluster: ClusterName = checked(&file.cluster, str::parse)?;
    let id = checked(&file.node, node_id)?;
    let nodes = nodes(&file.nodes)?;
    let Some(own_address) = nodes.get(&id) else {
        return Err((Some(file.node.span()), format!("{id} is not in [nodes], which must list every node")));
    };
    let listen = match &file.listen {
        Some(listen) => checked(listen, address)?,
        None => own_address.clone(),
    };
    let tuning = &file.tuning;
    let segment_bytes = bounded(tuning.segment_mib.as_ref(), 1..=1024)?.map(|mib| mib << 20);
    let (groups, voters) = (file.groups.as_ref(), file.voters.as_ref());
    let said =
        Said { nodes: nodes.keys().copied().collect(), groups, voters, places: &file.places, buckets: &file.bucket };
    let layout = Arc::new(said.layout()?);
    let mut store = StoreConfig::new(id).bound_to(&cluster.to_string(), &layout);
    store.segment_bytes = segment_bytes.unwrap_or(store.segment_bytes);
    let mut node = tuning.node(raft::Config::new(id, nodes.keys().copied().collect()), layout)?;
    if let Some(mib) = bounded(file.hints.mib.as_ref(), 1..=65_536)? {
        node.ap.hint_bytes = (mib as usize) << 20;
    }
    if let Some(seconds) = bounded(file.hints.age_s.as_ref(), 1..=31_536_000)? {
        node.ap.hint_age = Duration::from_secs(seconds);
    }
    let secret = match &file.secret_file {
        Some(path) if file.insecure => {
            return Err((Some(path.span()), "secret_file and insecure = true contradict each other".to_owned()));
        }
        Some(path) => SecretFrom::File(base.join(path.get_ref())),
        None if file.insecure => SecretFrom::Nowhere,
        None => SecretFrom::Environment,
    };
    let (layout, source, limits) = (node.layout.digest(), String::new(), tuning.limits()?);
    // A server replaces this with the real secret; clients need none.
    let (nobody, mutant) = (Secret::none(), Mutant::default());
    let tcp = TcpConfig {
        id,
        cluster,
        secret: nobody,
        listen,
        nodes,
        limits,
        memory: Memory(node.memory_bytes),
        layout,
        source,
        mutant,
    };
    node.ap.max_open = node.max_open_requests;
    Ok(Config { data_dir: base.join(file.data_dir), tcp, node, store, secret })
}

impl Tuning {
    /// By default clients of one address may use three quarters of the connections.
    fn limits(&self) -> Result<Limits, Mistake> {
        let usual = Limits::default();
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let clients = bounded(self.max_clients.as_ref(), 1..=65_536)?.map_or(usual.clients, count);
        let of_one = bounded(self.max_clients_per_address.as_ref(), 1..=65_536)?;
        Ok(Limits { clients, per_address: of_one.map_or(clients.div_ceil(4) * 3, count), ..usual })
    }

    fn node(&self, mut raft: raft::Config, layout: Arc<Layout>) -> Result<NodeConfig, Mistake> {
        let millis = |ms: u64| Duration::from_millis(ms);
        if let Some(timeout) = bounded(self.election_timeout_ms.as_ref(), 10..=600_000)? {
            raft.election_timeout = millis(timeout);
            raft.heartbeat = millis((timeout / 5).max(1));
        }
        if let Some(heartbeat) = bounded(self.heartbeat_ms.as_ref(), 1..=200_000)? {
            raft.heartbeat = millis(heartbeat);
        }
        if raft.heartbeat * 3 > raft.election_timeout {
            let (span, most) = (self.heartbeat_ms.as_ref().map(Spanned::span), raft.election_timeout / 3);
            let what = format!("a heartbeat takes at most a third of the election timeout, here {most:?}");
            return Err((span, what));
        }
        raft.lease_ppm = bounded(self.lease_ppm.as_ref(), 1..=500_000)?.map(|ppm| ppm as u32);
        if let Some(jump) = bounded(self.max_term_jump.as_ref(), 1..=i64::MAX as u64)? {
            raft.max_term_jump = jump;
        }
        raft.validate().map_err(|bad| (None, bad.to_string()))?;
        let mut node = NodeConfig::new(raft, layout);
        if let Some(mib) = bounded(self.snapshot_log_mib.as_ref(), 1..=4096)? {
            node.snapshot_log_bytes = (mib as usize) << 20;
        }
        if let Some(entries) = bounded(self.snapshot_entries.as_ref(), 100..=u64::MAX)? {
            node.snapshot_entries = entries;
        }
        if let Some(requests) = bounded(self.max_open_requests.as_ref(), 1..=1_000_000)? {
            node.max_open_requests = requests as usize;
        }
        if let Some(mib) = bounded(self.memory_mib.as_ref(), (MIN_MEMORY_BYTES >> 20) as u64..=1 << 20)? {
            node.memory_bytes = (mib as usize) << 20;
        }
        Ok(node)
    }
}

fn nodes(table: &Spanned<BTreeMap<Spanned<String>, Spanned<String>>>) -> Result<BTreeMap<NodeId, String>, Mistake> {
    let entries = table.get_ref();
    if !(1..=MAX_NODES).contains(&entries.len()) {
        let what = format!("a cluster has 1 to {MAX_NODES} nodes, this one has {}", entries.len());
        return Err((Some(table.span()), what));
    }
    let mut nodes = BTreeMap::new();
    for (name, text) in entries {
        let (id, text_address) = (checked(name, node_id)?, checked(text, address)?);
        if let Some((other, _)) = nodes.iter().find(|(_, known)| **known == text_address) {
            return Err((Some(text.span()), format!("{text_address} is the address of {other} already")));
        }
        if nodes.insert(id, text_address).is_some() {
            return Err((Some(name.span()), format!("{id} is here twice")));
        }
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{GroupId, Level, MergeKind, Mode, Policy, Resolve};

    const GOOD: &str = r#"cluster = "harbour"
node = "n2"
data_dir = "data"

[nodes]
n1 = "127.0.0.1:7101"
n2 = "127.0.0.1:7102"
n3 = "[::1]:7103"
"#;

    fn mistake(text: &str) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("n.toml");
        std::fs::write(&path, text).expect("written");
        let error = load(&path).expect_err("a mistake");
        let prefix = format!("{}:", dir.path().display());
        error.replace(&prefix[..prefix.len() - 1], "").trim_start_matches('/').to_owned()
    }

    #[test]
    fn a_good_file_is_taken_with_its_defaults() {
        let config = parse(GOOD, Path::new("/etc/seaworthy")).expect("good");
        assert_eq!(config.data_dir, Path::new("/etc/seaworthy/data"));
        assert_eq!((config.tcp.id, config.tcp.listen.as_str()), (NodeId(2), "127.0.0.1:7102"));
        assert_eq!(config.node.raft.voters, [NodeId(1), NodeId(2), NodeId(3)]);
        assert_eq!(config.node.raft.election_timeout, Duration::from_millis(500));
        assert_eq!((config.node.raft.lease_ppm, config.tcp.limits), (None, Limits::default()));
        assert_eq!(config.secret, SecretFrom::Environment);
        assert_eq!(config.servers().nodes.len(), 3);
    }

    #[test]
    fn tuning_changes_what_it_names() {
        let text = format!(
            "{GOOD}[tuning]\nelection_timeout_ms = 1500\nsnapshot_entries = 200\nlease_ppm = 300\nmax_clients = 7\n\
             max_clients_per_address = 5\nmax_term_jump = 1125899906842624\n\
             snapshot_log_mib = 2\nsegment_mib = 3\nmax_open_requests = 9\n"
        );
        let config = parse(&text, Path::new("")).expect("good");
        assert_eq!(config.node.raft.election_timeout, Duration::from_millis(1500));
        assert_eq!(config.node.raft.heartbeat, Duration::from_millis(300));
        assert_eq!((config.node.snapshot_entries, config.node.snapshot_log_bytes), (200, 2 << 20));
        assert_eq!((config.node.max_open_requests, config.store.segment_bytes), (9, 3 << 20));
        assert_eq!((config.node.raft.lease_ppm, config.tcp.limits.clients), (Some(300), 7));
        assert_eq!((config.tcp.limits.per_address, config.node.raft.max_term_jump), (5, 1 << 50));
    }

    #[test]
    fn buckets_groups_and_places() {
        let plain = parse(GOOD, Path::new("")).expect("good");
        assert_eq!((plain.node.layout.groups, plain.node.layout.buckets.any_ap()), (1, false));
        assert_eq!(plain.node.layout.voters_of(GroupId(1)).len(), 3);
        let text = format!(
            "groups = 40\nvoters = 1\n{GOOD}[places]\nn1 = {{ zone = \"a\", region = \"north\", capacity = 2 }}\n\
             [[bucket]]\nname = \"carts\"\nmode = \"ap\"\nn = 2\nr = 1\nw = \"all\"\nsloppy = false\nresolve = \"set\"\n\
             [[bucket]]\nname = \"default\"\nmode = \"ap\"\n[[bucket]]\nname = \"money\"\nmode = \"cp\"\n\
             [hints]\nmib = 3\nage_s = 60\n"
        );
        let config = parse(&text, Path::new("")).expect("good");
        let layout = &config.node.layout;
        assert_eq!((layout.groups, layout.voters_of(GroupId(7)).len(), layout.region(NodeId(1))), (40, 1, "north"));
        assert_eq!((layout.members[0].zone.as_str(), layout.members[0].capacity), ("a", 2));
        let (r, w, resolve) = (Level::Count(1), Level::All, Resolve::Merge(MergeKind::Set));
        assert_eq!(*layout.buckets.mode(b"carts/1"), Mode::Ap(Policy { n: 2, r, w, sloppy: false, resolve }));
        assert_eq!(*layout.buckets.mode(b"money/1"), Mode::Cp);
        assert_eq!(*layout.buckets.mode(b"other"), Mode::Ap(Policy::default()));
        assert_eq!((config.node.ap.hint_bytes, config.node.ap.hint_age), (3 << 20, Duration::from_secs(60)));
    }

    #[test]
    fn mistakes_in_buckets_are_located() {
        let bucket = "[[bucket]]\nname = \"b\"\nmode = \"ap\"\n";
        let cases = [
            (format!("groups = 0\n{GOOD}"), "n.toml:1:10: expected a number from 1 to 16384, found 0"),
            (format!("voters = 4\n{GOOD}"), "n.toml:1:10: expected a number from 1 to 3, found 4"),
            (format!("{GOOD}[places]\nn4 = {{ zone = \"a\" }}\n"), "n.toml:10:1: n4 is not in [nodes]"),
            (format!("{GOOD}[places]\nn1 = {{ zoen = \"a\" }}\n"), "n.toml:10:8: unknown field `zoen`"),
            (format!("{GOOD}[places]\nn1 = {{ capacity = 257 }}\n"), "n.toml:10:19: expected a number from 0 to 256"),
            (format!("{GOOD}{bucket}n = 9\n"), "n.toml:12:5: expected a number from 1 to 7, found 9"),
            (format!("{GOOD}{bucket}r = 4\n"), "n.toml:12:5: expected one, quorum, all, local-quorum or a number from"),
            (format!("{GOOD}{bucket}w = \"most\"\n"), "n.toml:12:5: expected one, quorum"),
            (format!("{GOOD}{bucket}w = 1.5\n"), "n.toml:12:5: expected one, quorum"),
            (format!("{GOOD}{bucket}resolve = \"dice\"\n"), "n.toml:12:11: expected siblings, last-writer"),
            (format!("{GOOD}{bucket}sloppy = 1\n"), "n.toml:12:10: invalid type: integer `1`"),
            (format!("{GOOD}{bucket}q = 1\n"), "n.toml:12:1: unknown field `q`"),
            (format!("{GOOD}{bucket}{bucket}"), "n.toml:13:8: bucket \"b\" is here twice"),
            (GOOD.to_owned() + &bucket.replace("ap", "cap"), "n.toml:11:8: expected \"cp\" or \"ap\", found \"cap\""),
            (GOOD.to_owned() + &bucket.replace("ap", "cp") + "w = 1\n", "n.toml:12:5: w is a setting of buckets"),
            (GOOD.to_owned() + &bucket.replace("\"b\"", "\"a/b\""), "n.toml:10:8: a bucket's name is"),
            (format!("{GOOD}[hints]\nmib = 0\n"), "n.toml:10:7: expected a number from 1 to 65536, found 0"),
        ];
        for (text, expected) in cases {
            let found = mistake(&text);
            assert!(found.starts_with(expected), "expected {expected:?}, found {found:?}");
        }
    }

    #[test]
    fn mistakes_are_located() {
        let cases = [
            (GOOD.replace("cluster", "clutser"), "n.toml:1:1: unknown field `clutser`"),
            (GOOD.replace("\"n2\"\n", "2\n"), "n.toml:2:8: invalid type: integer `2`, expected a string"),
            (GOOD.replace("node = \"n2\"", "node = \"n4\""), "n.toml:2:8: n4 is not in [nodes]"),
            (GOOD.replace("node = \"n2\"", "node = \"two\""), "n.toml:2:8: expected a node's name"),
            (GOOD.replace("n3 =", "m3 ="), "n.toml:8:1: expected a node's name"),
            (GOOD.replace("7102", "7101"), "n.toml:7:6: 127.0.0.1:7101 is the address of n1 already"),
            (GOOD.replace(":7103", ""), "n.toml:8:6: expected an address, host:port, found \"[::1]\""),
            (GOOD.replace("harbour", "two words"), "n.toml:1:11: a cluster's name is"),
            (GOOD.replace("data_dir = \"data\"\n", ""), "n.toml:1:1: missing field `data_dir`"),
            (format!("{GOOD}[tuning]\nheartbeat_ms = 400\n"), "n.toml:10:16: a heartbeat takes at most a third"),
            (format!("{GOOD}[tuning]\nmax_clients = 0\n"), "n.toml:10:15: expected a number from 1 to 65536, found 0"),
            (format!("{GOOD}[tuning]\nmax_clients = -1\n"), "n.toml:10:15: "),
            (GOOD.replace("[nodes]", "[nodes"), "n.toml:5:7: "),
        ];
        for (text, expected) in cases {
            let found = mistake(&text);
            assert!(found.starts_with(expected), "expected {expected:?}, found {found:?}");
            assert!(!found.contains('\n'), "one line: {found:?}");
        }
    }

    #[test]
    fn the_samples_are_one_cluster() {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cluster");
        for i in 1..=3 {
            let config = load(&samples.join(format!("n{i}.toml"))).expect("a good sample");
            assert_eq!((config.tcp.id, config.tcp.nodes.len()), (NodeId(i), 3));
            assert_eq!(config.tcp.nodes[&NodeId(i)], format!("127.0.0.1:{}", 7100 + i));
        }
    }

    #[test]
    fn where_the_secret_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let of = |line: &str| parse(&format!("{line}\n{GOOD}"), dir.path()).expect("good");
        let named = of("secret_file = \"tide\"");
        assert_eq!(named.secret, SecretFrom::File(dir.path().join("tide")));
        let missing = named.secret().expect_err("not there yet");
        assert!(missing.contains("`seaworthy secret ") && missing.contains("tide"), "{missing}");
        std::fs::write(dir.path().join("tide"), "short").expect("written");
        assert!(named.secret().expect_err("short").contains("at least 16 bytes"));
        std::fs::write(dir.path().join("tide"), "long enough for one\n").expect("written");
        assert_eq!(named.secret(), Secret::new(b"long enough for one"));
        assert_eq!(of("insecure = true").secret(), Ok(Secret::none()));
        assert!(of("").secret().expect_err("three servers").contains("no secret"));
        let both = mistake(&format!("secret_file = \"tide\"\ninsecure = true\n{GOOD}"));
        assert!(both.starts_with("n.toml:1:15: secret_file and insecure"), "{both}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("/nowhere/n1.toml")).expect_err("missing");
        assert!(error.starts_with("/nowhere/n1.toml: "), "{error}");
    }
}
