//! `seaworthy-check FILE`: reads a history, checks it and reports.

use super::properties::{self, Finding, LINEARIZABLE, Terms};
use super::{Assumption, CheckArgs, INVALID, ReadingArgs, Trouble, UNKNOWN, VALID, Written, output, progress};
use seaworthy_check::evidence::page::{self, PageInput};
use seaworthy_check::format::{self, Reading, export, jsonl};
use seaworthy_check::model::Misfit;
use seaworthy_check::model::detect::{Meant, detect};
use seaworthy_check::{Function, History, Options, Report, Verdict, explain_as};
use seaworthy_check::{certificate, jepsen, session, txn};
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Reads a history from a file or from standard input. `memory`: the memory budget in bytes. The history may take half
/// of it, because checking takes as much again.
pub fn read(file: &Path, args: &ReadingArgs, memory: usize) -> Result<Reading, Trouble> {
    let name = file.display();
    let located = |error: format::Error| match error {
        format::Error::Malformed { line, column, what } => Trouble::new(format!("{name}:{line}:{column}: {what}")),
        error @ format::Error::TooLarge { line, .. } => Trouble::unknown(format!(
            "{name}:{line}: the history does not fit: {}; give it more, as --budget {}GB, or check fewer keys at a time",
            error.to_string().split_once(": ").map_or("", |(_, what)| what),
            (memory * 4).div_ceil(1_000_000_000),
        )),
        // An error without an error code of the system comes from a decompressor.
        format::Error::Io(error) if error.raw_os_error().is_none() => {
            let said = error.to_string();
            let said = said.split('(').next().unwrap_or_default().trim_end_matches([' ', ':']);
            Trouble::new(format!("{name}: cannot be unpacked, it is damaged or was cut off: {said}"))
        }
        other => Trouble::new(format!("{name}: {other}")),
    };
    if file.as_os_str() == "-" {
        return format::read(BufReader::new(std::io::stdin()), &args.options(memory / 2)).map_err(located);
    }
    let opened = File::open(file).map_err(|error| Trouble::new(format!("{name}: {error}")))?;
    let length = opened.metadata().map_or(0, |data| data.len());
    let input = BufReader::with_capacity(1 << 18, progress::Watched::new(opened, length));
    format::read(input, &args.options(memory / 2)).map_err(located)
}

/// Steps of the search for smaller evidence, shared among the refuted keys. Below: the minimum and maximum per key.
const EVIDENCE_STEPS: u64 = 50_000_000;
const EVIDENCE_STEPS_OF_A_KEY: [u64; 2] = [2_000_000, 20_000_000];

/// Does everything the arguments ask for. Returns the exit status.
pub fn check(file: &Path, args: &CheckArgs) -> Result<u8, Trouble> {
    distinct_files(file, args)?;
    let start = Instant::now();
    let reading = read(file, &args.reading, args.budget.memory)?;
    let read_in = start.elapsed();
    let name = file.display().to_string();
    let history = &reading.history;
    if history.operations().is_empty() {
        if reading.understood.lines == 0 {
            return Err(Trouble::new(format!("{name}:1:1: the file is empty; expected a history")));
        }
        let lines = output::understood(&name, &reading).join("\n");
        return Err(Trouble::new(format!(
            "{name}: no operation was found in it, so there is nothing to check\n{lines}"
        )));
    }
    let (meant, why) = model(&name, args, history)?;
    let other = reading.without_nil();
    let held = history.bytes() + other.as_ref().map_or(0, History::bytes);
    let options = Options {
        steps: u64::MAX,
        memory: args.budget.memory.saturating_sub(held).max(1_000_000),
        evidence_steps: 0,
        threads: match args.threads {
            0 => std::thread::available_parallelism().map_or(1, Into::into),
            n => n,
        },
        time: None,
    };
    let properties = properties::asked(&args.check, meant, history)?;
    let certified = |property: &str| [LINEARIZABLE, "sequential"].contains(&property);
    let levels = |property: &str| txn::Isolation::named(property).is_some();
    if args.certificate.is_some() && !properties.iter().any(|property| certified(property) || levels(property)) {
        return Err(Trouble::new(
            "--certificate: there are certificates of linearizable, of sequential where it holds, and of transactions; \
             --check one of these"
                .to_owned(),
        ));
    }
    let start = Instant::now();
    let terms = Terms {
        options,
        transactions: txn::Options {
            linearizable_keys: args.assume.contains(&Assumption::LinearizableKeys),
            sequential_keys: args.assume.contains(&Assumption::SequentialKeys),
            memory: options.memory,
            ..txn::Options::default()
        },
        accounts: jepsen::Terms {
            total: args.total.map(i128::from),
            accounts: args.accounts.clone(),
            negative_balances: args.negative_balances,
        },
        until: args.budget.time.and_then(|time| start.checked_add(time)),
    };
    let (mut reports, mut staleness, mut left_out): (Vec<Report>, _, Vec<(&str, String)>) =
        (Vec::new(), None, Vec::new());
    let all = args.check.iter().any(|name| name == "all");
    for property in properties {
        if let Some(why) = properties::moot(property, history).filter(|_| all) {
            left_out.push((property, why.to_owned()));
            continue;
        }
        let _line = progress::Line::new(&format!("checking: {property}"));
        match properties::decide(property, meant, history, &terms) {
            Finding::Report(mut report) => {
                // The omitted reads can only make the history easier to linearize.
                let easier = property == LINEARIZABLE && report.is_valid();
                if let Some(other) = other.as_ref().filter(|_| !easier)
                    && let Finding::Report(second) = properties::decide(property, meant, other, &terms)
                {
                    properties::both(&mut report, second);
                }
                let linearizable = |other: &Report| other.property == LINEARIZABLE && other.is_valid();
                if properties::implied(property) && reports.iter().any(linearizable) {
                    properties::imply(&mut report);
                }
                match properties::idle(&report).filter(|_| all) {
                    Some(why) => left_out.push((property, why)),
                    None => reports.push(report),
                }
            }
            Finding::Staleness(figures) => staleness = Some(figures),
            Finding::Misfit(misfit) if all => left_out.push((property, misfit.what)),
            Finding::Misfit(misfit) => return Err(located(&name, history, &misfit)),
        }
    }
    let judged = other.as_ref().unwrap_or(history);
    if let (Meant::Objects(kind), false) = (meant, args.no_evidence) {
        let _line = progress::Line::new("looking for the operations that clash");
        let time = terms.until.map(|until| until.saturating_duration_since(Instant::now()));
        for report in reports.iter_mut().filter(|report| report.property == LINEARIZABLE) {
            let each = EVIDENCE_STEPS / report.violations().count().max(1) as u64;
            let [least, most] = EVIDENCE_STEPS_OF_A_KEY;
            let options = Options { evidence_steps: each.clamp(least, most), time, ..options };
            explain_as(kind, judged, report, &options);
        }
    }
    let took = start.elapsed();
    let understood = output::understood(&name, &reading);
    let mut settings = output::settings(&reading);
    settings.insert(0, ("model".to_owned(), format!("{meant} ({why})")));
    settings.push(("budget".to_owned(), args.budget.to_string()));
    write_files(file, args, &reading, meant, &reports, &options, (&settings, &understood))?;
    if args.json {
        let reports_json: Vec<_> = reports.iter().map(|report| output::json(history, report)).collect();
        let out = json!({
            "file": name, "understood": understood, "operations": history.operations().len(),
            "settings": settings.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "verdict": VERDICTS[usize::from(status(&reports))], "model": meant.name(), "reports": reports_json,
            "left_out": left_out.iter().map(|(property, why)| json!({ "property": property, "why": why })).collect::<Vec<_>>(),
            "staleness": staleness.as_ref().map(|s| s.json()),
            "seconds": { "reading": read_in.as_secs_f64(), "checking": took.as_secs_f64() },
        });
        print(&format!("{out}\n"))?;
    } else {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let mut text = understood.join("\n  ") + "\n";
        for (name, value) in &settings {
            text += &format!("  {name}: {value}\n");
        }
        for report in &reports {
            text += &format!("\n{}", output::text(history, report, colours));
        }
        if let Some(staleness) = &staleness {
            text += &format!("\n{}", staleness.text());
        }
        for (property, why) in &left_out {
            text += &format!("\nleft out of all: {property}, as {why}\n");
        }
        let (reading, checking) = (read_in.as_secs_f64(), took.as_secs_f64());
        text += &format!("\nread in {reading:.3} s, checked in {checking:.3} s\n");
        for path in outputs(args) {
            text += &format!("written: {}\n", path.display());
        }
        print(&text)?;
    }
    Ok(status(&reports))
}

/// Prints to standard output. Ignores a broken pipe: the output may go to a program such as `head` that has read
/// enough.
pub fn print(text: &str) -> Result<(), Trouble> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Trouble::new(format!("cannot write: {error}")))
        }
        _ => Ok(()),
    }
}

/// The verdicts by exit status. Status 2 has no verdict.
const VERDICTS: [&str; 4] = ["valid", "not valid", "", "unknown"];

fn status(reports: &[Report]) -> u8 {
    if reports.iter().any(|report| report.violations().next().is_some()) {
        INVALID
    } else if reports.iter().any(|report| report.parts.iter().any(|part| matches!(part.verdict, Verdict::Unknown(_)))) {
        UNKNOWN
    } else {
        VALID
    }
}

/// The model requested or detected, and the reason for it.
fn model(file: &str, args: &CheckArgs, history: &History) -> Result<(Meant, String), Trouble> {
    let (meant, why) = match &args.model {
        Some(name) => {
            let meant = Meant::named(name);
            (
                meant.ok_or_else(|| Trouble::new(format!("no model is called {name:?}; there are: {}", models())))?,
                "as asked".to_owned(),
            )
        }
        None => {
            let detected = detect(history);
            let why = detected.why;
            let none = || Trouble::new(format!("{file}: {why}; say which with --model: {}", models()));
            (detected.model.ok_or_else(none)?, why.clone())
        }
    };
    let transactions = matches!(meant, Meant::ListAppend | Meant::RwRegister);
    let other = history.operations().iter().find(|op| op.f != Function::Txn).filter(|_| transactions);
    if let Some(op) = other {
        let place = history.line(op.called).map_or(String::new(), |line| format!(":{line}"));
        let f = history.function(op.f);
        return Err(Trouble::new(format!(
            "{file}{place}: {meant} is of transactions, and this is {f}; the models: {}",
            models()
        )));
    }
    if let Meant::Objects(kind) = meant
        && let Err(misfit) = kind.accepts(history)
    {
        let what = format!("{}; the models: {}", misfit.what, models());
        return Err(located(file, history, &Misfit { what, ..misfit }));
    }
    Ok((meant, why))
}

/// The error for an operation that cannot be checked, with its position.
fn located(file: &str, history: &History, misfit: &Misfit) -> Trouble {
    let line = history.line(history.operation(misfit.op).called);
    let place = line.map_or(String::new(), |line| format!(":{line}"));
    Trouble::new(format!("{file}{place}: {}", misfit.what))
}

fn models() -> String {
    let mut names: Vec<&str> = seaworthy_check::Kind::ALL.iter().map(|kind| kind.name()).collect();
    names.extend([Meant::ListAppend, Meant::RwRegister, Meant::Bank].map(Meant::name));
    names.join(", ")
}

fn write_files(
    file: &Path,
    args: &CheckArgs,
    reading: &Reading,
    meant: Meant,
    reports: &[Report],
    options: &Options,
    (settings, understood): (&[(String, String)], &[String]),
) -> Result<(), Trouble> {
    let history = &reading.history;
    let name = file.display().to_string();
    if let Some(path) = &args.html {
        let source = excerpts(file, reading, &page::lines(history, reports));
        let page = page::html(&PageInput {
            title: &name,
            file: &name,
            history,
            reports,
            model: meant.name(),
            settings,
            understood,
            source: &source,
        });
        write(path, |out| out.write_all(page.as_bytes()))?;
    }
    if let Some(path) = &args.certificate {
        let text = certificate(history, meant, reports, options)?;
        write(path, |out| out.write_all(text.as_bytes()))?;
    }
    for (format, path) in &args.export {
        write(path, |out| match format {
            Written::Edn => export::write(history, out),
            Written::Jsonl => jsonl::write(history, out),
        })?;
    }
    Ok(())
}

/// The files to write.
fn outputs(args: &CheckArgs) -> impl Iterator<Item = &PathBuf> {
    args.html.iter().chain(&args.certificate).chain(args.export.iter().map(|(_, path)| path))
}

/// Checks that no output overwrites the history or another output.
fn distinct_files(file: &Path, args: &CheckArgs) -> Result<(), Trouble> {
    let real = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let whole = path.canonicalize().ok();
        whole.or_else(|| Some(folder.canonicalize().ok()?.join(path.file_name()?))).unwrap_or_else(|| path.to_owned())
    };
    let mut taken = vec![(real(file), "the history")];
    for path in outputs(args) {
        let place = real(path);
        // Devices and pipes can be written more than once.
        if place.exists() && !place.is_file() {
            continue;
        }
        if let Some((_, what)) = taken.iter().find(|(other, _)| *other == place) {
            return Err(Trouble::new(format!("{}: would be written over {what}; give another name", path.display())));
        }
        taken.push((place, "another output"));
    }
    Ok(())
}

/// The certificate of the first report for which there can be one.
fn certificate(history: &History, meant: Meant, reports: &[Report], options: &Options) -> Result<String, Trouble> {
    let limits = session::Options { memory: options.memory, ..session::Options::default() };
    let offered = reports.iter().map(|report| match meant {
        Meant::ListAppend | Meant::RwRegister => certificate::transactions(history, report),
        Meant::Bank => Err(certificate::NotOffered("there are no certificates of banks".to_owned())),
        Meant::Objects(kind) if report.property == LINEARIZABLE => certificate::certify(history, kind, report, options),
        Meant::Objects(kind) => certificate::sequential(history, kind, report, &limits),
    });
    let mut refusal = None;
    for text in offered {
        match text {
            Ok(text) => return Ok(text),
            Err(error) => refusal = refusal.or(Some(Trouble::new(error.0))),
        }
    }
    Err(refusal.unwrap_or_else(|| Trouble::new("there is no verdict to certify".to_owned())))
}

fn write(path: &Path, content: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<(), Trouble> {
    let located = |error: std::io::Error| Trouble::new(format!("{}: {error}", path.display()));
    let mut out = BufWriter::new(File::create(path).map_err(located)?);
    content(&mut out).and_then(|()| out.flush()).map_err(located)
}

/// Source lines, if the source is an uncompressed file that can be read a second time.
fn excerpts(file: &Path, reading: &Reading, wanted: &[u32]) -> Vec<(u32, String)> {
    let Ok(opened) = File::open(file) else { return Vec::new() };
    if reading.compression.is_some() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(opened).lines()) {
        match line {
            Ok(line) if wanted.binary_search(&number).is_ok() => found.push((number, line)),
            Ok(_) if wanted.last().is_some_and(|&last| number < last) => {}
            _ => break,
        }
    }
    found
}
