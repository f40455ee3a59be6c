//! One conformance suite for the implementations of a node's environment traits: disk, transport and clock, of the
//! simulated world and of a deployed server. Both must behave alike, or simulation does not test what is deployed.
//!
//! Built for the simulated world (`--cfg madsim`), the suite runs there, and then again with each bug planted in the
//! world that it must catch. Built for the real one, it runs against files in a temporary directory, TCP on this
//! machine and the system's clock.
//!
//! Caveat: the effects of a power failure cannot be tested on a real disk here; the fault ledger checks the simulated
//! ones.

mod clock;
mod disk;
#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod simulated;
mod transport;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whether a check passes. If not, returns its panic message.
fn outcome(check: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(check)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// Panics with all failures, if there are any.
fn assert_all(results: &[(&str, Result<(), String>)]) {
    assert!(results.len() > 2, "a suite of {} checks", results.len());
    let failed: Vec<String> =
        results.iter().filter_map(|(name, result)| Some(format!("{name}: {}", result.as_ref().err()?))).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
