//! The file `identity`: states which cluster and node the data directory belongs to. It is created before the log's
//! first segment and never changed.
//!
//! It is text, so that people can read it with standard tools: a title line, then facts, one per line, each a name and
//! a value, and last a CRC-32 of everything before it. The configuration must state the same facts.

use super::{Disk, StorageError, TEMPORARY};
use std::fmt::Write as _;

/// The file's name.
pub(super) const NAME: &str = "identity";
const TITLE: &str = "seaworthy data directory, format 1";
/// Larger than any configuration produces.
const MAX_BYTES: u64 = 1 << 20;

/// A name and its value.
pub type Fact = (String, String);

/// The contents of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    /// The directory's own random number.
    pub(super) directory: u64,
    /// The owner: the cluster, the node, and the layout of keys.
    pub(super) facts: Vec<Fact>,
}

impl Identity {
    fn encode(&self) -> String {
        let mut text = format!("{TITLE}\ndirectory {:016x}\n", self.directory);
        for (name, value) in &self.facts {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name} {value}");
        }
        let crc = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "checksum {crc:08x}");
        text
    }

    fn decode(bytes: &[u8]) -> Result<Identity, String> {
        let broken = || "the file fails its checksum".to_owned();
        let text = std::str::from_utf8(bytes).map_err(|_| broken())?;
        let (body, sum) = text.rsplit_once("checksum ").ok_or_else(broken)?;
        if format!("{:08x}\n", crc32fast::hash(body.as_bytes())) != sum {
            return Err(broken());
        }
        let mut lines = body.lines();
        match lines.next() {
            Some(TITLE) => {}
            other => return Err(format!("\"{}\", this build reads \"{TITLE}\"", other.unwrap_or_default())),
        }
        let fact = |line: &str| line.split_once(' ').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut facts = lines.map(fact).collect::<Option<Vec<Fact>>>().ok_or_else(broken)?.into_iter();
        let number =
            |(name, value): Fact| (name == "directory").then(|| u64::from_str_radix(&value, 16).ok()).flatten();
        let directory = facts.next().and_then(number).ok_or_else(broken)?;
        Ok(Identity { directory, facts: facts.collect() })
    }

    /// Reads the file; returns `None` if it does not exist.
    pub(super) fn load(disk: &mut impl Disk, names: &[String]) -> Result<Option<Identity>, StorageError> {
        if !names.iter().any(|name| name == NAME) {
            return Ok(None);
        }
        let file = disk.open(NAME, false)?;
        let read = disk.len(file).and_then(|length| {
            let mut bytes = vec![0; usize::try_from(length.min(MAX_BYTES)).unwrap_or(0)];
            disk.read_at(file, 0, &mut bytes)?;
            Ok(bytes)
        });
        disk.close(file);
        Identity::decode(&read?).map(Some).map_err(|what| StorageError::corrupt(NAME, 0, what))
    }

    /// Creates the file, durable under its name.
    pub(super) fn make(&self, disk: &mut impl Disk) -> Result<(), StorageError> {
        let temporary = format!("{NAME}{TEMPORARY}");
        let file = disk.open(&temporary, true)?;
        disk.write_at(file, 0, self.encode().as_bytes())?;
        disk.sync(file)?;
        disk.close(file);
        disk.rename(&temporary, NAME)?;
        Ok(disk.sync_dir()?)
    }

    /// Compares the file's facts with the configuration's.
    pub(super) fn check(&self, configured: &[Fact]) -> Result<(), StorageError> {
        let said = |facts: &[Fact], name: &str| match facts.iter().find(|(other, _)| other == name) {
            Some((_, value)) => format!("{name} {value}"),
            None => format!("no {name}"),
        };
        let names = self.facts.iter().chain(configured).map(|(name, _)| name);
        let mut said = names.map(|name| (said(&self.facts, name), said(configured, name)));
        match said.find(|(found, configured)| found != configured) {
            None => Ok(()),
            Some((found, configured)) => Err(StorageError::Foreign { found, configured }),
        }
    }
}
