//! The origin of a report: commit and compiler, determined at run time so that a binary does not report stale values.

use serde::{Deserialize, Serialize};
use std::{fmt, path::Path, process::Command};

/// The state of the source tree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Commit {
    /// Full hash, or `None` without git or outside a repository.
    pub hash: Option<String>,
    /// Whether there are uncommitted changes or new files, apart from ignored ones.
    pub dirty: bool,
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hash {
            None => f.write_str("unknown"),
            Some(hash) => {
                f.write_str(hash.get(..12).unwrap_or(hash))?;
                f.write_str(if self.dirty { " with uncommitted changes" } else { "" })
            }
        }
    }
}

/// The current commit of the repository that contains `dir`.
#[must_use]
pub fn commit(dir: &Path) -> Commit {
    let Some(hash) = output("git", &["rev-parse", "HEAD"], dir) else {
        return Commit { hash: None, dirty: false };
    };
    let dirty = output("git", &["status", "--porcelain"], dir).is_none_or(|changes| !changes.is_empty());
    Commit { hash: Some(hash), dirty }
}

/// The version of the compiler found in `dir`, or "unknown".
#[must_use]
pub fn toolchain(dir: &Path) -> String {
    output("rustc", &["--version"], dir).unwrap_or_else(|| "unknown".into())
}

/// The output of a program, trimmed, or `None` if it could not be run or failed.
fn output(program: &str, args: &[&str], dir: &Path) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(dir).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(dir: &Path, args: &[&str]) {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
        assert!(Command::new("git").args(identity).args(args).current_dir(dir).output().unwrap().status.success());
    }

    #[test]
    fn a_commit_is_clean_until_a_file_is_added() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(commit(dir.path()).to_string(), "unknown", "not a repository");
        git(dir.path(), &["init", "--quiet"]);
        git(dir.path(), &["commit", "--quiet", "--allow-empty", "--message=first"]);
        let clean = commit(dir.path());
        assert!(!clean.dirty);
        assert_eq!(clean.hash.as_ref().unwrap().len(), 40);
        assert_eq!(clean.to_string().len(), 12);
        std::fs::write(dir.path().join("new"), "").unwrap();
        assert_eq!(commit(dir.path()).to_string(), format!("{clean} with uncommitted changes"));
    }

    #[test]
    fn a_missing_program_is_unknown() {
        assert_eq!(output("no-such-program", &[], Path::new(".")), None);
    }
}
