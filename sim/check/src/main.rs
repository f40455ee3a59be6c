//! `seaworthy-check FILE`: reads a history of any store, decides it, and says why.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
