//! `seaworthy-check FILE`: read, decide, tell.

use super::properties::{self, Finding, LINEARIZABLE};
use super::{CheckArgs, INVALID, ReadingArgs, Trouble, UNKNOWN, VALID, output, progress};
use seaworthy_check::evidence::page::{self, PageInput};
use seaworthy_check::format::{self, Reading, export, jsonl};
use seaworthy_check::model::detect::{Meant, detect};
use seaworthy_check::{History, Options, Report, Verdict};
use seaworthy_check::{certificate, session};
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::time::Instant;

/// Reads a history, from a file or from standard input.
pub fn read(file: &Path, args: &ReadingArgs) -> Result<Reading, Trouble> {
    let name = file.display();
    let located = |error: format::Error| match error {
        format::Error::Malformed { line, column, what } => Trouble(format!("{name}:{line}:{column}: {what}")),
        other => Trouble(format!("{name}: {other}")),
    };
    if file.as_os_str() == "-" {
        return format::read(BufReader::new(std::io::stdin()), &args.options()).map_err(located);
    }
    let opened = File::open(file).map_err(|error| Trouble(format!("{name}: {error}")))?;
    let length = opened.metadata().map_or(0, |data| data.len());
    let input = BufReader::with_capacity(1 << 18, progress::Watched::new(opened, length));
    format::read(input, &args.options()).map_err(located)
}

/// Does all that the arguments ask for, and tells the exit status.
pub fn check(file: &Path, args: &CheckArgs) -> Result<u8, Trouble> {
    let start = Instant::now();
    let reading = read(file, &args.reading)?;
    let read_in = start.elapsed();
    let name = file.display().to_string();
    let history = &reading.history;
    if history.operations().is_empty() {
        let lines = output::understood(&name, &reading).join("\n");
        return Err(Trouble(format!("{name}: no operation was found in it, so there is nothing to check\n{lines}")));
    }
    let (meant, why) = model(&name, args, history)?;
    let options = Options {
        steps: u64::MAX,
        memory: args.budget.memory,
        evidence_steps: 200_000_000,
        threads: match args.threads {
            0 => std::thread::available_parallelism().map_or(1, Into::into),
            n => n,
        },
        time: None,
    };
    let start = Instant::now();
    let until = args.budget.time.and_then(|time| start.checked_add(time));
    let (mut reports, mut staleness) = (Vec::new(), None);
    for property in properties::asked(&args.check, meant)? {
        let _line = progress::Line::new(&format!("checking: {property}"));
        match properties::decide(property, meant, history, &options, until) {
            Finding::Report(report) => reports.push(report),
            Finding::Staleness(figures) => staleness = Some(figures),
        }
    }
    let took = start.elapsed();
    let understood = output::understood(&name, &reading);
    let mut settings = output::settings(&reading);
    settings.insert(0, ("model".to_owned(), format!("{meant} ({why})")));
    settings.push(("budget".to_owned(), args.budget.to_string()));
    write_files(file, args, &reading, meant, &reports, &options, (&settings, &understood))?;
    if args.json {
        let reports: Vec<_> = reports.iter().map(|report| output::json(history, report)).collect();
        let out = json!({
            "file": name, "understood": understood, "operations": history.operations().len(),
            "settings": settings.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "model": meant.name(), "reports": reports, "staleness": staleness.as_ref().map(|s| s.json()),
            "seconds": { "reading": read_in.as_secs_f64(), "checking": took.as_secs_f64() },
        });
        print(&format!("{out}\n"))?;
    } else {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let mut text = understood.join("\n");
        let shown: Vec<String> = settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        text += &format!("\n{}\n", shown.join("; "));
        for report in &reports {
            text += &format!("\n{}", output::text(report, colours));
        }
        if let Some(staleness) = &staleness {
            text += &format!("\n{}", staleness.text());
        }
        let (reading, checking) = (read_in.as_secs_f64(), took.as_secs_f64());
        text += &format!("\nread in {reading:.3} s, checked in {checking:.3} s\n");
        if let (Some(page), true) = (&args.html, reports.iter().any(|report| !report.is_valid())) {
            text += &format!("drawn in {}\n", page.display());
        }
        print(&text)?;
    }
    Ok(status(&reports))
}

/// What is asked for may end up in `head`, which has seen enough.
pub fn print(text: &str) -> Result<(), Trouble> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Trouble(format!("cannot write: {error}"))),
        _ => Ok(()),
    }
}

fn status(reports: &[Report]) -> u8 {
    if reports.iter().any(|report| report.violations().next().is_some()) {
        INVALID
    } else if reports.iter().any(|report| report.parts.iter().any(|part| matches!(part.verdict, Verdict::Unknown(_)))) {
        UNKNOWN
    } else {
        VALID
    }
}

/// The model that was asked for, or is detected; and why it is this one.
fn model(file: &str, args: &CheckArgs, history: &History) -> Result<(Meant, String), Trouble> {
    let (meant, why) = match &args.model {
        Some(name) => {
            let meant = Meant::named(name);
            (
                meant.ok_or_else(|| Trouble(format!("no model is called {name:?}; there are: {}", models())))?,
                "as asked".to_owned(),
            )
        }
        None => {
            let detected = detect(history);
            let why = detected.why;
            let none = || Trouble(format!("{file}: {why}; say which with --model: {}", models()));
            (detected.model.ok_or_else(none)?, why.clone())
        }
    };
    if let Meant::Objects(kind) = meant
        && let Err(misfit) = kind.accepts(history)
    {
        let line = history.line(history.operation(misfit.op).called);
        let place = line.map_or(String::new(), |line| format!(":{line}"));
        return Err(Trouble(format!("{file}{place}: {}; the models: {}", misfit.what, models())));
    }
    Ok((meant, why))
}

fn models() -> String {
    let mut names: Vec<&str> = seaworthy_check::Kind::ALL.iter().map(|kind| kind.name()).collect();
    names.extend([Meant::ListAppend.name(), Meant::RwRegister.name()]);
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
    for export in &args.export {
        match export.split_once(':') {
            Some(("edn", path)) => write(Path::new(path), |out| export::write(history, out))?,
            Some(("jsonl", path)) => write(Path::new(path), |out| jsonl::write(history, out))?,
            _ => return Err(Trouble(format!("--export {export}: expected edn:FILE or jsonl:FILE"))),
        }
    }
    Ok(())
}

/// The first of the reports that a certificate is offered for.
fn certificate(history: &History, meant: Meant, reports: &[Report], options: &Options) -> Result<String, Trouble> {
    let limits = session::Options { memory: options.memory, ..session::Options::default() };
    let offered = reports.iter().map(|report| match meant {
        Meant::ListAppend | Meant::RwRegister => certificate::transactions(history, report),
        Meant::Objects(kind) if report.property == LINEARIZABLE => certificate::certify(history, kind, report, options),
        Meant::Objects(kind) => certificate::sequential(history, kind, report, &limits),
    });
    let mut refusal = None;
    for text in offered {
        match text {
            Ok(text) => return Ok(text),
            Err(error) => refusal = refusal.or(Some(Trouble(error.0))),
        }
    }
    Err(refusal.unwrap_or_else(|| Trouble("there is no verdict to certify".to_owned())))
}

fn write(path: &Path, content: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<(), Trouble> {
    let located = |error: std::io::Error| Trouble(format!("{}: {error}", path.display()));
    let mut out = BufWriter::new(File::create(path).map_err(located)?);
    content(&mut out).and_then(|()| out.flush()).map_err(located)
}

/// Lines of the source, when it is a plain file that can be read a second time.
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
