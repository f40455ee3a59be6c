//! Frames: the envelope of every packet, both on TCP and in the simulated network (byte layout in docs/formats.md).
//!
//! A header of [`HEADER_BYTES`] describes the body; the body is a [`Packet`] in the codec of this version. The checksum
//! covers the length and the body. The bytes before it can have only one valid value, so that no single flipped bit and
//! no burst of up to 32 bits goes unnoticed; TCP's own checksum is too weak for that.
//!
//! A reader reads [`HEADER_BYTES`] and calls [`Header::parse`], which refuses a foreign or oversized frame before
//! anything is allocated for it. It then reads `body_bytes` more and calls [`Header::open`] to get the packet. After
//! any error the connection is unusable: the start of the next frame is unknown.
//!
//! **Versions.** Every frame carries the version of its whole layout. The positions of magic and version never change,
//! so any release can detect a frame of another version, and reports it ([`FrameError::Version`]). There is one version
//! now and no negotiation. To introduce a second: a release first learns to read both and still writes the old one;
//! when all servers run it, the next release writes the new one; then support for reading the old one can be removed.
//!
//! Caveats: a decoded packet can take more memory than its frame, at worst about 12 times (a frame full of the smallest
//! messages). Payload bytes are copied out of the frame, so that one small command does not keep a large frame in
//! memory. The checksum protects against damage, not against forgery.

use super::Packet;
use crate::codec;
use crate::types::Bytes;
use std::ops::RangeFrom;

/// Size of the header in bytes.
pub const HEADER_BYTES: usize = 16;
/// Maximum size of a whole frame, header included: room for several of the largest commands (a little over 2 MiB).
pub const MAX_FRAME_BYTES: usize = 8 << 20;
/// The version of the layout.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"SEAW";

/// Why bytes are not a frame, or a packet cannot become one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME_BYTES`].
    #[error("a frame has at most {MAX_FRAME_BYTES} bytes, this one has {len}")]
    TooLarge {
        /// Length of the whole frame in bytes.
        len: usize,
    },
    /// The bytes end before the frame does.
    #[error("the frame has {want} bytes, only {have} are here")]
    Truncated {
        /// Number of bytes present.
        have: usize,
        /// Number of bytes expected.
        want: usize,
    },
    /// The other end uses another version.
    #[error("the frame is of version {got}, this release speaks version {VERSION} only")]
    Version {
        /// Its version.
        got: u16,
    },
    /// Not a frame of this protocol.
    #[error("not a frame: it does not begin with {MAGIC:02x?}")]
    Magic,
    /// Damaged in transit.
    #[error("the frame's checksum does not match its contents")]
    Checksum,
    /// The checksum is right, but the contents are not a packet.
    #[error("the frame's body is not a packet: {0}")]
    Body(String),
}

/// The parsed header of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Number of bytes that follow the header.
    pub body_bytes: usize,
    /// CRC-32 of the frame from [`CHECKED`] on.
    checksum: u32,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// The bytes are not a frame, or the frame is of another version or too large.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Header, FrameError> {
        let [m0, m1, m2, m3, v0, v1, r0, r1, c0, c1, c2, c3, l0, l1, l2, l3] = *bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(FrameError::Magic);
        }
        let got = u16::from_le_bytes([v0, v1]);
        if got != VERSION {
            return Err(FrameError::Version { got });
        }
        let body_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if body_bytes > MAX_FRAME_BYTES - HEADER_BYTES {
            return Err(FrameError::TooLarge { len: body_bytes.saturating_add(HEADER_BYTES) });
        }
        if [r0, r1] != [0, 0] {
            return Err(FrameError::Body("reserved flags are set".to_owned()));
        }
        Ok(Header { body_bytes, checksum: u32::from_le_bytes([c0, c1, c2, c3]) })
    }

    /// Reads the packet in the frame that begins with this header.
    ///
    /// # Errors
    /// The frame is too short or too long, damaged, or its body is not a packet.
    pub fn open(&self, frame: &[u8]) -> Result<Packet, FrameError> {
        let (have, want) = (frame.len(), self.body_bytes + HEADER_BYTES);
        if have < want {
            return Err(FrameError::Truncated { have, want });
        }
        if have > want {
            return Err(FrameError::Body(format!("{} bytes follow it", have - want)));
        }
        if crc32fast::hash(&frame[CHECKED]) != self.checksum {
            return Err(FrameError::Checksum);
        }
        codec::decode::<Packet, MAX_FRAME_BYTES>(&frame[HEADER_BYTES..]).map_err(FrameError::Body)
    }
}

/// The range the checksum covers: the length and the body.
const CHECKED: RangeFrom<usize> = 12..;

/// Encodes `packet` as a frame.
///
/// # Errors
/// [`FrameError::TooLarge`]: the sender put too many messages into one packet.
pub fn encode(packet: &Packet) -> Result<Bytes, FrameError> {
    let mut frame = Vec::with_capacity(512);
    encode_into(packet, &mut frame)?;
    Ok(frame.into())
}

/// Like [`encode`], but into a reusable buffer. The buffer's previous contents are dropped.
///
/// # Errors
/// As [`encode`]; the buffer then does not contain a valid frame.
pub fn encode_into(packet: &Packet, frame: &mut Vec<u8>) -> Result<(), FrameError> {
    frame.clear();
    frame.resize(HEADER_BYTES, 0);
    codec::append(packet, frame).map_err(FrameError::Body)?;
    if frame.len() > MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge { len: frame.len() });
    }
    let body_bytes = (frame.len() - HEADER_BYTES) as u32;
    frame[..4].copy_from_slice(&MAGIC);
    frame[4..6].copy_from_slice(&VERSION.to_le_bytes());
    frame[12..16].copy_from_slice(&body_bytes.to_le_bytes());
    let checksum = crc32fast::hash(&frame[CHECKED]);
    frame[8..12].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// Decodes the packet in one whole frame.
///
/// # Errors
/// `frame` is not exactly one undamaged frame of this version.
pub fn decode(frame: &[u8]) -> Result<Packet, FrameError> {
    let Some(header) = frame.first_chunk() else {
        return Err(FrameError::Truncated { have: frame.len(), want: HEADER_BYTES });
    };
    Header::parse(header)?.open(frame)
}
