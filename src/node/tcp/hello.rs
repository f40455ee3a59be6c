//! The first 48 bytes either side of a connection sends: who it is and which cluster it belongs to.
//!
//! ```text
//!  0  magic     "SEA!"
//!  4  version   u16, little-endian: [`VERSION`]
//!  6  kind      u8: 1 a server, 2 a client
//!  7  zero      u8
//!  8  node      u32, little-endian: the server's id, 0 for a client
//! 12  cluster   32 bytes: the cluster's name, filled up with zeros; all zero from a client that does not know it
//! 44  checksum  u32, little-endian: CRC-32 of the 44 bytes before
//! ```

use crate::types::NodeId;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes in a hello.
pub const HELLO_BYTES: usize = 48;
/// The version of everything that follows on the connection.
pub const VERSION: u16 = 1;
const MAGIC: &[u8; 4] = b"SEA!";
const NAME_BYTES: usize = 32;
/// How long an exchange of hellos may take.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(3);

/// What a cluster is called: 1 to 32 ASCII letters, digits, `-`, `_` or `.`. Servers of different clusters refuse each
/// other, so that a wrong address in a configuration cannot mix their data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterName(String);

impl FromStr for ClusterName {
    type Err = String;
    fn from_str(name: &str) -> Result<ClusterName, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if (1..=NAME_BYTES).contains(&name.len()) && name.chars().all(allowed) {
            return Ok(ClusterName(name.to_owned()));
        }
        Err(format!("a cluster's name is 1 to {NAME_BYTES} ASCII letters, digits, '-', '_' or '.', not {name:?}"))
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The server, or `None` for a client.
    pub node: Option<NodeId>,
    /// The cluster; `None` only for a client that does not know it.
    pub cluster: Option<ClusterName>,
}

/// Why a connection was refused or given up before its first frame.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// The bytes are no hello of ours.
    #[error("not a hello: {0}")]
    Malformed(String),
    /// A hello of somebody with whom this node does not speak.
    #[error("{0}")]
    Unwanted(String),
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Nothing came in time.
    #[error("no hello within {HANDSHAKE:?}")]
    Silent,
}

impl Hello {
    /// A server's hello.
    #[must_use]
    pub fn server(node: NodeId, cluster: ClusterName) -> Hello {
        Hello { node: Some(node), cluster: Some(cluster) }
    }

    pub(super) fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6] = if self.node.is_some() { 1 } else { 2 };
        bytes[8..12].copy_from_slice(&self.node.map_or(0, |node| node.0).to_le_bytes());
        if let Some(ClusterName(name)) = &self.cluster {
            bytes[12..12 + name.len()].copy_from_slice(name.as_bytes());
        }
        let checksum = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8; HELLO_BYTES]) -> Result<Hello, HelloError> {
        let malformed = |why: String| Err(HelloError::Malformed(why));
        let (body, checksum) = bytes.split_at(44);
        if &body[..4] != MAGIC {
            return malformed(format!("begins with {:02x?}", &body[..4]));
        }
        if crc32fast::hash(body).to_le_bytes() != checksum {
            return malformed("wrong checksum".to_owned());
        }
        let version = u16::from_le_bytes([body[4], body[5]]);
        if version != VERSION {
            return malformed(format!("version {version}, this is version {VERSION}"));
        }
        let id = u32::from_le_bytes([body[8], body[9], body[10], body[11]]);
        let name = String::from_utf8_lossy(&body[12..]);
        let name = name.trim_end_matches('\0');
        let cluster = match name {
            "" => None,
            name => Some(name.parse().map_err(HelloError::Malformed)?),
        };
        match (body[6], body[7], id, &cluster) {
            (1, 0, 1.., Some(_)) => Ok(Hello { node: Some(NodeId(id)), cluster }),
            (2, 0, 0, _) => Ok(Hello { node: None, cluster }),
            (kind, pad, id, _) => malformed(format!("kind {kind}, padding {pad}, node {id}, cluster {name:?}")),
        }
    }

    pub(super) async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), HelloError> {
        stream.write_all(&self.encode()).await?;
        Ok(stream.flush().await?)
    }

    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, HelloError> {
        let mut bytes = [0; HELLO_BYTES];
        match tokio::time::timeout(HANDSHAKE, stream.read_exact(&mut bytes)).await {
            Err(_) => Err(HelloError::Silent),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(_)) => Hello::parse(&bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> ClusterName {
        text.parse().expect("valid")
    }

    #[test]
    fn comes_back_as_it_was_sent() {
        for hello in [
            Hello::server(NodeId(7), name("harbour")),
            Hello::server(NodeId(u32::MAX), name(&"x".repeat(32))),
            Hello { node: None, cluster: Some(name("a")) },
            Hello { node: None, cluster: None },
        ] {
            assert_eq!(Hello::parse(&hello.encode()).expect("parses"), hello);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = Hello::server(NodeId(7), name("harbour")).encode();
        for bit in 0..HELLO_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Hello::parse(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let mut bytes = Hello::server(NodeId(7), name("harbour")).encode();
        bytes[4] = 9;
        let checksum = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&checksum.to_le_bytes());
        let error = Hello::parse(&bytes).expect_err("wrong version").to_string();
        assert_eq!(error, "not a hello: version 9, this is version 1");
    }

    #[test]
    fn names_have_rules() {
        for bad in ["", "with space", "ümlaut", &"x".repeat(33)] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in proptest::array::uniform32(any::<u8>()), seal in any::<bool>()) {
            let mut bytes = Hello::server(NodeId(1), name("c")).encode();
            bytes[6..38].copy_from_slice(&tail);
            if seal {
                let checksum = crc32fast::hash(&bytes[..44]);
                bytes[44..].copy_from_slice(&checksum.to_le_bytes());
            }
            if let Ok(hello) = Hello::parse(&bytes) {
                prop_assert_eq!(hello.encode(), bytes);
            }
        }
    }
}
