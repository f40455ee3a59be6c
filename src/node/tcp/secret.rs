//! The secret that the servers of a cluster share.

use super::handshake::ClusterName;
use std::fmt;

/// Minimum length of a secret in bytes.
pub const LEAST_SECRET_BYTES: usize = 16;
/// The secret that the servers of a cluster share.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) [u8; 32]);

impl Secret {
    /// Derives the secret from `text`, without the white space around it.
    ///
    /// # Errors
    /// The text is too short.
    pub fn new(text: &[u8]) -> Result<Secret, String> {
        let text = text.trim_ascii();
        if text.len() < LEAST_SECRET_BYTES {
            return Err(format!("a secret has at least {LEAST_SECRET_BYTES} bytes, this one has {}", text.len()));
        }
        Ok(Secret(blake3::derive_key("seaworthy 2026-11 cluster secret", text)))
    }

    /// Returns the placeholder for a cluster without a secret. Anyone can know it.
    #[must_use]
    pub fn none() -> Secret {
        Secret([0; 32])
    }

    /// Returns a number that distinguishes clusters and does not reveal name or secret.
    pub(super) fn tag(&self, cluster: &ClusterName) -> u64 {
        let hash = blake3::Hasher::new_keyed(&self.0).update(b"tag").update(&cluster.padded()).finalize();
        hash.as_bytes()[..8].iter().fold(0, |tag, byte| tag << 8 | u64::from(*byte))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
