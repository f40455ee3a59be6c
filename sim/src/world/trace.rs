//! The event trace: a running hash over every event in the world, with the events written out on request.
//!
//! Two runs are identical exactly when their trace hashes are equal; this is the determinism gate. Each event is a
//! fixed-size record (time, kind, two parties, three numbers) that is fed to a 128-bit XXH3. Events are formatted only
//! if a sink was given, and formatting cannot influence the run. Payload bytes enter as their own hash, once, at the
//! send or write.

use super::{Nanos, lock};
use seaworthy::types::Addr;
use std::io::{self, BufRead, Write};
use std::sync::{Arc, Mutex};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident $name:literal [$a:literal, $b:literal, $c:literal];)*) => {
        /// The kind of an event. The three labels name the numbers of the event; a number with an empty label is not
        /// printed.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Kind { $($(#[doc = $doc])* $kind,)* }

        impl Kind {
            /// The kind's word in a written trace, and the labels of its numbers.
            #[must_use]
            pub fn words(self) -> (&'static str, [&'static str; 3]) {
                match self { $(Kind::$kind => ($name, [$a, $b, $c]),)* }
            }
        }
    };
}

kinds! {
    /// A frame was handed to the network.
    Send "send" ["frame", "bytes", "hash"];
    /// A frame was put into a mailbox.
    Deliver "deliver" ["frame", "", ""];
    /// A frame was lost; the cause is a [`super::net::DropCause`] as a number.
    Drop "drop" ["frame", "cause", ""];
    /// A second copy of a frame was sent on its way.
    Duplicate "duplicate" ["frame", "", ""];
    /// A bit of a frame was flipped.
    Corrupt "corrupt" ["frame", "bit", ""];
    /// Frames in flight were lost because their link was cut or reset, or their receiver died.
    Cut "cut" ["frames", "", ""];
    /// A fault was applied to a link or lifted.
    LinkFault "link-fault" ["fault", "on", ""];
    /// A write to a file.
    Write "write" ["file", "offset", "hash"];
    /// A sync of a file (0 for the directory), and when it takes effect.
    Sync "sync" ["file", "effective", ""];
    /// A disk operation failed, because of a fault or because the disk is full.
    DiskFailure "disk-failure" ["file", "fault", ""];
    /// A bit was flipped, or a sector was made unreadable.
    Rot "rot" ["file", "sector", "bit"];
    /// The machine lost power: what the disk kept and lost.
    Crash "crash" ["sectors_kept", "sectors_lost", "names_lost"];
    /// A disk was replaced by an empty one.
    Wipe "wipe" ["files", "", ""];
    /// A fault was applied to a clock or lifted.
    ClockFault "clock-fault" ["fault", "now", "wall"];
    /// A node's process started; the number counts its starts, from 1.
    Start "start" ["times", "", ""];
    /// A node's process was killed.
    Kill "kill" ["power_loss", "", ""];
    /// A node's process ended on its own.
    Exit "exit" ["", "", ""];
    /// A node was paused.
    Pause "pause" ["", "", ""];
    /// A paused node was resumed.
    Resume "resume" ["", "", ""];
    /// A client invoked an operation.
    Invoke "invoke" ["op", "kind", "hash"];
    /// A client's operation completed.
    Return "return" ["op", "outcome", "hash"];
    /// Free text, for events without a kind of their own.
    Note "note" ["bytes", "hash", ""];
    /// A node was told to stop.
    Stop "stop" ["", "", ""];
}

/// The trace of one run. Clones share it.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

/// Size in bytes of the batches of records that are hashed together.
const BATCH: usize = 64 * RECORD;
/// Size of a record in bytes.
const RECORD: usize = 56;

struct Inner {
    hash: Xxh3,
    /// Records that are not yet in the hash.
    records: Vec<u8>,
    events: u64,
    last: Nanos,
    sink: Option<Box<dyn Write + Send>>,
    failure: Option<io::Error>,
}

impl Default for Trace {
    fn default() -> Self {
        Trace::to(None)
    }
}

impl Trace {
    /// A trace that only hashes.
    #[must_use]
    pub fn new() -> Trace {
        Trace::default()
    }

    /// A trace that also writes a readable line for each event. The sink should be buffered.
    #[must_use]
    pub fn recording(sink: Box<dyn Write + Send>) -> Trace {
        Trace::to(Some(sink))
    }

    fn to(sink: Option<Box<dyn Write + Send>>) -> Trace {
        Trace(Arc::new(Mutex::new(Inner {
            hash: Xxh3::new(),
            records: Vec::with_capacity(BATCH),
            events: 0,
            last: 0,
            sink,
            failure: None,
        })))
    }

    /// Adds an event at true time `at` between two parties (the same one twice if there is only one).
    pub fn event(&self, at: Nanos, kind: Kind, from: Addr, to: Addr, numbers: [u64; 3]) {
        lock(&self.0).event(at, kind, from, to, numbers, None);
    }

    /// Adds a [`Kind::Note`].
    pub fn note(&self, at: Nanos, who: Addr, text: &str) {
        let numbers = [text.len() as u64, payload(text.as_bytes()), 0];
        lock(&self.0).event(at, Kind::Note, who, who, numbers, Some(text));
    }

    /// Returns the hash over all events so far.
    #[must_use]
    pub fn hash(&self) -> u128 {
        let mut inner = lock(&self.0);
        inner.digest();
        inner.hash.digest128()
    }

    /// Returns the number of events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        lock(&self.0).events
    }

    /// Returns the time of the last event.
    #[must_use]
    pub fn last(&self) -> Nanos {
        lock(&self.0).last
    }

    /// Flushes the sink.
    ///
    /// # Errors
    /// The first write error. The hash is correct even so.
    pub fn finish(&self) -> io::Result<()> {
        let mut inner = lock(&self.0);
        if let Some(failure) = inner.failure.take() {
            return Err(failure);
        }
        inner.sink.as_mut().map_or(Ok(()), |sink| sink.flush())
    }
}

impl Inner {
    /// Adds the buffered records to the hash.
    fn digest(&mut self) {
        self.hash.update(&self.records);
        self.records.clear();
    }

    fn event(&mut self, at: Nanos, kind: Kind, from: Addr, to: Addr, numbers: [u64; 3], text: Option<&str>) {
        let mut record = [0u8; RECORD];
        let words = [at, code(from), code(to), numbers[0], numbers[1], numbers[2], kind as u64];
        for (slot, word) in record.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        self.records.extend_from_slice(&record);
        if self.records.len() >= BATCH {
            self.digest();
        }
        self.events += 1;
        self.last = at;
        if let Some(sink) = &mut self.sink
            && let Err(failure) = write_line(sink, at, kind, from, to, numbers, text)
        {
            self.failure.get_or_insert(failure);
        }
    }
}

fn write_line(
    sink: &mut dyn Write,
    at: Nanos,
    kind: Kind,
    from: Addr,
    to: Addr,
    numbers: [u64; 3],
    text: Option<&str>,
) -> io::Result<()> {
    let (name, labels) = kind.words();
    write!(sink, "{}.{:09} {name} {from}", at / 1_000_000_000, at % 1_000_000_000)?;
    if to != from {
        write!(sink, "→{to}")?;
    }
    for (label, number) in labels.iter().zip(numbers).filter(|(label, _)| !label.is_empty()) {
        match *label {
            "hash" => write!(sink, " hash={number:016x}")?,
            _ => write!(sink, " {label}={number}")?,
        }
    }
    if let Some(text) = text {
        write!(sink, " {}", text.escape_debug())?;
    }
    writeln!(sink)
}

/// Returns the hash of payload bytes, as events carry it.
#[must_use]
pub fn payload(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

fn code(addr: Addr) -> u64 {
    match addr {
        Addr::Node(node) => u64::from(node.0),
        Addr::Client(client) => 1 << 63 | client,
    }
}

/// Finds the first line in which two written traces differ. Returns its number, from 1, and both versions (`<end>` if a
/// trace has ended).
///
/// # Errors
/// A trace cannot be read.
pub fn first_difference(a: impl BufRead, b: impl BufRead) -> io::Result<Option<(u64, String, String)>> {
    let (mut a, mut b) = (a.lines(), b.lines());
    for number in 1.. {
        match (a.next().transpose()?, b.next().transpose()?) {
            (None, None) => break,
            (left, right) if left == right => {}
            (left, right) => {
                let end = || "<end>".to_owned();
                return Ok(Some((number, left.unwrap_or_else(end), right.unwrap_or_else(end))));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use seaworthy::types::NodeId;

    /// A sink whose contents can be read back.
    #[derive(Clone, Default)]
    pub(crate) struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Memory {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(lock(&self.0).clone()).unwrap()
        }
    }

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn recording_leaves_the_hash_alone_and_every_field_changes_it() {
        let memory = Memory::default();
        let (quiet, written) = (Trace::new(), Trace::recording(Box::new(memory.clone())));
        let (one, two) = (Addr::Node(NodeId(1)), Addr::Client(2));
        for trace in [&quiet, &written] {
            trace.event(1_500_000_000, Kind::Send, one, two, [7, 88, 0xabc]);
            trace.note(1_500_000_001, one, "hello\nthere");
        }
        assert_eq!(quiet.hash(), written.hash());
        assert_eq!(
            memory.text(),
            "1.500000000 send n1→c2 frame=7 bytes=88 hash=0000000000000abc\n\
             1.500000001 note n1 bytes=11 hash=8fe08b6d1ba5ae64 hello\\nthere\n"
                .replace("8fe08b6d1ba5ae64", &format!("{:016x}", payload(b"hello\nthere")))
        );
        let hash_of = |at, kind, from, to, numbers| {
            let trace = Trace::new();
            trace.event(at, kind, from, to, numbers);
            trace.hash()
        };
        let hashes = [
            hash_of(1, Kind::Send, one, two, [1, 2, 3]),
            hash_of(2, Kind::Send, one, two, [1, 2, 3]),
            hash_of(1, Kind::Drop, one, two, [1, 2, 3]),
            hash_of(1, Kind::Send, two, two, [1, 2, 3]),
            hash_of(1, Kind::Send, one, one, [1, 2, 3]),
            hash_of(1, Kind::Send, one, two, [0, 2, 3]),
            hash_of(1, Kind::Send, one, two, [1, 0, 3]),
            hash_of(1, Kind::Send, one, two, [1, 2, 0]),
        ];
        for (i, a) in hashes.iter().enumerate() {
            assert!(!hashes[..i].contains(a), "event {i} hashes like an earlier one");
        }
    }

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(first_difference(&b"a\nb\n"[..], &b"a\nb\n"[..]).unwrap(), None);
        let found = first_difference(&b"a\nb\nc\n"[..], &b"a\nx\nc\n"[..]).unwrap();
        assert_eq!(found, Some((2, "b".into(), "x".into())));
        let found = first_difference(&b"a\n"[..], &b"a\nb\n"[..]).unwrap();
        assert_eq!(found, Some((2, "<end>".into(), "b".into())));
    }
}
