//! `seaworthy secret`: generates the secret of a cluster.

use super::output::{Exit, Failure, say, to_hex};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Number of random bytes in a secret.
const SECRET_BYTES: usize = 32;

/// Generates a secret, in hexadecimal digits, from the system's entropy.
fn draw() -> io::Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(to_hex(&bytes))
}

/// Writes a new secret to a new file that only its owner can read.
pub(super) fn write_new(path: &Path) -> io::Result<()> {
    let secret = draw()?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()
}

pub(super) fn run(path: Option<&Path>, json: bool) -> Result<Exit, Failure> {
    let Some(path) = path else {
        let secret = draw().map_err(|e| Failure::new(Exit::Failed, format!("no entropy: {e}")))?;
        say(&if json { json!({ "secret": secret }).to_string() } else { secret });
        return Ok(Exit::Done);
    };
    match write_new(path) {
        Ok(()) => Ok(Exit::Done),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            Err(Failure::bad_input(format!("{}: is there already, and stays as it is", path.display())))
        }
        Err(e) => Err(Failure::new(Exit::Failed, format!("{}: {e}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tcp::Secret;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_file_holds_a_new_secret_for_its_owner() {
        let dir = tempfile::tempdir().expect("a directory");
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        for path in [&one, &two] {
            assert_eq!(run(Some(path), false).expect("written"), Exit::Done);
            assert_eq!(std::fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o600);
        }
        let read = |path| std::fs::read(path).expect("there");
        assert_ne!(Secret::new(&read(&one)), Secret::new(&read(&two)));
        let before = read(&one);
        assert_eq!(run(Some(&one), false).expect_err("there already").exit, Exit::BadInput);
        assert_eq!(read(&one), before);
    }
}
