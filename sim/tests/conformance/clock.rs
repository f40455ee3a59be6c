//! Checks that every clock must pass.

use seaworthy::env::Clock;
use seaworthy::types::Time;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

pub const CHECKS: [&str; 4] = [
    "time never goes back",
    "a sleep lasts as long as asked for",
    "what is past is not waited for",
    "date and time run together",
];

/// Runs the check of this name.
pub async fn check(name: &str, clock: &impl Clock) {
    match name {
        "time never goes back" => never_back(clock).await,
        "a sleep lasts as long as asked for" => sleeps(clock).await,
        "what is past is not waited for" => past(clock).await,
        _ => together(clock).await,
    }
}

async fn never_back(clock: &impl Clock) {
    let mut before = clock.now();
    for round in 0..300 {
        if round % 100 == 0 {
            clock.sleep_until(before + MS).await;
        }
        let (time, _) = clock.read();
        let now = clock.now();
        assert!(before <= time && time <= now, "{before:?}, {time:?}, {now:?}");
        before = now;
    }
}

async fn sleeps(clock: &impl Clock) {
    for length in [1, 3, 20] {
        for part in [0, 300_000, 999_999] {
            let deadline = clock.now() + MS * length + Duration::from_nanos(part);
            clock.sleep_until(deadline).await;
            let now = clock.now();
            assert!(now >= deadline, "{:?} too early", deadline.since(now));
            // A busy machine may be late, but not by two seconds.
            assert!(now.since(deadline) < MS * 2_000, "{:?} too late", now.since(deadline));
        }
    }
}

async fn past(clock: &impl Clock) {
    let before = clock.now();
    clock.sleep_until(Time(0)).await;
    clock.sleep_until(before).await;
    assert!(clock.now().since(before) < MS * 1_000);
}

async fn together(clock: &impl Clock) {
    let (time, wall) = clock.read();
    clock.sleep_until(time + MS * 50).await;
    let (later, date) = clock.read();
    let (by_time, by_date) = (later.since(time), Duration::from_nanos(date.0 - wall.0));
    let apart = by_time.abs_diff(by_date);
    assert!(by_time >= MS * 50 && apart < MS * 5, "{by_time:?} by the one, {by_date:?} by the other");
    assert!(date.0 > 1_700_000_000_000_000_000, "a date after this was written");
}
