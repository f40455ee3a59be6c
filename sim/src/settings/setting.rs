//! Values with a single text form, which is the same in scenarios and plans.

use serde_json::Value as Json;
use std::time::Duration;

/// A value that can be read from and written as one word.
pub trait Setting: Sized {
    /// The expected values, for error messages.
    fn what() -> String;
    /// Parses the word.
    fn parse(text: &str) -> Option<Self>;
    /// Returns the value as a word. [`Setting::parse`] reads it back exactly.
    fn show(&self) -> String;
    /// The value as JSON: a string unless it is a number or a truth value.
    fn json(&self) -> Json {
        Json::String(self.show())
    }
}

macro_rules! number {
    ($($type:ty: $what:literal),+) => { $(
        impl Setting for $type {
            fn what() -> String {
                $what.into()
            }
            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
            fn show(&self) -> String {
                self.to_string()
            }
            fn json(&self) -> Json {
                Json::from(*self)
            }
        }
    )+ };
}

number!(u32: "a whole number", u64: "a whole number", i64: "a whole number", bool: "true or false");

/// A probability, from 0 to 1.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Default)]
pub struct Probability(pub f64);

impl Setting for Probability {
    fn what() -> String {
        "a probability from 0 to 1".into()
    }
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|p| (0.0..=1.0).contains(p)).map(Probability)
    }
    fn show(&self) -> String {
        self.0.to_string()
    }
    fn json(&self) -> Json {
        Json::from(self.0)
    }
}

const UNITS: [(&str, u64); 5] =
    [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000)];

/// Parses a text such as `250ms`, `1.5s` or `2m` into nanoseconds.
fn nanos(text: &str) -> Option<u64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let unit = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit()).then(|| t.parse::<u64>().ok()).flatten();
    let scale = 10u64.checked_pow(u32::try_from(fraction.len()).ok().filter(|n| *n <= 9)?)?;
    let fraction = u128::from(digits(fraction)?) * u128::from(unit) / u128::from(scale);
    digits(whole)?.checked_mul(unit)?.checked_add(u64::try_from(fraction).ok()?)
}

/// The shortest exact text, in the largest unit that divides it. Minutes are written as seconds.
fn show_nanos(nanos: u64) -> String {
    let (unit, size) = UNITS[..4].iter().rev().find(|(_, size)| nanos.is_multiple_of(*size)).unwrap_or(&UNITS[0]);
    format!("{}{unit}", nanos / size)
}

impl Setting for Duration {
    fn what() -> String {
        "a duration such as 250ms, 3s or 2m".into()
    }
    fn parse(text: &str) -> Option<Self> {
        nanos(text).map(Duration::from_nanos)
    }
    fn show(&self) -> String {
        show_nanos(u64::try_from(self.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A signed length of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Shift(pub i64);

impl Setting for Shift {
    fn what() -> String {
        "a signed duration such as 250ms or -3s".into()
    }
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix('-') {
            Some(rest) => i64::try_from(nanos(rest)?).ok().map(|n| Shift(-n)),
            None => i64::try_from(nanos(text)?).ok().map(Shift),
        }
    }
    fn show(&self) -> String {
        format!("{}{}", if self.0 < 0 { "-" } else { "" }, show_nanos(self.0.unsigned_abs()))
    }
}

/// From `low` to `high`, both included. Written `low..high`, or as one value when they are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Between<T> {
    /// The lower bound.
    pub low: T,
    /// The upper bound.
    pub high: T,
}

impl<T: Setting + PartialOrd + Clone> Setting for Between<T> {
    fn what() -> String {
        format!("{}, or two with `..` between, the lesser first", T::what())
    }
    fn parse(text: &str) -> Option<Self> {
        let (low, high) = match text.split_once("..") {
            Some((low, high)) => (T::parse(low)?, T::parse(high)?),
            None => (T::parse(text)?, T::parse(text)?),
        };
        (low <= high).then_some(Between { low, high })
    }
    fn show(&self) -> String {
        match self.low == self.high {
            true => self.low.show(),
            false => format!("{}..{}", self.low.show(), self.high.show()),
        }
    }
}

impl<T: Setting> Setting for Option<T> {
    fn what() -> String {
        format!("{}, or none", T::what())
    }
    fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(None),
            _ => T::parse(text).map(Some),
        }
    }
    fn show(&self) -> String {
        self.as_ref().map_or("none".into(), T::show)
    }
    fn json(&self) -> Json {
        self.as_ref().map_or(Json::Null, T::json)
    }
}

/// A word without spaces: the name of a scenario, a fault or a key.
impl Setting for String {
    fn what() -> String {
        "a word without spaces".into()
    }
    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains(char::is_whitespace)).then(|| text.into())
    }
    fn show(&self) -> String {
        self.clone()
    }
}

/// Declares an enum whose values are words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $value:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($(#[$doc])* $value,)+ }

        impl $crate::settings::Setting for $name {
            fn what() -> String {
                format!("one of {}", [$($word),+].join(", "))
            }
            fn parse(text: &str) -> Option<Self> {
                match text {
                    $($word => Some($name::$value),)+
                    _ => None,
                }
            }
            fn show(&self) -> String {
                match self { $($name::$value => $word,)+ }.into()
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_exactly() {
        for (text, nanos, shown) in [
            ("250ms", 250_000_000, "250ms"),
            ("1.5s", 1_500_000_000, "1500ms"),
            ("2m", 120_000_000_000, "120s"),
            ("0s", 0, "0s"),
            ("3.214s", 3_214_000_000, "3214ms"),
        ] {
            let parsed = Duration::parse(text).expect(text);
            assert_eq!(parsed, Duration::from_nanos(nanos));
            assert_eq!(parsed.show(), shown);
            assert_eq!(Duration::parse(shown), Some(parsed));
        }
        for bad in ["", "3", "s", "-3s", "3 s", "3sec", "1.2.3s", "99999999999999s", "+3s", "0.0000000001s"] {
            assert_eq!(Duration::parse(bad), None, "{bad}");
        }
        assert_eq!(Shift::parse("-30s"), Some(Shift(-30_000_000_000)));
        assert_eq!(Shift(-1_500).show(), "-1500ns");
    }

    #[test]
    fn ranges_are_ordered() {
        assert_eq!(Between::<u64>::parse("3..5"), Some(Between { low: 3, high: 5 }));
        assert_eq!(Between::<u64>::parse("5..3"), None);
        assert_eq!(Between { low: 4u64, high: 4 }.show(), "4");
    }
}
