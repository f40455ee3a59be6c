//! Stand-in for the store's persistence, until it is merged.
#![allow(missing_docs)]
use super::*;
use crate::types::Bytes;

pub mod layout {
    use super::*;
    pub fn encode(record: &Record, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let tag = match record {
            Record::Key(key, entry) => {
                crate::codec::append(&(key, entry), &mut body).expect("it can be written");
                0u8
            }
            Record::Hint(node, key, hint) => {
                crate::codec::append(&(node, key, hint), &mut body).expect("it can be written");
                1
            }
            Record::Epoch(epoch) => {
                crate::codec::append(epoch, &mut body).expect("it can be written");
                2
            }
            Record::Snapshot(number) => {
                crate::codec::append(number, &mut body).expect("it can be written");
                3
            }
        };
        out.push(tag);
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(body);
    }
    pub fn decode(from: &mut &[u8]) -> Option<Record> {
        let tag = from.split_off(..1)?[0];
        let len = u32::from_le_bytes(from.split_off(..4)?.try_into().ok()?) as usize;
        let body = from.split_off(..len)?;
        const MAX: usize = 1 << 30;
        Some(match tag {
            0 => {
                let (key, entry) = crate::codec::decode::<_, MAX>(body).ok()?;
                Record::Key(key, entry)
            }
            1 => {
                let (node, key, hint) = crate::codec::decode::<_, MAX>(body).ok()?;
                Record::Hint(node, key, hint)
            }
            2 => Record::Epoch(crate::codec::decode::<_, MAX>(body).ok()?),
            3 => Record::Snapshot(crate::codec::decode::<_, MAX>(body).ok()?),
            _ => return None,
        })
    }
}

impl Recovered {
    pub fn replay(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Key(key, Some(entry)) => drop(self.keys.insert(key, entry)),
            Record::Key(key, None) => drop(self.keys.remove(&key)),
            Record::Hint(node, key, Some(hint)) => drop(self.hints.insert((node, key), hint)),
            Record::Hint(node, key, None) => drop(self.hints.remove(&(node, key))),
            Record::Epoch(epoch) => self.epoch = epoch,
            Record::Snapshot(number) => self.snapshot = number,
        }
        Ok(())
    }
    pub fn block(&mut self, block: &[u8]) -> Result<(), String> {
        let _ = block;
        Ok(())
    }
}

#[derive(Debug)]
pub struct StoreSnapshot(u64);
impl StoreSnapshot {
    pub fn number(&self) -> u64 {
        self.0
    }
    pub fn next_block(&mut self, _max: usize) -> Option<Bytes> {
        None
    }
}
impl Dynamo {
    pub fn begin_snapshot(&mut self) -> StoreSnapshot {
        StoreSnapshot(1)
    }
    pub fn snapshot_finished(&mut self) {}
    pub fn state_records(&self) -> Vec<Record> {
        Vec::new()
    }
    pub fn keys(&self) -> OrdMap<Key, Entry> {
        OrdMap::new()
    }
    pub fn hints(&self) -> OrdMap<(NodeId, Key), Hint> {
        OrdMap::new()
    }
    pub fn epoch(&self) -> Epoch {
        0
    }
}
