//! The two directions of one connection: frames read into the inbox, and frames queued for writing. Both are bounded in
//! bytes.

use super::arrivals::{ARRIVES_WITHIN, Arrivals, Room};
use crate::types::{Addr, Bytes};
use crate::wire::Packet;
use crate::wire::frame::{self, FrameError};
use bytes::BytesMut;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// A connection whose other side accepts no bytes for this long is closed.
pub(super) const WRITE_STALL: Duration = Duration::from_secs(5);
/// Buffer space reserved for each read.
const READ_BYTES: usize = 16 << 10;
/// A larger write buffer is freed after it was written, and a larger read buffer after its frame was taken.
const KEEP_BYTES: usize = 256 << 10;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    #[error("closed by the other side")]
    Eof,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("bad frame: {0}")]
    Frame(#[from] FrameError),
    #[error("bad frame: the connection ended after {0} bytes of it")]
    Truncated(usize),
    #[error("takes nothing for {WRITE_STALL:?}")]
    Stalled,
    #[error("bad frame: it did not arrive within {ARRIVES_WITHIN:?}")]
    Slow,
    #[error("does not read its answers: the queue is full")]
    Overflow,
    #[error("{0}")]
    Given(&'static str),
}

impl Closed {
    /// Returns whether the other side sent something invalid.
    pub(super) fn is_bad_frame(&self) -> bool {
        let forged = |error: &io::Error| error.kind() == io::ErrorKind::InvalidData;
        matches!(self, Closed::Frame(_) | Closed::Truncated(_) | Closed::Slow)
            || matches!(self, Closed::Io(error) if forged(error))
    }
}

/// A received packet and its time of arrival. It holds its share of the inbox's budget until it is opened.
pub(super) struct Delivery {
    from: Addr,
    packet: Packet,
    at: Instant,
    _share: OwnedSemaphorePermit,
}

impl Delivery {
    /// Returns the sender and the packet. A request's patience is reduced by the time it spent in the inbox.
    pub(super) fn open(self) -> (Addr, Packet) {
        let mut packet = self.packet;
        if let Packet::Request(request) = &mut packet {
            request.ages(u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX));
        }
        (self.from, packet)
    }
}

/// The inbox for one kind of sender, bounded in bytes of frames. A connection that finds the budget spent waits and
/// stops reading, so that TCP's backpressure reaches the sender.
#[derive(Clone)]
pub(super) struct Inbox {
    sender: mpsc::UnboundedSender<Delivery>,
    budget: Arc<Semaphore>,
    bytes: usize,
    arrivals: Option<Arc<Arrivals>>,
}

impl Inbox {
    pub(super) fn new(sender: mpsc::UnboundedSender<Delivery>, bytes: usize) -> Inbox {
        Inbox { sender, budget: Arc::new(Semaphore::new(bytes)), bytes, arrivals: None }
    }

    /// Creates an inbox for senders that prove nothing. It also bounds the bytes of large frames that are still
    /// arriving, except for what one read of each connection brings.
    pub(super) fn of_strangers(sender: mpsc::UnboundedSender<Delivery>, bytes: usize, arriving: usize) -> Inbox {
        Inbox { arrivals: Some(Arrivals::new(arriving)), ..Inbox::new(sender, bytes) }
    }

    /// Waits for room for a frame of `bytes` while it arrives. Small frames need none.
    async fn room(&self, bytes: usize) -> Option<Room> {
        let arrivals = self.arrivals.as_ref().filter(|_| bytes > READ_BYTES)?;
        Some(arrivals.enter(bytes).await)
    }

    async fn deliver(&self, from: Addr, packet: Packet, bytes: usize) -> Result<(), Closed> {
        let at = Instant::now();
        // A frame larger than the whole inbox takes all of it.
        let share = u32::try_from(bytes.min(self.bytes)).unwrap_or(u32::MAX);
        let Ok(permit) = self.budget.clone().acquire_many_owned(share).await else { return Err(Closed::Eof) };
        self.sender.send(Delivery { from, packet, at, _share: permit }).map_err(|_| Closed::Eof)
    }
}

/// Reads frames until the connection ends, and delivers their packets to the inbox. `heard` counts them.
pub(super) async fn read_frames(
    mut reader: impl AsyncRead + Unpin,
    from: Addr,
    inbox: &Inbox,
    heard: &AtomicU64,
) -> Closed {
    let mut buffer = BytesMut::new();
    let mut room: Option<Room> = None;
    loop {
        match next_frame(&mut buffer) {
            Err(error) => return error.into(),
            Ok((Some(packet), bytes)) => {
                heard.fetch_add(1, Relaxed);
                if bytes > KEEP_BYTES {
                    buffer = BytesMut::from(&buffer[..]);
                }
                if let Err(closed) = inbox.deliver(from, packet, bytes).await {
                    return closed;
                }
                room = None;
                continue;
            }
            Ok((None, bytes)) if room.is_none() => room = inbox.room(bytes).await,
            Ok((None, _)) => {}
        }
        // The buffer grows with the bytes received, not with the size that a header claims.
        buffer.reserve(READ_BYTES);
        let read = reader.read_buf(&mut buffer);
        let read = match &room {
            None => read.await,
            Some(room) => {
                let left = room.until.saturating_duration_since(Instant::now());
                let Ok(read) = tokio::time::timeout(left, read).await else { return Closed::Slow };
                read
            }
        };
        match read {
            Ok(0) if buffer.is_empty() => return Closed::Eof,
            Ok(0) => return Closed::Truncated(buffer.len()),
            Ok(_) => {}
            Err(error) => return error.into(),
        }
    }
}

/// Takes the first frame off `buffer` if it is complete. Returns its packet, if complete, and its size, or 0 if the
/// size is not known yet.
fn next_frame(buffer: &mut BytesMut) -> Result<(Option<Packet>, usize), FrameError> {
    let Some(head) = buffer.first_chunk() else { return Ok((None, 0)) };
    let header = frame::Header::parse(head)?;
    let bytes = frame::HEADER_BYTES + header.body_bytes;
    let Some(frame) = buffer.get(..bytes) else { return Ok((None, bytes)) };
    let packet = header.open(frame)?;
    let _ = buffer.split_to(bytes);
    Ok((Some(packet), bytes))
}

/// Frames to be written, in one growing buffer: all frames queued during a write go out with the next one.
pub(super) struct SendQueue {
    queue: Mutex<Queue>,
    wake: Notify,
    cut: Notify,
    limit: usize,
    pool: Arc<Pool>,
}

/// A limit on the bytes that several queues hold together.
#[derive(Debug)]
pub(super) struct Pool {
    used: AtomicUsize,
    limit: usize,
}

impl Pool {
    pub(super) fn new(limit: usize) -> Arc<Pool> {
        Arc::new(Pool { used: AtomicUsize::new(0), limit })
    }
}

/// Why there was no room for a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    /// Its queue is full.
    Queue,
    /// The queues together are full.
    Pool,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    frames: u64,
    /// Whether the bytes taken last are still being written.
    writing: bool,
}

impl SendQueue {
    /// Creates a queue with at most `limit` bytes, which shares a pool with other queues. Bytes that are being written
    /// no longer count; they are at most the contents of one full queue. An empty queue accepts a frame of any size.
    pub(super) fn new(limit: usize, pool: Arc<Pool>) -> SendQueue {
        SendQueue { queue: Mutex::default(), wake: Notify::new(), cut: Notify::new(), limit, pool }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame.
    ///
    /// # Errors
    /// There is no room, and the frame is dropped.
    pub(super) fn push(&self, frame: &Bytes) -> Result<(), Full> {
        let mut queue = self.queue();
        if !queue.bytes.is_empty() {
            if queue.bytes.len() + frame.len() > self.limit {
                return Err(Full::Queue);
            }
            if self.pool.used.load(Relaxed) + frame.len() > self.pool.limit {
                return Err(Full::Pool);
            }
        }
        self.pool.used.fetch_add(frame.len(), Relaxed);
        queue.bytes.extend_from_slice(frame);
        queue.frames += 1;
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    /// Asks the connection's task to end.
    pub(super) fn cut(&self) {
        self.cut.notify_one();
    }

    /// Waits for [`SendQueue::cut`].
    pub(super) async fn overflowed(&self) -> Closed {
        self.cut.notified().await;
        Closed::Overflow
    }

    /// Returns whether everything pushed has been written.
    pub(super) fn is_written(&self) -> bool {
        let queue = self.queue();
        queue.bytes.is_empty() && !queue.writing
    }

    /// Drops what is queued. Returns the number of frames.
    pub(super) fn clear(&self) -> u64 {
        let mut queue = self.queue();
        self.pool.used.fetch_sub(queue.bytes.len(), Relaxed);
        queue.bytes = Vec::new();
        queue.writing = false;
        mem::take(&mut queue.frames)
    }

    /// Exchanges `empty` for everything queued; waits until there is something.
    async fn take(&self, empty: &mut Vec<u8>) {
        loop {
            {
                let mut queue = self.queue();
                queue.writing = !queue.bytes.is_empty();
                if queue.writing {
                    queue.frames = 0;
                    self.pool.used.fetch_sub(queue.bytes.len(), Relaxed);
                    mem::swap(&mut queue.bytes, empty);
                    return;
                }
            }
            self.wake.notified().await;
        }
    }

    /// Writes queued frames until the connection ends.
    pub(super) async fn write_to(&self, mut writer: impl AsyncWrite + Unpin) -> Closed {
        let mut batch = Vec::new();
        loop {
            batch.clear();
            if batch.capacity() > KEEP_BYTES {
                batch = Vec::new();
            }
            self.take(&mut batch).await;
            if let Err(closed) = write(&mut writer, &batch).await {
                return closed;
            }
        }
    }
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Writes all of `bytes`. Gives up if the other side accepts nothing for [`WRITE_STALL`].
pub(super) async fn write(writer: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> Result<(), Closed> {
    while !bytes.is_empty() {
        let written = tokio::time::timeout(WRITE_STALL, writer.write(bytes)).await.map_err(|_| Closed::Stalled)??;
        if written == 0 {
            return Err(Closed::Eof);
        }
        bytes = &bytes[written..];
    }
    Ok(writer.flush().await?)
}
