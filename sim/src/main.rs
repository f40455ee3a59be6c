//! The `sim` binary: `cargo sim …`.

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    seaworthy_sim::cli::main()
}

/// Without `--cfg madsim` there is no simulated world to run in.
#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    eprintln!("error: this build runs on the real network and clock; start the simulator with `cargo sim …`");
    std::process::ExitCode::from(2)
}
