//! `placement`: how many keys move when a cluster grows or shrinks, for each placement strategy.

use super::run::json;
use super::{Failure, reports};
use crate::placement::{markdown, measure, svg, text};
use clap::Args;
use std::fs;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example:\n  cargo sim placement --nodes 20 --keys 100000")]
pub(super) struct Placement {
    /// Servers of the largest cluster
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(3..=500))]
    nodes: u32,
    /// Keys to place
    #[arg(long, value_name = "K", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    keys: u32,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Where to write placement.svg, placement.json and placement.md
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Placement {
    pub(super) fn run(self) -> Result<(), Failure> {
        let report = measure(self.nodes, self.keys);
        let dir = self.out.unwrap_or_else(|| reports().join("placement"));
        let all = json(&report)?;
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        for (name, content) in [("svg", svg(&report)), ("json", all.clone() + "\n"), ("md", markdown(&report))] {
            let path = dir.join(format!("placement.{name}"));
            fs::write(&path, content).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        if self.json {
            say!("{all}");
        } else {
            say!("{} keys on 3 to {} servers\n\n{}", self.keys, self.nodes, text(&report));
            say!("\nwritten to {}", dir.display());
        }
        Ok(())
    }
}
