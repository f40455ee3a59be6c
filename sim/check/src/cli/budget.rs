//! The budget of a check: `60s`, `1GB`, or both.

use std::fmt;
use std::time::Duration;

/// Limits of time and memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Time for the whole check; `None` means no limit.
    pub time: Option<Duration>,
    /// Memory for the history and for stored configurations, in bytes.
    pub memory: usize,
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(time) = self.time {
            write!(f, "{time:?}, ")?;
        }
        match self.memory {
            bytes if bytes % 1_000_000_000 == 0 => write!(f, "{} GB", bytes / 1_000_000_000),
            bytes if bytes % 1_000_000 == 0 => write!(f, "{} MB", bytes / 1_000_000),
            bytes => write!(f, "{} kB", bytes / 1_000),
        }
    }
}

/// Parses `60s,1GB`.
pub fn parse(text: &str) -> Result<Budget, String> {
    let mut budget = Budget { time: None, memory: 1_000_000_000 };
    for part in text.split(',').map(str::trim) {
        let digits = part.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(part.len());
        let (number, unit) = part.split_at(digits);
        let wrong = || format!("{part:?} is neither a time (10s, 500ms, 5m) nor a size (512MB, 2GB)");
        let number: f64 = number.parse().ok().filter(|&number| number > 0.0).ok_or_else(wrong)?;
        let seconds = |factor: f64| Duration::try_from_secs_f64(number * factor).map(Some).map_err(|_| wrong());
        match unit.to_ascii_lowercase().as_str() {
            "ms" => budget.time = seconds(1e-3)?,
            "s" => budget.time = seconds(1.0)?,
            "m" | "min" => budget.time = seconds(60.0)?,
            "h" => budget.time = seconds(3_600.0)?,
            "kb" => budget.memory = (number * 1e3) as usize,
            "mb" => budget.memory = (number * 1e6) as usize,
            "gb" => budget.memory = (number * 1e9) as usize,
            _ => return Err(wrong()),
        }
    }
    Ok(budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes() {
        let both = Budget { time: Some(Duration::from_millis(2_500)), memory: 512_000_000 };
        assert_eq!(parse("2.5s, 512MB"), Ok(both));
        assert_eq!(parse("5m").map(|b| b.time), Ok(Some(Duration::from_secs(300))));
        assert_eq!(parse("2.5s, 512MB").map(|b| b.to_string()), Ok("2.5s, 512 MB".to_owned()));
        assert_eq!(parse("60s").map(|b| b.to_string()), Ok("60s, 1 GB".to_owned()));
        for wrong in ["", "5", "s", "5 parsecs", "1e999s", "-1s", "0s", "0GB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
