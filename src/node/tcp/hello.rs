//! The first 56 bytes either side of a connection sends: who it is and which cluster it belongs to.
//!
//! ```text
//!  0  magic     "SEA!"
//!  4  version   u16, little-endian: [`VERSION`]
//!  6  kind      u8: 1 a server, 2 a client
//!  7  zero      u8
//!  8  node      u32, little-endian: the server's id, 0 for a client
//! 12  cluster   32 bytes: the cluster's name, filled up with zeros; all zero from a client that does not know it
//! 44  layout    u64, little-endian: what the server makes of the cluster's layout ([`Layout::digest`]); 0 from a client
//! 52  checksum  u32, little-endian: CRC-32 of the 52 bytes before
//! ```

#[cfg(doc)]
use crate::placement::Layout;
use crate::types::NodeId;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes in a hello.
pub const HELLO_BYTES: usize = 56;
/// The version of everything that follows on the connection.
pub const VERSION: u16 = 2;
const MAGIC: &[u8; 4] = b"SEA!";
const NAME_BYTES: usize = 32;
/// Bytes that the checksum covers.
const CHECKED: usize = HELLO_BYTES - 4;
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
    /// The cluster's layout as the server has it; 0 from a client.
    pub layout: u64,
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
    pub fn server(node: NodeId, cluster: ClusterName, layout: u64) -> Hello {
        Hello { node: Some(node), cluster: Some(cluster), layout }
    }

    /// A client's hello.
    #[must_use]
    pub fn client(cluster: Option<ClusterName>) -> Hello {
        Hello { node: None, cluster, layout: 0 }
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
        bytes[44..CHECKED].copy_from_slice(&self.layout.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8; HELLO_BYTES]) -> Result<Hello, HelloError> {
        let malformed = |why: String| Err(HelloError::Malformed(why));
        let (body, checksum) = bytes.split_at(CHECKED);
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
        let name = String::from_utf8_lossy(&body[12..44]);
        let name = name.trim_end_matches('\0');
        let cluster = match name {
            "" => None,
            name => Some(name.parse().map_err(HelloError::Malformed)?),
        };
        let layout = body[44..].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        match (body[6], body[7], id, layout, &cluster) {
            (1, 0, 1.., _, Some(_)) => Ok(Hello { node: Some(NodeId(id)), cluster, layout }),
            (2, 0, 0, 0, _) => Ok(Hello::client(cluster)),
            (kind, pad, id, ..) => {
                malformed(format!("kind {kind}, padding {pad}, node {id}, cluster {name:?}, layout {layout:x}"))
            }
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
            Hello::server(NodeId(7), name("harbour"), 5),
            Hello::server(NodeId(u32::MAX), name(&"x".repeat(32)), u64::MAX - 1),
            Hello::client(Some(name("a"))),
            Hello::client(None),
        ] {
            assert_eq!(Hello::parse(&hello.encode()).expect("parses"), hello);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = Hello::server(NodeId(7), name("harbour"), 5).encode();
        for bit in 0..HELLO_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Hello::parse(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let mut bytes = Hello::server(NodeId(7), name("harbour"), 5).encode();
        bytes[4] = 9;
        let checksum = crc32fast::hash(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
        let error = Hello::parse(&bytes).expect_err("wrong version").to_string();
        assert_eq!(error, "not a hello: version 9, this is version 2");
    }

    #[test]
    fn names_have_rules() {
        for bad in ["", "with space", "ümlaut", &"x".repeat(33)] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in proptest::array::uniform32(any::<u8>()), at in 6..=20usize, seal in any::<bool>()) {
            let mut bytes = Hello::server(NodeId(1), name("c"), 5).encode();
            bytes[at..at + 32].copy_from_slice(&tail);
            if seal {
                let checksum = crc32fast::hash(&bytes[..CHECKED]);
                bytes[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
            }
            if let Ok(hello) = Hello::parse(&bytes) {
                prop_assert_eq!(hello.encode(), bytes);
            }
        }
    }
}
