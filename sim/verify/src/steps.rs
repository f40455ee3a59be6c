//! The steps, in the order in which they run.

use std::path::Path;
use std::process::Command;

/// The version of cargo-deny to install if there is none.
const DENY_VERSION: &str = "0.20.2";

/// One check.
#[derive(Debug)]
pub(crate) struct Step {
    /// Its name on the command line and in the table.
    pub(crate) name: &'static str,
    /// The programs to run, in order; all must succeed.
    pub(crate) commands: Vec<Invocation>,
}

impl Step {
    /// Returns its commands as typed in a shell.
    pub(crate) fn shown(&self) -> String {
        self.commands.iter().map(Invocation::shown).collect::<Vec<_>>().join(" && ")
    }
}

/// A program, its arguments, and environment variables to set.
#[derive(Debug)]
pub(crate) struct Invocation {
    program: String,
    args: Vec<String>,
    env: Vec<(&'static str, &'static str)>,
}

impl Invocation {
    /// Creates an invocation of a program with arguments.
    pub(crate) fn of(program: &str, args: &[&str]) -> Invocation {
        Invocation { program: program.into(), args: args.iter().map(|&a| a.into()).collect(), env: Vec::new() }
    }

    fn with(mut self, env: &[(&'static str, &'static str)]) -> Invocation {
        self.env.extend(env);
        self
    }

    /// Returns the command, to be run in `root`.
    pub(crate) fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().copied()).current_dir(root);
        command
    }

    /// Returns the command line as typed in a shell.
    pub(crate) fn shown(&self) -> String {
        let env = self.env.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let words = std::iter::once(&self.program).chain(&self.args).map(|w| quoted(w));
        env.chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// Puts `word` in double quotes if the shell would otherwise interpret it differently.
fn quoted(word: &str) -> String {
    if word.contains([' ', '\'', '[']) { format!("\"{word}\"") } else { word.to_owned() }
}

/// Returns all steps.
pub(crate) fn all(root: &Path) -> Vec<Step> {
    let step = |name, commands| Step { name, commands };
    let one = |name, args: &[&str]| step(name, vec![Invocation::of("cargo", args)]);
    vec![
        one("fmt", &["fmt", "--all", "--check"]),
        step("deny", deny(root)),
        one("clippy", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        step(
            "clippy-sim",
            vec![simulated("clippy", &["--quiet", "--lib", "--bins", "--tests", "--", "-D", "warnings"])],
        ),
        step(
            "docs",
            vec![
                Invocation::of("cargo", &["doc", "--quiet", "--workspace", "--no-deps"])
                    .with(&[("RUSTDOCFLAGS", "-D warnings")]),
            ],
        ),
        one("tests", &["test", "--workspace"]),
        one("tests-shipped", &["test", "--package", "seaworthy"]),
        step("tests-sim", vec![simulated("test", &[])]),
        // Uses the build that the tests made; `cargo sim` would make another one, with link-time optimisation.
        step("sweep", vec![simulated("run", &["--quiet", "--", "sweep", "scenarios/", "--seeds", "20"])]),
        step("audit", vec![simulated("run", &["--quiet", "--", "audit", "--seeds", "10", "--reruns", "5"])]),
    ]
}

/// Returns a cargo command on the simulator in the simulated build; see the alias `sim` in `.cargo/config.toml`.
fn simulated(command: &str, rest: &[&str]) -> Invocation {
    let world = ["--release", "--config", "build.rustflags=['--cfg','madsim']", "--target-dir", "target/sim"];
    let args: Vec<&str> =
        [command].iter().chain(&world).chain(&["--package", "seaworthy-sim"]).chain(rest).copied().collect();
    Invocation::of("cargo", &args)
}

/// Uses cargo-deny from the path if it is there, otherwise a copy installed into `target/tools` the first time.
fn deny(root: &Path) -> Vec<Invocation> {
    let check = ["check", "licenses", "bans", "sources"];
    if Command::new("cargo-deny").arg("--version").output().is_ok_and(|o| o.status.success()) {
        return vec![Invocation::of("cargo-deny", &check)];
    }
    let ours = root.join("target/tools/bin/cargo-deny");
    let check = Invocation::of("target/tools/bin/cargo-deny", &check);
    if ours.is_file() {
        return vec![check];
    }
    // Optimized for a short build, not for speed: it runs for a second.
    let quick = [
        ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
        ("CARGO_PROFILE_RELEASE_LTO", "off"),
        ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ];
    let install = ["install", "cargo-deny", "--version", DENY_VERSION, "--locked", "--root", "target/tools"];
    vec![Invocation::of("cargo", &install).with(&quick), check]
}
