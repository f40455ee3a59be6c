//! `seaworthy-check verify`: a certificate against its history.

use super::{INVALID, Trouble, UNKNOWN, VALID, VerifyArgs, check};
use seaworthy_check::certificate::{Verified, verify as verified};

/// Verifies, and says what was and what was not.
pub fn verify(args: &VerifyArgs) -> Result<u8, Trouble> {
    let reading = check::read(&args.file, &args.reading)?;
    let path = args.certificate.display();
    let text = std::fs::read_to_string(&args.certificate).map_err(|error| Trouble(format!("{path}: {error}")))?;
    let parts = verified(&reading.history, &text).map_err(|error| Trouble(format!("{path}: {error}")))?;
    for part in &parts {
        println!("{part:?}");
    }
    let _ = (INVALID, UNKNOWN, Verified::clone);
    Ok(VALID)
}
