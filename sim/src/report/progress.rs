//! The progress bar during runs: how many are done, how many did not pass, the speed and the remaining time.
//!
//! It is drawn on standard error, so that standard output contains only tables and JSON. It is not drawn if standard
//! error is not a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar over a known number of runs.
pub struct Progress {
    bar: ProgressBar,
    not_passed: u64,
}

impl Progress {
    /// A bar over `total` runs; invisible with `quiet` (for `--json`) or when standard error is not a terminal.
    #[must_use]
    pub fn new(total: u64, quiet: bool) -> Progress {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let shape = "{bar:30.cyan/dim} {pos}/{len} runs · {msg} · {per_sec} · {eta} to go";
        bar.set_style(
            ProgressStyle::with_template(shape)
                .expect("invariant: the template is a constant, and every test makes it")
                .with_key("per_sec", |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                    let _ = write!(out, "{:.1} runs/s", state.per_sec());
                })
                .progress_chars("━╸─"),
        );
        let progress = Progress { bar, not_passed: 0 };
        progress.show_failures();
        progress
    }

    /// Counts one finished run.
    pub fn done(&mut self, passed: bool) {
        if !passed {
            self.not_passed += 1;
            self.show_failures();
        }
        self.bar.inc(1);
    }

    /// Prints a line above the bar; nothing when the bar is invisible.
    pub fn line(&self, text: &str) {
        self.bar.println(text);
    }

    /// Removes the bar.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }

    fn show_failures(&self) {
        self.bar.set_message(format!("{} failed", self.not_passed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_counts_runs_and_failures() {
        let mut progress = Progress::new(4, true);
        assert_eq!(progress.bar.message(), "0 failed");
        progress.done(true);
        progress.done(false);
        assert_eq!((progress.bar.position(), progress.bar.length()), (2, Some(4)));
        assert_eq!(progress.bar.message(), "1 failed");
        assert!(progress.bar.is_hidden());
    }
}
