//! The commands that send requests to a cluster.

use super::When;
use super::ap::{self, Reading, Writing};
use super::connect::{Target, TcpClient, block_on};
use super::output::{Exit, Failure, Paint, bytes, millis, ms, paint, say, show, versioned_json};
use crate::client::ClientError;
use crate::dynamo::Update;
use crate::kv::{Condition, Reply, Versioned, Write};
use crate::types::Bytes;
use serde_json::json;
use std::io::{Read as _, Write as _, stdout};
use std::time::Instant;

fn value_bytes(text: &str, hex: bool) -> Result<Bytes, Failure> {
    if text != "-" {
        return bytes("value", text, hex);
    }
    let mut value = Vec::new();
    // One byte more than allowed is enough for the value to be refused.
    let most = crate::types::MAX_VALUE_BYTES as u64 + 1;
    let read = std::io::stdin().take(most).read_to_end(&mut value);
    read.map_err(|e| Failure::bad_input(format!("standard input: {e}")))?;
    Ok(value.into())
}

fn condition(when: &When, hex: bool) -> Result<Condition, Failure> {
    Ok(Condition {
        exists: match (when.nx, when.xx) {
            (true, _) => Some(false),
            (_, true) => Some(true),
            _ => None,
        },
        value: when.cmp.as_ref().map(|text| bytes("--cmp", text, hex)).transpose()?,
        revision: when.cmprev,
    })
}

pub(super) fn put(
    key: &str,
    value: &str,
    when: &When,
    ttl_ms: Option<u64>,
    how: &Writing,
    target: &Target,
    json: bool,
) -> Result<Exit, Failure> {
    let (key, when) = (bytes("key", key, target.hex)?.into(), condition(when, target.hex)?);
    let value = value_bytes(value, target.hex)?;
    let update = Update::Set(value.clone());
    either(&Write::Put { key, value, when, ttl_ms }, update, how, "set", target, json)
}

pub(super) fn delete(key: &str, when: &When, how: &Writing, target: &Target, json: bool) -> Result<Exit, Failure> {
    let (key, when) = (bytes("key", key, target.hex)?.into(), condition(when, target.hex)?);
    either(&Write::Delete { key, when }, Update::Delete, how, "deleted", target, json)
}

/// Writes to a key of a bucket of either mode; only the servers know which mode it is.
fn either(
    write: &Write,
    update: Update,
    how: &Writing,
    done: &str,
    target: &Target,
    json: bool,
) -> Result<Exit, Failure> {
    write.check_limits().map_err(Failure::bad_input)?;
    let conditional = match write {
        Write::Put { when, ttl_ms, .. } => *when != Condition::default() || ttl_ms.is_some(),
        Write::Delete { when, .. } => *when != Condition::default(),
        Write::Extend { .. } => true,
    };
    let of_cp = "--nx, --xx, --cmp, --cmprev and --ttl are for keys of CP buckets";
    if conditional && how.is_given() {
        return Err(Failure::bad_input(format!(
            "{of_cp}, --context, --w, --sloppy, --strict, --read-back for AP ones"
        )));
    }
    block_on(async {
        let mut client = target.connect().await?;
        if !how.is_given() {
            match write_cp(&mut client, write.clone(), done, target, json).await {
                Err(Cp::Client(ClientError::OtherMode(true))) if conditional => {
                    return Err(Failure::bad_input(format!("{of_cp}, and this key is in an AP bucket")));
                }
                Err(Cp::Client(ClientError::OtherMode(true))) => {}
                other => return other.map_err(Failure::from),
            }
        }
        ap::write(&mut client, write.key().clone(), update, how, done, (target.hex, json)).await
    })
}

/// Why a write to a CP bucket failed. Client errors are kept apart: one of them means that the bucket is an AP bucket.
enum Cp {
    Client(ClientError),
    Other(Failure),
}

impl From<Cp> for Failure {
    fn from(error: Cp) -> Failure {
        match error {
            Cp::Client(error) => error.into(),
            Cp::Other(failure) => failure,
        }
    }
}

pub(super) fn extend(key: &str, ttl_ms: u64, target: &Target, json: bool) -> Result<Exit, Failure> {
    let key = bytes("key", key, target.hex)?.into();
    let write = Write::Extend { key, ttl_ms };
    write.check_limits().map_err(Failure::bad_input)?;
    block_on(async {
        let mut client = target.connect().await?;
        Ok(write_cp(&mut client, write, "extended", target, json).await?)
    })
}

async fn write_cp(client: &mut TcpClient, write: Write, done: &str, target: &Target, json: bool) -> Result<Exit, Cp> {
    let begun = Instant::now();
    let reply = client.write(write).await.map_err(Cp::Client)?;
    let took = begun.elapsed();
    match reply {
        Reply::Done { revision, commit } => {
            if json {
                let object = json!({ "done": done, "revision": revision, "commit": commit.0, "ms": ms(took) });
                say(&object.to_string());
            } else {
                say(&format!("r{revision} {done} {}", paint(Paint::Dim, &millis(took), &stdout())));
            }
            Ok(Exit::Done)
        }
        Reply::Refused(present) => {
            if json {
                let present = present.as_ref().map(versioned_json);
                say(&json!({ "refused": true, "present": present, "ms": ms(took) }).to_string());
            } else {
                let holds = present.map_or("no such key".to_owned(), |found| line(&found, target.hex));
                let time = paint(Paint::Dim, &millis(took), &stdout());
                say(&format!("{} {holds} {time}", paint(Paint::Bad, "refused:", &stdout())));
            }
            Ok(Exit::Failed)
        }
        other => {
            let message = format!("the server gave an answer of the wrong kind: {other:?}");
            Err(Cp::Other(Failure::new(Exit::Unknown, message)))
        }
    }
}

pub(super) fn get(key: &str, raw: bool, how: &Reading, target: &Target, json: bool) -> Result<Exit, Failure> {
    let key = ap::checked_key(key, target)?;
    block_on(async {
        let mut client = target.connect().await?;
        let begun = Instant::now();
        let found = match how.is_given() {
            true => Err(ClientError::OtherMode(true)),
            false => client.get(key.clone()).await,
        };
        let took = begun.elapsed();
        let found = match found {
            Err(ClientError::OtherMode(true)) => return ap::get(&mut client, key, how, raw, target.hex, json).await,
            other => other?,
        };
        let exit = if found.is_some() { Exit::Done } else { Exit::Failed };
        if json {
            let mut object = found.as_ref().map_or(json!({}), versioned_json);
            object["found"] = json!(found.is_some());
            object["ms"] = ms(took);
            say(&object.to_string());
        } else {
            let time = paint(Paint::Dim, &millis(took), &stdout());
            match found {
                Some(found) if raw => {
                    let written = stdout().write_all(&found.value).and_then(|()| stdout().flush());
                    written.map_err(|e| Failure::new(Exit::Failed, format!("standard output: {e}")))?;
                }
                Some(found) => say(&format!("{} {time}", line(&found, target.hex))),
                None if raw => return Err(Failure::new(Exit::Failed, "no such key")),
                None => say(&format!("no such key {time}")),
            }
        }
        Ok(exit)
    })
}

fn line(found: &Versioned, hex: bool) -> String {
    format!("r{} {}", found.revision, show(&found.value, hex))
}
