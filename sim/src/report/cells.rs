//! The cells of one line of a comparison, as words and figures: the same for terminal, markdown and page.
//!
//! A line is one scenario in one mode. A figure that is part of a whole is shown with the whole, or as a percentage
//! rounded to our disadvantage. A figure that was not measured is a dash, never a zero. [`LEGEND`] explains each
//! column.

use super::record::Share;
use super::summary::{Decided, Group, ModeSummary, Summary, Verdicts};
use crate::settings::Mode;

/// The meaning of a text, for its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    None,
    /// A figure that stands out but is not a verdict.
    Note,
    Good,
    Doubt,
    Bad,
    Head,
}

/// One cell.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, tone: Tone::None }
    }
}

/// The titles of the columns after the scenario's name, and whether they contain numbers.
pub(super) const COLUMNS: [(&str, bool); 15] = [
    ("mode", false),
    ("seeds", true),
    ("verdict", false),
    ("storm", true),
    ("calm", true),
    ("p50", true),
    ("p99", true),
    ("stale reads", true),
    ("conflicts", true),
    ("lost", true),
    ("by policy", true),
    ("linearizable", false),
    ("heal", true),
    ("frames/op", true),
    ("bytes/op", true),
];

/// The meaning of the columns, and when a figure is not a verdict.
pub(super) const LEGEND: [(&str, &str); 10] = [
    (
        "verdict",
        "pass: all that the scenario promises in that mode held, and every fault asked for touched something. FAIL: a \
         promise was broken. inert: nothing broke, but a fault touched nothing, so it proves nothing. unknown: the \
         checkers gave up. All else are figures.",
    ),
    (
        "storm, calm",
        "operations answered in time, of those due while faults were on and after they had ended; rounded down.",
    ),
    (
        "p50, p99",
        "from the instant an operation was due to its answer, retries included; answered operations only; rounded up by \
         less than 1/32.",
    ),
    ("stale reads", "reads that missed a write acknowledged before they began, of the reads judged."),
    ("conflicts", "reads that returned several versions, of the reads that returned any."),
    (
        "lost",
        "acknowledged writes that in the end were neither there, nor overwritten by one that knew them, nor resolved as \
         declared; of those looked for.",
    ),
    (
        "by policy",
        "acknowledged writes that last-writer-wins lost to an older value, as its bucket asked for; not among the lost.",
    ),
    ("linearizable", "the clients' history, by seeds. CP promises yes; AP does not, and no is then no failure."),
    ("heal", "from the end of the storm until all replicas agreed, the slowest seed; n/m: seen in n of m seeds."),
    (
        "frames, bytes",
        "sent between all, for each operation. –: not measured, or nothing there to measure (AP alone has policies and \
         several versions).",
    ),
];

/// The cells of one line, in the order of [`COLUMNS`].
pub(super) fn cells(mode: Mode, m: &ModeSummary) -> [Cell; COLUMNS.len()] {
    let noted = |share: Share| note(part(share.ok, share.of), share.ok > 0);
    [
        mode.to_string().into(),
        grouped(m.seeds).into(),
        verdict(m.verdicts),
        percent(m.availability.storm).into(),
        percent(m.availability.calm).into(),
        duration(m.latency.permille(500)).into(),
        duration(m.latency.permille(990)).into(),
        noted(m.stale),
        part(m.conflicts.ok, m.conflicts.of).into(),
        lost(m),
        policy(m),
        linearizable(m.linearizable),
        heal(m).into(),
        per_op(m.messages, m.counted_ops).map_or_else(dash, |n| format!("{n:.1}")).into(),
        per_op(m.bytes, m.counted_ops).map_or_else(dash, size).into(),
    ]
}

/// The lines of a summary with their labels. Pairs come first, because they are compared; then, if there are several
/// pairs, their total; then groups that ran in one mode only.
pub(super) fn lines(summary: &Summary) -> Vec<(String, Vec<[Cell; COLUMNS.len()]>)> {
    let of = |g: &Group| (label(g), g.modes.iter().map(|(mode, m)| cells(*mode, m)).collect());
    let mut lines: Vec<_> = summary.pairs().map(of).collect();
    if lines.len() > 1 {
        let totals = summary.totals();
        lines.push((
            format!("these {} together", lines.len()),
            totals.iter().map(|(mode, m)| cells(*mode, m)).collect(),
        ));
    }
    lines.extend(summary.groups.iter().filter(|g| g.modes.len() == 1).map(of));
    lines
}

fn dash() -> String {
    "–".into()
}

fn note(text: String, stands_out: bool) -> Cell {
    Cell { text, tone: if stands_out { Tone::Note } else { Tone::None } }
}

/// "n/of", or a dash if `of` is zero.
fn part(n: u64, of: u64) -> String {
    if of == 0 { dash() } else { format!("{}/{}", grouped(n), grouped(of)) }
}

fn lost(m: &ModeSummary) -> Cell {
    match m {
        ModeSummary { acknowledged: 0, lost: 0, .. } => dash().into(),
        ModeSummary { acknowledged: 0, lost, .. } => Cell { text: grouped(*lost), tone: Tone::Bad },
        ModeSummary { acknowledged, lost, .. } => {
            Cell { text: part(*lost, *acknowledged), tone: if *lost > 0 { Tone::Bad } else { Tone::None } }
        }
    }
}

/// Only AP has a policy.
fn policy(m: &ModeSummary) -> Cell {
    if m.ap.is_none() || (m.acknowledged == 0 && m.lost_to_policy == 0) {
        return dash().into();
    }
    note(grouped(m.lost_to_policy), m.lost_to_policy > 0)
}

/// The worst result, with its count.
pub(super) fn linearizable(d: Decided) -> Cell {
    let all = d.yes + d.no + d.undecided;
    let of =
        |n: u64, what: &str| if n == all { what.to_owned() } else { format!("{what} {}/{}", grouped(n), grouped(all)) };
    match d {
        Decided { no: n @ 1.., .. } => note(of(n, "no"), true),
        Decided { yes: n @ 1.., .. } => of(n, "yes").into(),
        _ => dash().into(),
    }
}

fn heal(m: &ModeSummary) -> String {
    let time = millis(m.slowest_heal_ms);
    if m.healed == 0 || m.healed == m.seeds { time } else { format!("{time} {}", part(m.healed, m.seeds)) }
}

/// The average per operation.
pub(super) fn per_op(n: u64, ops: u64) -> Option<f64> {
    (ops > 0).then(|| n as f64 / ops as f64)
}

/// Bytes with three significant digits.
fn size(bytes: f64) -> String {
    match bytes {
        b if b < 999.5 => format!("{b:.0} B"),
        b if b < 9_995.0 => format!("{:.2} kB", b / 1e3),
        b if b < 99_950.0 => format!("{:.1} kB", b / 1e3),
        b if b < 999_500.0 => format!("{:.0} kB", b / 1e3),
        b => format!("{:.2} MB", b / 1e6),
    }
}

/// A time in milliseconds that was rounded down when it was measured.
pub(super) fn millis(ms: Option<u64>) -> String {
    match ms {
        Some(0) => "< 1 ms".into(),
        Some(ms @ 1..1_000) => format!("{ms} ms"),
        _ => duration(ms.and_then(|ms| ms.checked_mul(1_000_000))),
    }
}

/// The scenario's name, with the planted bug if there is one.
pub(super) fn label(group: &Group) -> String {
    match &group.mutant {
        None => group.scenario.clone(),
        Some(mutant) => format!("{} + {mutant}", group.scenario),
    }
}

/// The worst verdict, with its count.
pub(super) fn verdict(v: Verdicts) -> Cell {
    let of = |n: u64, what: &str| if v.total() == n { what.to_owned() } else { format!("{n}/{} {what}", v.total()) };
    let (text, tone) = match v {
        Verdicts { fail: n @ 1.., .. } => (of(n, "FAIL"), Tone::Bad),
        Verdicts { unknown: n @ 1.., .. } => (of(n, "unknown"), Tone::Doubt),
        Verdicts { inert: n @ 1.., .. } => (of(n, "inert"), Tone::Doubt),
        Verdicts { pass: 1.., .. } => ("pass".into(), Tone::Good),
        _ => ("no runs".into(), Tone::Doubt),
    };
    Cell { text, tone }
}

/// A number with separators between thousands.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share in percent, rounded down so that only the whole is 100, or a dash if nothing was asked.
pub(super) fn percent(share: Share) -> String {
    if share.of == 0 {
        return "–".into();
    }
    let basis_points = u128::from(share.ok) * 10_000 / u128::from(share.of);
    match basis_points {
        10_000 => "100 %".into(),
        b => format!("{}.{:02} %", b / 100, b % 100),
    }
}

/// Nanoseconds with three significant digits in a suitable unit, or a dash for `None`.
pub(super) fn duration(ns: Option<u64>) -> String {
    let Some(ns) = ns else { return "–".into() };
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        1_000_000_000..120_000_000_000 => (ns as f64 / 1e9, "s"),
        120_000_000_000..7_200_000_000_000 => (ns as f64 / 60e9, "min"),
        _ => (ns as f64 / 3600e9, "h"),
    };
    match value {
        v if v < 9.995 => format!("{v:.2} {unit}"),
        v if v < 99.95 => format!("{v:.1} {unit}"),
        v => format!("{v:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let nothing = cells(Mode::Ap, &ModeSummary::default());
        let measured: Vec<&str> = nothing.iter().map(|c| c.text.as_str()).filter(|text| *text != "–").collect();
        assert_eq!(measured, ["AP", "0", "no runs"]);
        let unlooked = ModeSummary { lost: 2, ..ModeSummary::default() };
        assert_eq!(lost(&unlooked).text, "2", "a loss is shown even without what it is a part of");
    }

    #[test]
    fn linearizable_is_told_by_seeds() {
        let told = |yes, no, undecided| linearizable(Decided { yes, no, undecided }).text;
        assert_eq!(told(3, 0, 0), "yes");
        assert_eq!(told(0, 3, 0), "no");
        assert_eq!(told(2, 1, 1), "no 1/4");
        assert_eq!(told(2, 0, 1), "yes 2/3");
        assert_eq!(told(0, 0, 3), "–");
    }

    #[test]
    fn healing_in_some_seeds_is_not_healing_in_all() {
        let m = |healed| ModeSummary { seeds: 4, healed, slowest_heal_ms: Some(1_250), ..ModeSummary::default() };
        assert_eq!(heal(&m(4)), "1.25 s");
        assert_eq!(heal(&m(3)), "1.25 s 3/4");
        assert_eq!(millis(Some(0)), "< 1 ms");
        assert_eq!(millis(Some(18)), "18 ms");
    }

    #[test]
    fn sizes_have_three_digits() {
        assert_eq!(
            [0.0, 999.4, 1_234.0, 12_340.0, 123_400.0, 1_234_000.0].map(size),
            ["0 B", "999 B", "1.23 kB", "12.3 kB", "123 kB", "1.23 MB"]
        );
    }

    #[test]
    fn numbers_are_rounded_against_us() {
        assert_eq!(percent(Share { ok: 99_999, of: 100_000 }), "99.99 %");
        assert_eq!(percent(Share { ok: 3, of: 3 }), "100 %");
        assert_eq!(percent(Share::default()), "–");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
        for (ns, text) in [
            (999, "999 ns"),
            (1_500, "1.50 µs"),
            (99_940, "99.9 µs"),
            (123_456_789, "123 ms"),
            (30_000_000_000, "30.0 s"),
            (600_000_000_000, "10.0 min"),
            (7_200_000_000_000, "2.00 h"),
        ] {
            assert_eq!(duration(Some(ns)), text);
        }
    }
}
