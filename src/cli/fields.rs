//! Checks of single values in a configuration file and on the command line.

use crate::types::NodeId;
use std::ops::Range;
use toml::Spanned;

/// A mistake and its position, in bytes from the start of the file.
pub(super) type Mistake = (Option<Range<usize>>, String);

pub(super) fn checked<T>(value: &Spanned<String>, check: impl Fn(&str) -> Result<T, String>) -> Result<T, Mistake> {
    check(value.get_ref()).map_err(|what| (Some(value.span()), what))
}

pub(super) fn bounded(
    value: Option<&Spanned<u64>>,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, Mistake> {
    let Some(value) = value else { return Ok(None) };
    if range.contains(value.get_ref()) {
        return Ok(Some(*value.get_ref()));
    }
    let (least, most) = range.into_inner();
    Err((Some(value.span()), format!("expected a number from {least} to {most}, found {}", value.get_ref())))
}

/// Parses a node name: `n1` is node 1.
///
/// # Errors
/// The text is not a node name.
pub fn node_id(name: &str) -> Result<NodeId, String> {
    match name.strip_prefix('n').and_then(|digits| digits.parse().ok()) {
        Some(id @ 1..) if name == NodeId(id).to_string() => Ok(NodeId(id)),
        _ => Err(format!("expected a node's name, n1 to n{}, found {name:?}", u32::MAX)),
    }
}

/// Checks a `host:port`.
///
/// # Errors
/// The host or the port is missing.
pub fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err(format!("expected an address, host:port, found {text:?}")),
    }
}
