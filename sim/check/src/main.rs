//! `seaworthy-check FILE`: reads a history of any store, checks it and explains the verdict.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
