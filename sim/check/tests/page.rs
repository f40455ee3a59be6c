//! The page is well formed, self-contained and bounded, and no user text is taken for markup.

mod common;

use common::{Rng, Shape, generate, mutate, record};
use seaworthy_check::evidence::page::{MOST_BYTES, PageInput, html, lines};
use seaworthy_check::{
    Call, Evidence, History, OpId, Options, PartReport, Recorder, Reply, Report, Verdict, Version, check,
};
use seaworthy_check::{Datum, End};
use std::collections::BTreeSet;

fn got(value: &str) -> Reply<&str> {
    Reply::Got(Some(Version { value, revision: None }))
}

const DONE: Reply<&str> = Reply::Done { revision: None };

/// Renders the page of a history's reports, with the lines of its source where they are known.
fn page(history: &History, reports: &[Report]) -> String {
    let source: Vec<(u32, String)> =
        lines(history, reports).into_iter().map(|line| (line, format!("text of <line> {line}"))).collect();
    let text = html(&PageInput {
        title: "etcd_000.log",
        file: "etcd_000.log",
        history,
        reports,
        model: "kv",
        settings: &[("format".to_owned(), "Jepsen text log".to_owned()), ("nil".to_owned(), "absent".to_owned())],
        understood: &[
            "170 lines read, 168 events taken".to_owned(),
            "2 lines are no operation (first: line 1)".to_owned(),
        ],
        source: &source,
    });
    if let Ok(folder) = std::env::var("CHECK_PAGES") {
        let name = std::thread::current().name().unwrap_or("page").replace("::", "-");
        std::fs::write(format!("{folder}/{name}.html"), &text).expect("the folder is there");
    }
    text
}

fn evidence(reports: &[Report]) -> Vec<&Evidence> {
    reports.iter().flat_map(Report::violations).collect()
}

/// Checks that every tag is closed in order and every attribute quoted, and that the page refers to no other source.
fn assert_sound(page: &str) {
    assert!(page.len() <= MOST_BYTES, "{} bytes", page.len());
    let mut open: Vec<String> = Vec::new();
    let mut ids = BTreeSet::new();
    let mut rest = page.strip_prefix("<!doctype html>").expect("a doctype");
    while let Some(at) = rest.find('<') {
        assert!(
            !rest[..at].contains('>') || open.last().is_some_and(|tag| tag == "style" || tag == "script"),
            "loose >: {}",
            &rest[..at.min(200)]
        );
        rest = &rest[at + 1..];
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed out of turn");
            continue;
        }
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(!name.is_empty(), "no tag: <{tag}>");
        let mut attributes = tag[name.len()..].trim_end_matches('/');
        while let Some((key, value)) = attributes.split_once("=\"") {
            let (value, after) = value.split_once('"').expect("a quoted value");
            let key = key.trim();
            assert!(
                key.chars().all(|c| c.is_ascii_alphabetic() || c == '-' || "12".contains(c)),
                "attribute {key:?} in <{tag}>"
            );
            assert!(!["src", "srcset", "xlink:href", "data"].contains(&key), "<{tag}>");
            assert!(!key.starts_with("on"), "a handler in <{tag}>");
            if key == "href" {
                assert!(value.starts_with('#'), "<{tag}>");
            }
            if key == "id" {
                assert!(ids.insert(value.to_owned()), "twice: {value}");
            }
            attributes = after;
        }
        assert!(["", " selected", "defer"].contains(&attributes.trim()), "<{tag}>");
        if name == "script" || name == "style" {
            let close = format!("</{name}>");
            let at = rest.find(&close).expect("closed");
            rest = &rest[at + close.len()..];
        } else if !["meta", "input", "br"].contains(&name.as_str()) && !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    for outside in ["http://", "https://", "@import", "url("] {
        let namespace = "xmlns=\"http://www.w3.org/2000/svg\"";
        let bare = page.replace(namespace, "").replace("url(#", "");
        assert!(!bare.contains(outside), "{outside} in the page");
    }
    for link in page.split("href=\"#").skip(1) {
        let target = link.split('"').next().unwrap_or_default();
        assert!(ids.contains(target), "nothing has the id {target}");
    }
}

fn assert_shows_cores(page: &str, reports: &[Report]) {
    for (number, evidence) in (1..).zip(evidence(reports)) {
        for op in &evidence.core {
            assert_eq!(
                page.matches(&format!("id=\"v{number}-{}\"", op.0)).count(),
                1,
                "operation {op:?} is not drawn once"
            );
        }
    }
}

fn stale_history() -> History {
    let mut log = Recorder::default();
    let mut line = 0;
    let mut step = |log: &mut Recorder| {
        line += 1;
        log.at_line(line);
        u64::from(line) * 1_370_000
    };
    let t = step(&mut log);
    let a = log.invoke(0, t, "x", Call::put("1"));
    let t = step(&mut log);
    log.ok(a, t, DONE);
    let t = step(&mut log);
    let b = log.invoke(1, t, "x", Call::put("2"));
    let t = step(&mut log);
    let r = log.invoke(2, t, "x", Call::Get);
    let t = step(&mut log);
    log.ok(r, t, got("1"));
    let t = step(&mut log);
    log.ok(b, t, DONE);
    let t = step(&mut log);
    let r1 = log.invoke(3, t, "x", Call::Get);
    let t = step(&mut log);
    let lost = log.invoke(0, t, "x", Call::cas("7", "8"));
    let t = step(&mut log);
    log.ok(r1, t, got("2"));
    let t = step(&mut log);
    let r2 = log.invoke(2, t, "x", Call::Get);
    let t = step(&mut log);
    log.info(lost, t);
    let t = step(&mut log);
    log.ok(r2, t, got("1"));
    log.finish()
}

#[test]
fn stale_read() {
    let history = stale_history();
    let reports = [check(&history, &Options::default())];
    let page = page(&history, &reports);
    assert_sound(&page);
    assert_shows_cores(&page, &reports);
    assert!(page.contains("reads go backwards") && page.contains("NOT linearizable"));
    assert!(page.contains("etcd_000.log#L12") && page.contains("text of &lt;line&gt; 12"));
    assert!(page.contains("holds &quot;2&quot;"), "the state where it is stuck");
}

#[test]
fn lost_update() {
    let mut log = Recorder::default();
    let first = log.invoke(0, 10, "account", Call::put("100"));
    log.ok(first, 20, DONE);
    let a = log.invoke(1, 30, "account", Call::cas("100", "80"));
    let b = log.invoke(2, 40, "account", Call::cas("100", "150"));
    log.ok(a, 50, DONE);
    log.ok(b, 60, DONE);
    let c = log.invoke(0, 70, "account", Call::Get);
    log.ok(c, 80, got("150"));
    let history = log.finish();
    let reports = [check(&history, &Options::default())];
    let page = page(&history, &reports);
    assert_sound(&page);
    assert_shows_cores(&page, &reports);
}

/// A history whose store forgot a write, with its report.
fn broken(shape: Shape, seed: u64) -> (History, Vec<Report>) {
    let mut rng = Rng(seed);
    loop {
        let mut raws = generate(shape, &mut rng);
        mutate(&mut raws, &mut rng);
        let history = record(&raws);
        let report = check(&history, &Options::default());
        if report.violations().next().is_some() {
            return (history, vec![report]);
        }
    }
}

const TWENTY: Shape =
    Shape { ops: 600, processes: 20, keys: 3, values: 0, info: 3, fail: 2, conditional: 20, revisions: 0 };

#[test]
fn twenty_clients() {
    let (history, reports) = broken(TWENTY, 11);
    let page = page(&history, &reports);
    assert_sound(&page);
    assert_shows_cores(&page, &reports);
    assert!(page.contains("among more of the operations around it"));
}

#[test]
fn valid_history() {
    let history = record(&generate(Shape { ops: 5_000, keys: 40, ..TWENTY }, &mut Rng(3)));
    let reports = [check(&history, &Options::default())];
    assert!(reports[0].is_valid());
    let page = page(&history, &reports);
    assert_sound(&page);
    assert!(page.contains("class=\"verdict good\"") && page.contains("class=\"overview\""));
    assert!(!page.contains("class=\"violation\""));
}

#[test]
fn transactions_that_form_a_cycle() {
    use seaworthy_check::Function;
    use seaworthy_check::evidence::{Edge, Link};
    use seaworthy_check::history::recorder::Step;
    let mut log = Recorder::default();
    let key = |log: &mut Recorder, name: &str| log.value(Datum::Text(name));
    let (x, y) = (key(&mut log, "x"), key(&mut log, "y"));
    let [one, two] = [1, 2].map(|n| log.value(Datum::Int(n)));
    let append = |key, value| Step { f: Function::Append, key, value, list: None };
    let read = |key, list| Step { f: Function::Read, key, value: seaworthy_check::Value::UNTOLD, list: Some(list) };
    let a = [append(x, one), read(y, &[])];
    let b = [append(y, two), read(x, &[])];
    let all = [read(x, std::slice::from_ref(&one)), read(y, std::slice::from_ref(&two))];
    let (t1, t2) = (log.begin_txn(0, 10, &a), log.begin_txn(1, 20, &b));
    log.end_txn(t1, 30, End::Ok, Some(&a));
    log.end_txn(t2, 40, End::Ok, Some(&b));
    let t3 = log.begin_txn(2, 50, &all);
    log.end_txn(t3, 60, End::Ok, Some(&all));
    let history = log.finish();
    let edge = |from, to, why: &str| Edge { from: OpId(from), to: OpId(to), link: Link::Other, why: why.to_owned() };
    let evidence = Evidence {
        part: "transactions".to_owned(),
        anomaly: "G2-item".to_owned(),
        breaks: None,
        event: None,
        core: vec![OpId(0), OpId(1)],
        given: Vec::new(),
        edges: vec![edge(0, 1, "rw y: did not see 2"), edge(1, 0, "rw x: did not see 1")],
        minimal: true,
        order: Vec::new(),
        explanation: "process 0's transaction read y before process 1's append of 2, and process 1's read x before \
                      process 0's append of 1: neither can be first."
            .to_owned(),
        diagram: String::new(),
    };
    let verdict = Verdict::Invalid(Box::new(evidence));
    let part = PartReport {
        name: "transactions".to_owned(),
        operations: 3,
        verdict,
        by: "cycles",
        steps: 3,
        counts: Vec::new(),
        figures: Vec::new(),
    };
    let reports = [Report { property: "serializable", parts: vec![part] }];
    let page = page(&history, &reports);
    assert_sound(&page);
    assert_shows_cores(&page, &reports);
    assert!(page.contains(">rw y</text>") && page.contains(">T1 "));
}

/// Returns the values of numeric attributes of a tag.
fn numbers<const N: usize>(tag: &str, names: [&str; N]) -> [f64; N] {
    names.map(|name| {
        let (_, rest) = tag.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("{name} of {tag}"));
        rest.split('"').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name} of {tag}"))
    })
}

/// Concurrent transactions with edges between all lanes: labels cover no bar and no other label.
#[test]
fn labels_of_arrows_cover_no_bars() {
    use seaworthy_check::Function;
    use seaworthy_check::evidence::{Edge, Link};
    use seaworthy_check::history::recorder::Step;
    let mut log = Recorder::default();
    let x = log.value(Datum::Text("x"));
    let steps = [1, 2, 3].map(|n| log.value(Datum::Int(n)));
    let steps = steps.map(|value| Step { f: Function::Append, key: x, value, list: None });
    let open: Vec<OpId> = (0..6).map(|process| log.begin_txn(process, 0, &steps)).collect();
    for op in open {
        log.end_txn(op, 1, End::Ok, Some(&steps));
    }
    // One more transaction of the first client.
    let last = log.begin_txn(0, 2, &steps);
    log.end_txn(last, 3, End::Ok, Some(&steps));
    let history = log.finish();
    let pairs = [(0, 2), (2, 0), (0, 4), (4, 1), (1, 5), (5, 0), (0, 6), (6, 3), (3, 5), (5, 3)];
    let edge = |(from, to)| Edge { from: OpId(from), to: OpId(to), link: Link::Other, why: "rw some key".to_owned() };
    let evidence = Evidence {
        part: "transactions".to_owned(),
        anomaly: "G2-item".to_owned(),
        breaks: None,
        event: None,
        core: (0..7).map(OpId).collect(),
        given: Vec::new(),
        edges: pairs.into_iter().map(edge).collect(),
        minimal: true,
        order: Vec::new(),
        explanation: "a circle".to_owned(),
        diagram: String::new(),
    };
    let verdict = Verdict::Invalid(Box::new(evidence));
    let part = PartReport {
        name: "transactions".to_owned(),
        operations: 7,
        verdict,
        by: "cycles",
        steps: 3,
        counts: Vec::new(),
        figures: Vec::new(),
    };
    let page = page(&history, &[Report { property: "serializable", parts: vec![part] }]);
    assert_sound(&page);
    for drawing in page.split("<svg").skip(1).map(|rest| rest.split("</svg>").next().unwrap_or_default()) {
        let bars = drawing.split("<g class=\"op").skip(1).map(|tag| numbers(tag, ["data-x", "data-y", "data-w"]));
        let bars: Vec<[f64; 3]> = bars.collect();
        let edges = drawing.split("<g class=\"edge\">").skip(1);
        let labels: Vec<[f64; 2]> =
            edges.map(|tag| tag.split_once("<text").expect("a label").1).map(|tag| numbers(tag, ["x", "y"])).collect();
        if labels.is_empty() {
            continue;
        }
        assert_eq!((bars.len(), labels.len()), (7, 10));
        let wide = 7.25 * "rw some key".len() as f64;
        for (i, &[x, y]) in labels.iter().enumerate() {
            for &[left, top, w] in &bars {
                let beside = x + wide < left || left + w < x || y < top || top + 26.0 < y - 11.0;
                assert!(beside, "label {i} at {x},{y} covers the bar at {left},{top}");
            }
            for &[other, below] in &labels[..i] {
                assert!((y - below).abs() > 11.0 || (x - other).abs() > wide, "label {i} at {x},{y} covers another");
            }
        }
    }
}

#[test]
fn what_users_wrote_is_never_markup() {
    let nasty = [
        "</script><script>alert(1)</script>",
        "<!-- --><img src=x onerror=alert(1)>",
        "\" onmouseover=\"alert(1)",
        "' onfocus='alert(1)",
        "&lt;&amp;",
        "\u{202e}desrever\u{200f}",
        "\0\u{1}\u{7f}\r\n\t",
        "]]>--></style>",
    ];
    for text in nasty {
        let mut log = Recorder::default();
        let write = log.invoke(0, 1, text, Call::put(text));
        log.ok(write, 2, DONE);
        let other = log.invoke(1, 3, text, Call::put("other"));
        log.ok(other, 4, DONE);
        let read = log.invoke(2, 5, text, Call::Get);
        log.ok(read, 6, got(text));
        let (a, b) = (log.value(Datum::Text("lone")), log.value(Datum::Symbol(text)));
        let request = seaworthy_check::Request::new(seaworthy_check::Function::Write, b);
        let op = log.begin(3, 7, a, request);
        log.end(op, 8, End::Ok, seaworthy_check::Value::UNTOLD, None);
        let read = log.invoke(2, 9, "lone", Call::Get);
        log.ok(read, 10, Reply::Got(None));
        let history = log.finish();
        let reports = [check(&history, &Options::default())];
        assert_eq!(evidence(&reports).len(), 2);
        let settings = [(text.to_owned(), text.to_owned())];
        let page = html(&PageInput {
            title: text,
            file: text,
            history: &history,
            reports: &reports,
            model: text,
            settings: &settings,
            understood: &[text.to_owned()],
            source: &[],
        });
        assert_sound(&page);
        assert_shows_cores(&page, &reports);
        let plain = html(&PageInput {
            title: "",
            file: "",
            history: &Recorder::default().finish(),
            reports: &[],
            model: "",
            settings: &[],
            understood: &[],
            source: &[],
        });
        assert_sound(&plain);
        assert_eq!(page.matches("<script").count(), plain.matches("<script").count(), "{text}");
        assert!(!page.contains("<img"), "{text}");
        assert!(
            !page.chars().any(|c| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c)),
            "{text:?}"
        );
    }
}

/// Many broken keys with long texts and many clients: what does not fit is counted, and the page stays small.
#[test]
fn the_page_is_bounded() {
    let mut log = Recorder::default();
    let long = "\"<long>&".repeat(2_000);
    for n in 0..3_000u32 {
        let (key, first, second) = (format!("{n}-{long}"), format!("a{n}{long}"), format!("b{n}{long}"));
        let other = log.invoke(90_000 + n, 1, &key, Call::put(&second));
        let write = log.invoke(n, 1, &key, Call::put(&first));
        log.ok(write, 2, DONE);
        let read = log.invoke(n, 3, &key, Call::Get);
        log.ok(read, 4, Reply::Got(None));
        log.info(other, 5);
    }
    let history = log.finish();
    let reports = [check(&history, &Options::default())];
    assert_eq!(evidence(&reports).len(), 3_000);
    let lines: Vec<(String, String)> = (0..5_000).map(|n| (format!("{n}{long}"), long.clone())).collect();
    let understood: Vec<String> = (0..5_000).map(|_| long.clone()).collect();
    let source: Vec<(u32, String)> = (0..100_000).map(|line| (line, long.clone())).take(10).collect();
    let page = html(&PageInput {
        title: &long,
        file: &long,
        history: &history,
        reports: &reports,
        model: "kv",
        settings: &lines,
        understood: &understood,
        source: &source,
    });
    assert_sound(&page);
    assert!(page.contains("more violations are in the table below"));
    assert!(page.contains("more parts are not listed"));
    assert!(page.len() > 1 << 20, "{} bytes: the room is not used", page.len());
}

/// One key with a large core: the diagram shows its end, and says what is missing.
#[test]
fn a_large_core_is_cut() {
    let mut history = Recorder::default();
    for n in 0..2_000u32 {
        let value = format!("v{n}");
        let write = history.invoke(n % 30, u64::from(n), "k", Call::put(&value));
        history.ok(write, u64::from(n), DONE);
    }
    let history = history.finish();
    let core: Vec<OpId> = (0..2_000).map(OpId).collect();
    let evidence = Evidence {
        part: "k".to_owned(),
        anomaly: String::new(),
        breaks: Some(OpId(1_999)),
        event: Some(3_999),
        order: core.clone(),
        core,
        given: Vec::new(),
        edges: Vec::new(),
        minimal: false,
        explanation: "a made-up violation".to_owned(),
        diagram: String::new(),
    };
    let verdict = Verdict::Invalid(Box::new(evidence));
    let part = PartReport {
        name: "k".to_owned(),
        operations: 2_000,
        verdict,
        by: "test",
        steps: 1,
        counts: Vec::new(),
        figures: Vec::new(),
    };
    let reports = [Report { property: "linearizable", parts: vec![part] }];
    let page = page(&history, &reports);
    assert_sound(&page);
    assert!(page.contains("id=\"v1-1999\"") && page.contains("1,940 more operations clash"));
    assert!(page.contains("The evidence may be larger than it need be"));
}
