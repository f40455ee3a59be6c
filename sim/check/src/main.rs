//! `seaworthy-check FILE`: reads a history, decides it, and says why.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
