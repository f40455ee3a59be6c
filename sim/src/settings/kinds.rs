//! The kinds of faults: names, fields and meanings, for the parser and for the manual.

/// Name of each kind, its fields with their defaults, and what it does.
pub const KINDS: [(&str, &str, &str); 23] = [
    (
        "partition",
        "shape=split clients=drawn",
        "Cuts the target off. Shapes: `split` (from the rest, both ways), `mute` (what it sends is lost), `deaf` (what \
         it should hear is lost), `bridge` (it reaches all, the rest fall into two halves), `ring` (target `all`: each \
         reaches two neighbours only, in a drawn order). In a split each client is on one side, and reaches only that; \
         `clients` puts them there: `drawn`, `free` (they reach all), `none` or a list such as `c1,c2`. A scenario may \
         add `flap = \"100ms..400ms\"`: the cut then comes and goes, each spell that long.",
    ),
    (
        "link",
        "on=both latency=0s jitter=0s tail=0 tail_max=0s loss=0 duplicate=0 reorder=0 reorder_by=50ms corrupt=0 bandwidth=none",
        "Makes the target's links worse by this much, in both directions: times add up, probabilities combine as \
         independent chances, the least bandwidth counts. `on`: `peers`, `clients` or `both`.",
    ),
    (
        "hang",
        "on=both",
        "Nothing arrives over the target's links; what was sent meanwhile arrives at the end, as when a connection \
         stalls.",
    ),
    (
        "delay",
        "on=peers way=out by=2s",
        "What is sent over the target's links while it lasts arrives so much later, overtaken by what is sent afterwards, \
         like the rest of an older connection. `way`: what the target sends (`out`), what is sent to it (`in`) or `both`.",
    ),
    ("reset", "on=both", "What is on its way over the target's links is lost. Instantaneous."),
    (
        "kill",
        "unsynced=tear",
        "The process dies and is started again at the end. What it wrote and did not sync: `tear` (each sector survives \
         by chance), `garble` (likewise, and half of the physical blocks that were being written hold noise: the server may \
         refuse to start from then on) or `keep`.",
    ),
    (
        "directory",
        "with=empty age=3s",
        "The process dies and is started again at the end, on another data directory: `empty`, `old` (its own as it was \
         `age` before), `another` (a copy of the next server's), `foreign` (of the same server in another cluster, of a \
         later term and with a longer log) or `altered` (its own, with an empty state in place of the one in its snapshots, \
         checksums and all). For good: under Raft the server counts as lost from then on.",
    ),
    ("pause", "", "The process stands still and then goes on, as if nothing had been."),
    ("disk-slow", "times=20", "Every operation takes so many times as long."),
    ("disk-stall", "", "No disk operation returns before the end."),
    (
        "disk-full",
        "free=0 refuses=growth",
        "Only so many more bytes fit. Refused are: files that grow (`growth`), syncs of what has grown (`syncs`, as where \
         space is allocated late) or all writes, into reserved space too (`writes`, as where what is overwritten is \
         copied). A server that stops over it is started again at the end, with space.",
    ),
    (
        "fsync-fail",
        "pages=dropped",
        "Syncs fail. What was to be synced is lost (`dropped`), or stays readable and counts as clean, as on Linux \
         (`clean`): a further sync succeeds, and a power failure takes it. The server must stop; it is started again at \
         the end.",
    ),
    (
        "fsync-lie",
        "loses=all",
        "Syncs are reported as done and are not. A power failure while it lasts takes `all` that was written since, or \
         `some` of it. The server cannot know, and may refuse to start from then on.",
    ),
    (
        "read-error",
        "of=log sectors=1 oldest=0.5",
        "So many durable sectors, drawn among this share of them from the oldest on, cannot be read until written anew. \
         `of`: those of the `log` or of a `snapshot`. Instantaneous and for good: the server may refuse to start from \
         then on.",
    ),
    (
        "rot",
        "of=log sectors=1 oldest=0.5",
        "Bits flip in so many durable sectors, drawn likewise; `of=header`: in the heads of the log's sectors. \
         Instantaneous and for good, like a read error.",
    ),
    (
        "misdirect",
        "writes=1",
        "The next so many writes land on another sector of the file. Instantaneous and for good, like rot.",
    ),
    ("clock-jump", "by=30s", "Wall time jumps, by up to this in either direction. Instantaneous, and stays."),
    (
        "clock-drift",
        "ppm=10000",
        "Both clocks run too fast or too slow, by up to this many parts per million. The error it left stays.",
    ),
    (
        "clock-strobe",
        "by=500ms period=100ms",
        "Wall time jumps forth and back by up to this, each time the period has passed.",
    ),
    ("clock-freeze", "", "Both clocks stand still; the processes go on."),
    (
        "transfer",
        "",
        "The leader is asked to hand over to the target. Instantaneous; an operation rather than a fault.",
    ),
    (
        "stop",
        "",
        "The server is told to stop, as by SIGTERM: it hands over what it leads, answers what is under way and ends. It is \
         started again at the end; if it has not ended by then it is killed first.",
    ),
    (
        "forge",
        "lie=term",
        "A frame reaches the target in another server's name that this server has not sent. `lie`: it names the last of all \
         `term`s, or `entries` in place of those that are committed. With `transport = \"tcp\"` it comes from an impostor who \
         does not know the cluster's secret. Instantaneous.",
    ),
];
