//! One suite for what stands behind the seams of a node: disk, transport and clock of the simulated world, and those of a
//! deployed server. What holds of one must hold of the other, or simulation tests something else than what is deployed.
//!
//! Built for the simulated world (`--cfg madsim`) it runs there, and then with each bug planted in the world that it must
//! catch; built for the real one it runs against files in a temporary directory, TCP on this machine and the system's clock.
//!
//! Caveat: what a power failure leaves cannot be tried on a real disk here; the fault ledger watches over that.

mod clock;
mod disk;
#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod simulated;
mod transport;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whether a check passes: if not, what it says.
fn outcome(check: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(check)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// Fails with all that failed.
fn assert_all(results: &[(&str, Result<(), String>)]) {
    assert!(results.len() > 2, "a suite of {} checks", results.len());
    let failed: Vec<String> =
        results.iter().filter_map(|(name, result)| Some(format!("{name}: {}", result.as_ref().err()?))).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
