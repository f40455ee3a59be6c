//! The commands of the `seaworthy` binary: their arguments and their exit status ([`Exit`]).

mod ap;
mod bench;
mod buckets;
mod client;
mod cluster;
mod config;
mod connect;
mod fields;
mod local;
mod output;
mod secret;
mod serve;

pub use config::{Config, SECRET, SecretFrom, load};
pub use output::{Exit, Failure};

use crate::types::NodeId;
use clap::{Args, Parser, Subcommand};
use connect::Target;
use std::path::PathBuf;
use std::process::ExitCode;

const EXIT_STATUS: &str = "Exit status:
  0  done
  1  certainly not done: a condition did not hold, the key is missing, no server could do it
  2  bad input: command line or configuration; nothing was sent or written
  3  unknown: no answer came; a write may have happened, or may yet
  4  the data directory is damaged, in use, or its disk failed";

const EXAMPLES: &str = "Examples:
  seaworthy local-cluster                        three nodes on this machine
  seaworthy put greeting 'ahoy'                  r0 set 9ms
  seaworthy get greeting                         r0 ahoy 2ms
  seaworthy put greeting 'hello' --cmprev 0      only if nobody wrote in between
  seaworthy status                               who leads, how far everyone is
  seaworthy why carts/17                         what each server holds of it, and why";

/// A distributed key-value store that is proven in a storm before it goes to sea.
#[derive(Parser)]
#[command(name = "seaworthy", version, after_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"))]
struct Cli {
    /// Print results and errors as one JSON object
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one node of a cluster
    ///
    /// Logs go to standard error; RUST_LOG sets the level (`info` by default). SIGTERM and Ctrl-C stop it.
    #[command(after_help = "Example:\n  seaworthy serve --config docs/cluster/n1.toml")]
    Serve {
        /// The node's configuration (docs/deploying.md)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Stop when standard input ends: so that nodes do not outlive the `local-cluster` that started them
        #[arg(long, hide = true)]
        until_stdin_ends: bool,
    },
    /// Run a whole cluster on this machine, for trying things out
    ///
    /// Each node is a process of its own, with its own configuration and data under DIR. Ctrl-C stops them all; started
    /// again on the same DIR, the cluster goes on with what it held.
    #[command(after_help = "Example:\n  seaworthy local-cluster --nodes 5 --dir /tmp/five --base-port 7200")]
    LocalCluster(local::Options),
    /// Make the secret by which the servers of a cluster know each other
    ///
    /// Every server needs the same: in the file that its configuration names (secret_file), or in SEAWORTHY_SECRET.
    #[command(after_help = "Examples:
  seaworthy secret cluster.secret    a new file that only its owner can read
  seaworthy secret                   on standard output")]
    Secret {
        /// The file, which must not exist yet; standard output if none is named
        file: Option<PathBuf>,
    },
    /// Write a value
    #[command(after_help = "Examples:
  seaworthy put config v1                 r0 set 9ms
  seaworthy put config v2 --cmprev 0      only if the key is still at revision 0
  seaworthy put lock me --nx --ttl 30000  only if nobody has it; gone after 30 s
  seaworthy put photo - < photo.jpg       the value from standard input
  seaworthy put carts/17 tea --context 0100…   an AP bucket: in place of what the last read showed")]
    Put {
        /// The key
        key: String,
        /// The value; `-` reads it from standard input, as it is
        #[arg(allow_hyphen_values = true)]
        value: String,
        #[command(flatten)]
        when: When,
        /// Milliseconds until the key expires; without it the key stays, even if it was to expire before
        #[arg(long, value_name = "MS")]
        ttl: Option<u64>,
        #[command(flatten)]
        how: ap::Writing,
        #[command(flatten)]
        target: Target,
    },
    /// Read a value: of a CP bucket the newest there is, confirmed with a majority; of an AP bucket every version that
    /// R replicas know and no other supersedes
    #[command(after_help = "Examples:
  seaworthy get config             r1 v2 2ms
  seaworthy get photo --raw > copy.jpg
  seaworthy get carts/17 --r one   an AP bucket: any one replica will do")]
    Get {
        /// The key
        key: String,
        /// Print the value's bytes and nothing else
        #[arg(long, conflicts_with = "json")]
        raw: bool,
        #[command(flatten)]
        how: ap::Reading,
        #[command(flatten)]
        target: Target,
    },
    /// Remove a key
    ///
    /// Of an AP bucket: what the read before it shows, or what --context stands for.
    #[command(after_help = "Example:\n  seaworthy delete config --cmp v2     r2 deleted 5ms")]
    Delete {
        /// The key
        key: String,
        #[command(flatten)]
        when: When,
        #[command(flatten)]
        how: ap::Writing,
        #[command(flatten)]
        target: Target,
    },
    /// Give a key a new expiry; value and revision stay
    #[command(after_help = "Example:\n  seaworthy extend lock 30000     r0 extended 6ms")]
    Extend {
        /// The key
        key: String,
        /// Milliseconds from now
        #[arg(value_name = "MS")]
        ttl: u64,
        #[command(flatten)]
        target: Target,
    },
    /// Change a value of a mergeable AP bucket
    #[command(after_help = "Example:\n  seaworthy update visits/home add 1     updated, strict 2 of 2 3ms
  seaworthy update users/7 field mails set insert a@b.org")]
    Update {
        /// The key
        key: String,
        /// What to do: add N, assign VALUE, insert ELEMENT, remove ELEMENT; to a map: field NAME TYPE and one of these,
        /// where TYPE is counter, pn-counter, register or set; remove-field NAME
        #[arg(required = true, allow_negative_numbers = true)]
        change: Vec<String>,
        #[command(flatten)]
        how: ap::Writing,
        #[command(flatten)]
        target: Target,
    },
    /// Tell what every server holds of a key in an AP bucket, and which write, hint or repair brought it there
    #[command(after_help = "Example:\n  seaworthy why carts/17")]
    Why {
        /// The key
        key: String,
        #[command(flatten)]
        target: Target,
    },
    /// Show every node: role, term, log, keys. Succeeds when one leads and a majority answers
    Status {
        #[command(flatten)]
        target: Target,
    },
    /// Hand leadership to another node, and wait until it leads
    #[command(after_help = "Example:\n  seaworthy transfer n2")]
    Transfer {
        /// The new leader
        #[arg(value_name = "NODE", value_parser = fields::node_id)]
        to: NodeId,
        #[command(flatten)]
        target: Target,
    },
    /// Load a running cluster with writes and measure
    #[command(after_help = "Example:\n  seaworthy bench --clients 64 --seconds 5")]
    Bench(bench::Options),
}

/// When a write is to be refused. Conditions combine; all must hold.
#[derive(Args, Clone)]
struct When {
    /// Only if the key does not exist
    #[arg(long, conflicts_with = "xx")]
    nx: bool,
    /// Only if the key exists
    #[arg(long)]
    xx: bool,
    /// Only if the key holds this value
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    cmp: Option<String>,
    /// Only if the key is at this revision; -1 for a key that does not exist
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cmprev: Option<i64>,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { json, command } = Cli::parse();
    let result = match command {
        Command::Serve { config, until_stdin_ends } => serve::run(&config, until_stdin_ends),
        Command::LocalCluster(options) => local::run(&options),
        Command::Secret { file } => secret::run(file.as_deref(), json),
        Command::Put { key, value, when, ttl, how, target } => {
            client::put(&key, &value, &when, ttl, &how, &target, json)
        }
        Command::Get { key, raw, how, target } => client::get(&key, raw, &how, &target, json),
        Command::Delete { key, when, how, target } => client::delete(&key, &when, &how, &target, json),
        Command::Update { key, change, how, target } => ap::update(&key, &change, &how, &target, json),
        Command::Why { key, target } => ap::why(&key, &target, json),
        Command::Extend { key, ttl, target } => client::extend(&key, ttl, &target, json),
        Command::Status { target } => cluster::status(&target, json),
        Command::Transfer { to, target } => cluster::transfer(to, &target, json),
        Command::Bench(options) => bench::run(&options, json),
    };
    output::finish(result, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_help_text() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
