//! The `seaworthy` binary; its commands are in [`seaworthy::cli`].

fn main() -> std::process::ExitCode {
    seaworthy::cli::main()
}
