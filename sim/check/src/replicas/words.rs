//! Descriptions of operations.

use super::{Call, End, Operation};

/// Maximum number of values shown of a list.
const SHOWN: usize = 8;

/// Describes an operation: `client 3's write "v7" (1.5 to 2.25 ms, quorum)`.
pub fn op(op: &Operation) -> String {
    let what = match &op.call {
        Call::Get => "read".to_owned(),
        Call::Put { value, saw } => format!("write of {value:?}{}", seen(saw)),
        Call::Delete { saw } => format!("delete{}", seen(saw)),
        Call::Add(n) => format!("addition of {n}"),
        Call::Insert(element) => format!("insertion of {element:?}"),
        Call::Remove(element) => format!("removal of {element:?}"),
    };
    let end = match (&op.end, op.returned) {
        (End::Ok(Some(found)), Some(_)) => format!(" → {}", values(found)),
        (End::Ok(None), Some(_)) => String::new(),
        (End::Fail, _) => " that failed".to_owned(),
        _ => " of unknown outcome".to_owned(),
    };
    let when = match op.returned {
        Some(returned) => format!("{} to {} ms", ms(op.called), ms(returned)),
        None => format!("from {} ms", ms(op.called)),
    };
    let level = if op.level.is_empty() { String::new() } else { format!(", {}", op.level) };
    format!("client {}'s {what}{end} ({when}{level})", op.client)
}

fn seen(saw: &[String]) -> String {
    if saw.is_empty() { String::new() } else { format!(" over {}", values(saw)) }
}

/// Lists values, or says `nothing` if there are none.
pub fn values(values: &[String]) -> String {
    if values.is_empty() {
        return "nothing".to_owned();
    }
    let list: Vec<String> = values.iter().take(SHOWN).map(|value| format!("{value:?}")).collect();
    let more = if values.len() > SHOWN { format!(" and {} more", values.len() - SHOWN) } else { String::new() };
    list.join(", ") + &more
}

/// Formats a time in milliseconds, without trailing zeros.
pub fn ms(nanoseconds: u64) -> String {
    let text = format!("{}.{:06}", nanoseconds / 1_000_000, nanoseconds % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
