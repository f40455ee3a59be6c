//! Counters: for each actor, the sum of its additions and the sum of its subtractions, under the dot of its latest
//! write.

use super::dots::Dots;
use crate::dynamo::version_vector::Dot;
use serde::{Deserialize, Serialize};

/// What an actor has added, and what it has subtracted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) up: u64,
    pub(super) down: u64,
}

/// A counter.
pub(super) type Counter = Dots<Tally>;

/// Adds `n` in the write with the dot `dot`.
///
/// # Errors
/// The actor's sum would overflow.
pub(super) fn add(counter: &mut Counter, n: i64, dot: Dot) -> Result<(), String> {
    let held_by_actor = Dot { count: 0, ..dot }..=Dot { count: u64::MAX, ..dot };
    let own = counter.0.range(held_by_actor).next().map(|(held, tally)| (*held, *tally));
    let mut tally = own.map_or_else(Tally::default, |(_, tally)| tally);
    let side = if n < 0 { &mut tally.down } else { &mut tally.up };
    *side = side.checked_add(n.unsigned_abs()).ok_or("the counter is full: it cannot count any further this way")?;
    if let Some((held, _)) = own {
        counter.0.remove(&held);
    }
    counter.0.insert(dot, tally);
    Ok(())
}

/// The sum of all actors, clamped to the range of JSON's integers.
pub(super) fn render(counter: &Counter) -> serde_json::Value {
    let sum: i128 = counter.0.values().map(|tally| i128::from(tally.up) - i128::from(tally.down)).sum();
    match u64::try_from(sum) {
        Ok(sum) => sum.into(),
        Err(_) if sum > 0 => u64::MAX.into(),
        Err(_) => i64::try_from(sum).unwrap_or(i64::MIN).into(),
    }
}

/// Whether each actor occurs only once and, if the counter only `grows`, nothing was subtracted.
pub(super) fn is_sane(counter: &Counter, grows: bool) -> bool {
    let mut actors = counter.0.keys().map(|dot| dot.actor);
    let mut last = actors.next();
    actors.all(|actor| last.replace(actor) != Some(actor)) && !(grows && counter.0.values().any(|tally| tally.down > 0))
}
