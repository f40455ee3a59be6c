//! `seaworthy-check replicas`: checks a leaderless store.

use super::{INVALID, ReplicasArgs, Trouble, UNKNOWN, VALID, check as output};
use seaworthy_check::format::Error;
use seaworthy_check::replicas::{self, Findings, Observed, Options, Policy, jsonl};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;

/// Reads a history, checks it and prints the findings.
pub fn check(args: &ReplicasArgs) -> Result<u8, Trouble> {
    let name = args.file.display();
    let read = if args.file.as_os_str() == "-" {
        jsonl::read(std::io::stdin())
    } else {
        jsonl::read(File::open(&args.file).map_err(|error| Trouble::new(format!("{name}: {error}")))?)
    };
    let (observed, mut options) = read.map_err(|error| match error {
        Error::Malformed { line, column, what } => Trouble::new(format!("{name}:{line}:{column}: {what}")),
        other => Trouble::new(format!("{name}: {other}")),
    })?;
    if observed.operations.is_empty() && observed.dumps.is_empty() {
        return Err(Trouble::new(format!(
            "{name}: neither an operation nor a dump is in it, so there is nothing to check"
        )));
    }
    if let Some(policy) = &args.policy {
        options.policy =
            Policy::ALL.iter().find(|(name, _)| name == policy).map_or(options.policy, |(_, policy)| *policy);
    }
    options.strict |= args.strict;
    options.final_from = args.final_from.or(options.final_from);
    let findings = replicas::check(&observed, &options);
    let (verdict, status) = match (findings.is_valid(), findings.figures.keys_too_large) {
        (false, _) => ("not valid", INVALID),
        (true, 0) => ("valid", VALID),
        (true, _) => ("unknown", UNKNOWN),
    };
    if args.json {
        let Options { policy, strict, final_from, .. } = options;
        let properties: BTreeMap<&str, u64> =
            options.properties(&observed).map(|name| (name, findings.counts.get(name).copied().unwrap_or(0))).collect();
        let out = json!({
            "file": name.to_string(), "policy": policy.name(), "strict": strict, "final_from": final_from,
            "verdict": verdict, "properties": properties, "violations": findings.violations,
            "figures": findings.figures,
        });
        output::print(&format!("{out}\n"))?;
    } else {
        output::print(&text(&name.to_string(), (&observed, &options), &findings))?;
    }
    Ok(status)
}

fn text(name: &str, (observed, options): (&Observed, &Options), findings: &Findings) -> String {
    let strict = if options.strict { ", strict quorums" } else { "" };
    let mut text = format!("{name}: policy {}{strict}\n\n", options.policy.name());
    for property in options.properties(observed) {
        let Some(count) = findings.counts.get(property) else {
            let _ = writeln!(text, "VALID: {property}");
            continue;
        };
        let _ = writeln!(text, "NOT VALID: {property} ({count})");
        let told = findings.violations.iter().filter(|violation| violation.property == property);
        let mut left = *count;
        for violation in told {
            left -= 1;
            let _ = writeln!(text, "  {}: {}", violation.key, violation.words);
        }
        if left > 0 {
            let _ = writeln!(text, "  … and {left} more");
        }
    }
    text + &format!("\n{}", findings.figures)
}
