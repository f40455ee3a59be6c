//! `seaworthy-check verify`: verifies a certificate against its history.

use super::{INVALID, Trouble, UNKNOWN, VALID, VerifyArgs, check};
use seaworthy_check::certificate::{Verified, verify as verified};

/// Verifies a certificate and prints how many parts are proven and which are not.
pub fn verify(args: &VerifyArgs) -> Result<u8, Trouble> {
    let reading = check::read(&args.file, &args.reading, usize::MAX)?;
    let path = args.certificate.display();
    let text = std::fs::read_to_string(&args.certificate).map_err(|error| Trouble::new(format!("{path}: {error}")))?;
    let parts = verified(&reading.history, &text).map_err(|error| {
        Trouble::new(format!("{path}:{}: the certificate does not prove it: {}", error.line, error.what))
    })?;
    let count = |wanted: fn(&Verified) -> bool| parts.iter().filter(|part| wanted(part)).count();
    let valid = count(|part| *part == Verified::Valid);
    let invalid = count(|part| *part == Verified::Invalid);
    let unknown = parts.len() - valid - invalid;
    let mut text = format!("verified: {valid} parts valid, {invalid} not valid, {unknown} not proven\n");
    for part in &parts {
        if let Verified::Unknown(why) = part {
            text += &format!("  not proven: {why}\n");
        }
    }
    check::print(&text)?;
    Ok(match (invalid, unknown) {
        (0, 0) => VALID,
        (0, _) => UNKNOWN,
        _ => INVALID,
    })
}
