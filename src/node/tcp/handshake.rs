//! The handshake: the first bytes in each direction of a connection. They say who the sender is and which server it
//! wants (byte by byte in docs/formats.md).
//!
//! A client is told which server answers, and a tag that tells it whether two servers belong to the same cluster.
//! Between servers the hellos carry nonces, and proofs follow ([`auth`](super::auth)); neither contains the cluster's
//! name or layout.

use crate::types::{Lane, NodeId, Rng};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A random value drawn by each side, so that no two connections are alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nonce(pub [u8; 32]);

impl Nonce {
    pub(super) fn draw(rng: &mut Rng) -> Nonce {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&rng.next().to_le_bytes());
        }
        Nonce(bytes)
    }
}

/// Bytes in a hello.
pub const HELLO_BYTES: usize = 52;
/// The version of the whole protocol on a connection.
pub const VERSION: u16 = 3;
const MAGIC: &[u8; 4] = b"SEA!";
/// Maximum number of bytes in a cluster's name.
pub(super) const NAME_BYTES: usize = 32;
/// Bytes that the checksum covers.
const CHECKED: usize = HELLO_BYTES - 4;
/// Time limit for everything before the first frame.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(3);

/// The name of a cluster: 1 to 32 ASCII letters, digits, `-`, `_` or `.`. Servers of different clusters refuse each
/// other, so that a wrong address in a configuration cannot mix their data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterName(String);

impl ClusterName {
    /// Returns the name, padded with zeros.
    pub(super) fn padded(&self) -> [u8; NAME_BYTES] {
        let mut bytes = [0; NAME_BYTES];
        bytes[..self.0.len()].copy_from_slice(self.0.as_bytes());
        bytes
    }
}

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

/// A message before the first frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hello {
    /// A server dials the server `to`.
    Server {
        /// The dialling server.
        node: NodeId,
        /// The server that it wants to reach.
        to: NodeId,
        /// What the connection is for.
        lane: Lane,
        /// New for each connection.
        nonce: Nonce,
    },
    /// A client dials.
    Client {
        /// The cluster that it wants to reach, if it knows the name.
        cluster: Option<ClusterName>,
    },
    /// A server that was dialled by a server asks for a proof.
    Challenge {
        /// The server that answers.
        node: NodeId,
        /// New for each connection.
        nonce: Nonce,
    },
    /// A server that was dialled by a client accepts requests.
    Welcome {
        /// The server that answers.
        node: NodeId,
        /// Equal on all servers of a cluster.
        tag: u64,
    },
    /// The server refuses the connection.
    Refused(Turned),
}

/// Why a server refuses a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turned {
    /// The client named another cluster.
    OtherCluster = 1,
    /// The dialling server wants another server.
    OtherServer = 2,
    /// The dialling server is not in this one's configuration, or claims this one's id.
    Unknown = 3,
    /// There are too many clients.
    Full = 4,
    /// The proof is wrong: another secret, or another cluster's name.
    Unproven = 5,
}

impl Turned {
    pub(super) const ALL: [Turned; 5] =
        [Turned::OtherCluster, Turned::OtherServer, Turned::Unknown, Turned::Full, Turned::Unproven];

    pub(super) fn of(code: u8) -> Option<Turned> {
        Turned::ALL.into_iter().find(|turned| *turned as u8 == code)
    }
}

impl fmt::Display for Turned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Turned::OtherCluster => "the server belongs to another cluster",
            Turned::OtherServer => "another server answers there: compare the addresses in [nodes]",
            Turned::Unknown => "the server there does not have this one in its [nodes], or has the same id",
            Turned::Full => "too many clients are connected",
            Turned::Unproven => {
                "the server there refuses this one's proof: the cluster's name or its secret is not the same"
            }
        })
    }
}

/// Why a connection failed before its first frame.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// The bytes are not a hello of this protocol.
    #[error("not a hello: {0}")]
    Malformed(String),
    /// The hello is valid, but this node does not talk to its sender.
    #[error("{0}")]
    Unwanted(String),
    /// The other side refused the connection.
    #[error("{0}")]
    Turned(Turned),
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The handshake took too long.
    #[error("no hello within {HANDSHAKE:?}")]
    Silent,
}

impl Hello {
    pub(super) fn encode(&self) -> [u8; HELLO_BYTES] {
        let none = [0; 32];
        let (kind, reason, node, to, body) = match self {
            Hello::Server { node, to, lane, nonce } => (1, *lane as u8, node.0, to.0, nonce.0),
            Hello::Client { cluster } => (2, 0, 0, 0, cluster.as_ref().map_or(none, ClusterName::padded)),
            Hello::Challenge { node, nonce } => (3, 0, node.0, 0, nonce.0),
            Hello::Welcome { node, tag } => {
                let mut body = none;
                body[..8].copy_from_slice(&tag.to_le_bytes());
                (4, 0, node.0, 0, body)
            }
            Hello::Refused(why) => (5, *why as u8, 0, 0, none),
        };
        let mut bytes = [0; HELLO_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        (bytes[6], bytes[7]) = (kind, reason);
        bytes[8..12].copy_from_slice(&node.to_le_bytes());
        bytes[12..16].copy_from_slice(&to.to_le_bytes());
        bytes[16..CHECKED].copy_from_slice(&body);
        let checksum = crc32fast::hash(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8; HELLO_BYTES]) -> Result<Hello, HelloError> {
        let malformed = |why: String| Err(HelloError::Malformed(why));
        let (head, checksum) = bytes.split_at(CHECKED);
        if &head[..4] != MAGIC {
            return malformed(format!("begins with {:02x?}", &head[..4]));
        }
        let version = u16::from_le_bytes([head[4], head[5]]);
        if version != VERSION {
            return malformed(format!("version {version}, this is version {VERSION}"));
        }
        if crc32fast::hash(head).to_le_bytes() != checksum {
            return malformed("wrong checksum".to_owned());
        }
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let mut body = [0; 32];
        body.copy_from_slice(&head[16..]);
        let (node, to) = (NodeId(number(8)), NodeId(number(12)));
        let hello = match head[6] {
            1 if node.0 > 0 && to.0 > 0 && head[7] < 2 => {
                let lane = if head[7] == Lane::Bulk as u8 { Lane::Bulk } else { Lane::Control };
                Hello::Server { node, to, lane, nonce: Nonce(body) }
            }
            2 => Hello::Client { cluster: name(&body)? },
            3 if node.0 > 0 => Hello::Challenge { node, nonce: Nonce(body) },
            4 if node.0 > 0 => {
                let tag = body[..8].iter().rev().fold(0, |tag, byte| tag << 8 | u64::from(*byte));
                Hello::Welcome { node, tag }
            }
            5 if let Some(why) = Turned::of(head[7]) => Hello::Refused(why),
            kind => return malformed(format!("kind {kind}, reason {}, {node} to {to}", head[7])),
        };
        // Each hello has exactly one encoding. This also checks that reserved bytes are zero.
        if hello.encode() == *bytes { Ok(hello) } else { malformed("reserved bytes are set".to_owned()) }
    }

    pub(super) async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), HelloError> {
        stream.write_all(&self.encode()).await?;
        Ok(stream.flush().await?)
    }

    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, HelloError> {
        let mut bytes = [0; HELLO_BYTES];
        stream.read_exact(&mut bytes).await?;
        Hello::parse(&bytes)
    }
}

/// Runs `exchange`, which is everything before the first frame, with the handshake's time limit.
pub(super) async fn in_time<T>(exchange: impl Future<Output = Result<T, HelloError>>) -> Result<T, HelloError> {
    tokio::time::timeout(HANDSHAKE, exchange).await.unwrap_or(Err(HelloError::Silent))
}

fn name(body: &[u8; NAME_BYTES]) -> Result<Option<ClusterName>, HelloError> {
    let text = String::from_utf8_lossy(body);
    match text.trim_end_matches('\0') {
        "" => Ok(None),
        name => name.parse().map(Some).map_err(HelloError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cluster(text: &str) -> ClusterName {
        text.parse().expect("valid")
    }

    fn hellos() -> Vec<Hello> {
        let (node, nonce) = (NodeId(7), Nonce([9; 32]));
        let mut hellos = vec![
            Hello::Server { node, to: NodeId(u32::MAX), lane: Lane::Control, nonce },
            Hello::Server { node, to: NodeId(1), lane: Lane::Bulk, nonce },
            Hello::Client { cluster: Some(cluster(&"x".repeat(32))) },
            Hello::Client { cluster: Some(cluster("a")) },
            Hello::Client { cluster: None },
            Hello::Challenge { node, nonce },
            Hello::Welcome { node, tag: u64::MAX - 1 },
        ];
        hellos.extend(Turned::ALL.map(Hello::Refused));
        hellos
    }

    #[test]
    fn comes_back_as_it_was_sent() {
        for hello in hellos() {
            assert_eq!(Hello::parse(&hello.encode()).expect("parses"), hello);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for hello in hellos() {
            for bit in 0..HELLO_BYTES * 8 {
                let mut bad = hello.encode();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(Hello::parse(&bad).is_err(), "{hello:?}, bit {bit}");
            }
        }
    }

    #[test]
    fn another_version_is_refused_by_name_whatever_its_checksum() {
        let mut bytes = Hello::Client { cluster: None }.encode();
        bytes[4] = 2;
        let error = Hello::parse(&bytes).expect_err("wrong version").to_string();
        assert_eq!(error, "not a hello: version 2, this is version 3");
    }

    #[test]
    fn names_have_rules() {
        for bad in ["", "with space", "ümlaut", &"x".repeat(33)] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in proptest::array::uniform32(any::<u8>()), at in 6..=16usize, seal in any::<bool>()) {
            let mut bytes = Hello::Challenge { node: NodeId(1), nonce: Nonce([3; 32]) }.encode();
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
