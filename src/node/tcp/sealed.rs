//! Sealed records: after authentication, what one server sends to another, each with a tag under the session key.
//!
//! A record is a length (`u32`, little-endian, 1 to 65,536), that many bytes, and the first 16 bytes of the keyed
//! BLAKE3 of the record's number (`u64`, from 0) and those bytes. A record's contents are passed on only after its tag
//! was verified. So nothing that an attacker on the path has changed, left out, repeated or inserted is passed on. The
//! contents are not hidden from an attacker.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// The key that both sides of a connection have agreed on.
pub(super) type SessionKey = [u8; 32];

/// Maximum number of bytes in one record.
const RECORD_BYTES: usize = 64 << 10;
const TAG_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;

fn tag(key: &SessionKey, number: u64, bytes: &[u8]) -> blake3::Hash {
    blake3::Hasher::new_keyed(key).update(&number.to_le_bytes()).update(bytes).finalize()
}

/// A writer that seals what is written to it.
pub(super) struct Sealing<W> {
    inner: W,
    key: SessionKey,
    number: u64,
    /// The record being written, and the number of its bytes already written.
    record: Vec<u8>,
    written: usize,
}

impl<W: AsyncWrite + Unpin> Sealing<W> {
    pub(super) fn new(inner: W, key: SessionKey) -> Sealing<W> {
        Sealing { inner, key, number: 0, record: Vec::new(), written: 0 }
    }

    #[cfg(test)]
    pub(super) fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Writes the rest of the record.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.record.len() {
            let rest = &self.record[self.written..];
            let count = ready!(Pin::new(&mut self.inner).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Sealing<W> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.drain(context))?;
        let bytes = &bytes[..bytes.len().min(RECORD_BYTES)];
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.record.clear();
        this.record.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        this.record.extend_from_slice(bytes);
        this.record.extend_from_slice(&tag(&this.key, this.number, bytes).as_bytes()[..TAG_BYTES]);
        (this.number, this.written) = (this.number + 1, 0);
        // The bytes are accepted even if the record cannot be written yet.
        match this.drain(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.drain(context))?;
        Pin::new(&mut this.inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.drain(context))?;
        Pin::new(&mut this.inner).poll_shutdown(context)
    }
}

/// A reader that opens sealed records.
pub(super) struct Opening<R> {
    inner: BufReader<R>,
    key: SessionKey,
    number: u64,
    /// The record being read, and the number of its bytes received.
    record: Vec<u8>,
    here: usize,
    /// The part of an opened record that was not passed on yet.
    ready: std::ops::Range<usize>,
}

impl<R: AsyncRead + Unpin> Opening<R> {
    pub(super) fn new(inner: R, key: SessionKey) -> Opening<R> {
        let inner = BufReader::with_capacity(RECORD_BYTES, inner);
        Opening { inner, key, number: 0, record: Vec::new(), here: 0, ready: 0..0 }
    }

    /// Reads until `want` bytes of the record are received. Returns false at the end of the connection, which is valid
    /// only between records.
    fn fill(&mut self, context: &mut Context<'_>, want: usize) -> Poll<io::Result<bool>> {
        self.record.resize(want.max(self.record.len()), 0);
        while self.here < want {
            let mut room = ReadBuf::new(&mut self.record[self.here..want]);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut room))?;
            match room.filled().len() {
                0 if self.here == 0 => return Poll::Ready(Ok(false)),
                0 => return Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
                count => self.here += count,
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Opens the next record. Returns false if there is none.
    fn open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let forged = |what: &str| Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, what.to_owned())));
        if !ready!(self.fill(context, LENGTH_BYTES))? {
            return Poll::Ready(Ok(false));
        }
        let length = self.record.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize;
        if !(1..=RECORD_BYTES).contains(&length) {
            return forged("not a sealed record: its length is impossible");
        }
        let end = LENGTH_BYTES + length;
        if !ready!(self.fill(context, end + TAG_BYTES))? {
            return Poll::Ready(Ok(false));
        }
        let wanted = tag(&self.key, self.number, &self.record[LENGTH_BYTES..end]);
        // Compared as whole hashes, which takes the same time wherever they differ.
        let mut found = *wanted.as_bytes();
        found[..TAG_BYTES].copy_from_slice(&self.record[end..end + TAG_BYTES]);
        if wanted != found {
            return forged("a sealed record does not fit its tag: it was changed, repeated or put in on the way");
        }
        (self.number, self.here, self.ready) = (self.number + 1, 0, LENGTH_BYTES..end);
        Poll::Ready(Ok(true))
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Opening<R> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ready.is_empty() && !ready!(this.open(context))? {
            return Poll::Ready(Ok(()));
        }
        let count = this.ready.len().min(room.remaining());
        let start = this.ready.start;
        room.put_slice(&this.record[start..start + count]);
        this.ready.start += count;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const KEY: SessionKey = [7; 32];

    async fn sealed(pieces: &[&[u8]]) -> Vec<u8> {
        let mut sealing = Sealing::new(Vec::new(), KEY);
        for piece in pieces {
            sealing.write_all(piece).await.expect("a vector takes all");
        }
        sealing.flush().await.expect("a vector takes all");
        sealing.inner
    }

    async fn opened(bytes: &[u8]) -> (Vec<u8>, io::Result<usize>) {
        let mut found = Vec::new();
        let end = Opening::new(bytes, KEY).read_to_end(&mut found).await;
        (found, end)
    }

    #[tokio::test]
    async fn what_goes_in_comes_out_in_whatever_pieces() {
        let long: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        let bytes = sealed(&[b"a", &long, b"", b"end"]).await;
        let (found, end) = opened(&bytes).await;
        assert_eq!(found, [b"a", long.as_slice(), b"end"].concat());
        assert!(end.is_ok());

        // Through a pipe too narrow for a record, both ends must wait for each other.
        let (near, far) = tokio::io::duplex(100);
        let writing = async {
            let mut sealing = Sealing::new(near, KEY);
            sealing.write_all(&long).await.expect("written");
            sealing.flush().await.expect("written");
        };
        let reading = async {
            let mut found = vec![0; long.len()];
            Opening::new(far, KEY).read_exact(&mut found).await.map(|_| found)
        };
        let ((), found) = tokio::join!(biased; writing, reading);
        assert_eq!(found.expect("read"), long);
    }

    #[tokio::test]
    async fn nothing_changed_repeated_left_out_or_put_in_gets_through() {
        let (one, two) = (sealed(&[b"one"]).await, sealed(&[b"one", b"two"]).await);
        let second = &two[one.len()..];
        let mut other_key = Sealing::new(Vec::new(), [8; 32]);
        other_key.write_all(b"one").await.expect("a vector takes all");
        let cases: [(&str, Vec<u8>, &[u8]); 6] = [
            ("repeated", [one.clone(), one.clone()].concat(), b"one"),
            ("left out", second.to_vec(), b""),
            ("out of order", [second, &one].concat(), b""),
            ("of another key", other_key.inner, b""),
            ("of no length", vec![0; 20], b""),
            ("too long", [u32::MAX.to_le_bytes().to_vec(), vec![0; 100]].concat(), b""),
        ];
        for (what, bytes, before) in cases {
            let (found, end) = opened(&bytes).await;
            assert_eq!(found, before, "{what}");
            assert_eq!(end.expect_err(what).kind(), ErrorKind::InvalidData, "{what}");
        }
        for bit in 0..one.len() * 8 {
            let mut bad = one.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let (found, end) = opened(&bad).await;
            assert!(found.is_empty() && end.is_err(), "bit {bit}");
        }
        for length in 1..one.len() {
            let (found, end) = opened(&one[..length]).await;
            assert!(found.is_empty(), "{length}");
            assert_eq!(end.expect_err("cut short").kind(), ErrorKind::UnexpectedEof, "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
            let (found, _) = runtime.block_on(opened(&bytes));
            prop_assert!(found.is_empty());
        }
    }
}
