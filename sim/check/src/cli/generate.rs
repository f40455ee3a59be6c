//! `seaworthy-check generate`: writes a random history.

use super::{GenerateArgs, Trouble, VALID, Written};
use seaworthy_check::format::{export, jsonl};
use seaworthy_check::generate::{Shape, Workload, history};
use std::io::{BufWriter, Write};

/// Writes a random history to standard output.
pub fn generate(args: &GenerateArgs) -> Result<u8, Trouble> {
    let workload = Workload::ALL.iter().find(|(name, _)| *name == args.workload);
    let Some((_, workload)) = workload else {
        return Err(Trouble::new(format!("no workload is called {:?}", args.workload)));
    };
    let shape = Shape {
        operations: args.operations,
        clients: args.clients,
        keys: args.keys,
        values: args.values,
        info: args.info,
        plant: args.plant,
    };
    let history = history(*workload, &shape, args.seed);
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = match args.format {
        Written::Jsonl => jsonl::write(&history, &mut out),
        Written::Edn => export::write(&history, &mut out),
    };
    match written.and_then(|()| out.flush()) {
        // The reader has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(VALID),
        Err(error) => Err(Trouble::new(format!("cannot write: {error}"))),
        Ok(()) => Ok(VALID),
    }
}
