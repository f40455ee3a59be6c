//! Limits on connections: a number of seats, a maximum per address, and a rule for which connection gives way when all
//! seats are taken.
//!
//! A connection without a request gives way first. Among these it is the oldest one of the address that has most
//! connections: a sender that opens connections and says nothing displaces its own. Next is a connection that has been
//! idle for [`IDLE_GIVES_WAY`]. If all are busy, the new connection is refused. A seat is free again only when its
//! connection is closed, so that the limit also covers the process's file descriptors.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Time without a request after which a connection gives way to a new one when all seats are taken.
pub const IDLE_GIVES_WAY: Duration = Duration::from_secs(30);

/// Seats for one kind of connection.
pub(super) struct Door {
    seats: usize,
    per_address: usize,
    free: Arc<Semaphore>,
    guests: Mutex<Guests>,
}

#[derive(Default)]
struct Guests {
    next: u64,
    /// By order of arrival.
    seated: BTreeMap<u64, Guest>,
    from: BTreeMap<IpAddr, usize>,
}

struct Guest {
    from: IpAddr,
    /// Number of frames it has sent.
    heard: Arc<AtomicU64>,
    active: Instant,
    /// Dropped to ask the connection to end.
    _stay: oneshot::Sender<()>,
}

impl Guests {
    fn remove(&mut self, id: u64) {
        let Some(guest) = self.seated.remove(&id) else { return };
        if let Some(count) = self.from.get_mut(&guest.from) {
            *count -= 1;
            if *count == 0 {
                self.from.remove(&guest.from);
            }
        }
    }

    /// Returns the connection that gives way, of one address or of all.
    fn to_give_way(&self, of: Option<IpAddr>, now: Instant) -> Option<u64> {
        let eligible = || self.seated.iter().filter(|(_, guest)| of.is_none_or(|of| guest.from == of));
        let silent = eligible().filter(|(_, guest)| guest.heard.load(Relaxed) == 0);
        // `min_by_key` returns the first of equal elements: the oldest.
        let count = |guest: &Guest| self.from.get(&guest.from).copied().unwrap_or(0);
        let silent = silent.min_by_key(|(_, guest)| std::cmp::Reverse(count(guest)));
        let idle = || eligible().filter(|(_, guest)| now >= guest.active + IDLE_GIVES_WAY);
        silent.or_else(|| idle().min_by_key(|(_, guest)| guest.active)).map(|(id, _)| *id)
    }
}

impl Door {
    /// Creates a door with `seats` seats, at most `per_address` of them for one address.
    pub(super) fn new(seats: usize, per_address: usize) -> Arc<Door> {
        let free = Arc::new(Semaphore::new(seats));
        Arc::new(Door { seats, per_address, free, guests: Mutex::default() })
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a seat for a connection from this address, whose frames are counted in `heard`. `None` if no connection
    /// gives way. Waits until the connection that gives way is closed.
    pub(super) async fn enter(self: &Arc<Self>, from: IpAddr, heard: Arc<AtomicU64>, now: Instant) -> Option<Seat> {
        let (id, cut) = {
            let mut guests = self.guests();
            let own = guests.from.get(&from).copied().unwrap_or(0) >= self.per_address;
            if own || guests.seated.len() >= self.seats {
                let victim = guests.to_give_way(own.then_some(from), now)?;
                guests.remove(victim);
            }
            let (stay, cut) = oneshot::channel();
            let id = guests.next;
            guests.next += 1;
            guests.seated.insert(id, Guest { from, heard, active: now, _stay: stay });
            *guests.from.entry(from).or_default() += 1;
            (id, cut)
        };
        let mut seat = Seat { door: self.clone(), id, cut, permit: None };
        seat.permit = Some(self.free.clone().acquire_owned().await.ok()?);
        Some(seat)
    }

    /// Returns the number of connections with a seat.
    #[cfg(test)]
    pub(super) fn seated(&self) -> usize {
        self.guests().seated.len()
    }
}

/// A seat. It is freed when dropped.
pub(super) struct Seat {
    door: Arc<Door>,
    id: u64,
    cut: oneshot::Receiver<()>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Seat {
    /// Waits until the seat must be given up for another connection.
    pub(super) async fn displaced(&mut self) {
        let _ = (&mut self.cut).await;
    }

    /// Records that there was a request recently.
    pub(super) fn active(&self, now: Instant) {
        if let Some(guest) = self.door.guests().seated.get_mut(&self.id) {
            guest.active = now;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.door.guests().remove(self.id);
    }
}

/// Lets one line per second into the log and counts the others.
#[derive(Default)]
pub(super) struct LogLimit(Mutex<(Option<Instant>, u64)>);

impl LogLimit {
    /// Returns whether a line may be logged now, and if so, how many were left out since the last.
    pub(super) fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0.is_some_and(|last| now < last + Duration::from_secs(1)) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn frames(count: u64) -> Arc<AtomicU64> {
        Arc::new(AtomicU64::new(count))
    }

    /// A seat whose holder closes its connection as soon as it is asked to.
    async fn sit(door: &Arc<Door>, from: u8, count: u64, now: Instant) -> Option<tokio::task::JoinHandle<()>> {
        let mut seat = door.enter(ip(from), frames(count), now).await?;
        Some(tokio::spawn(async move { seat.displaced().await }))
    }

    #[tokio::test]
    async fn the_silent_of_the_greediest_address_give_way_oldest_first() {
        let (door, now) = (Door::new(4, 4), Instant::now());
        let honest = sit(&door, 1, 0, now).await.expect("free");
        let mut greedy = Vec::new();
        for _ in 0..3 {
            greedy.push(sit(&door, 2, 0, now).await.expect("free"));
        }
        for round in 0..3 {
            greedy.push(sit(&door, 2, 0, now).await.expect("its own oldest gives way"));
            assert!(!honest.is_finished(), "round {round}");
        }
        tokio::task::yield_now().await;
        assert_eq!(
            greedy.iter().map(|task| task.is_finished()).collect::<Vec<_>>(),
            [true, true, true, false, false, false]
        );
        assert_eq!(door.seated(), 4);
        sit(&door, 3, 0, now).await.expect("the greedy give way to others too");
        assert!(!honest.is_finished());
    }

    #[tokio::test]
    async fn who_is_at_work_stays_and_who_is_idle_goes() {
        let (door, now) = (Door::new(2, 2), Instant::now());
        let mut idle = door.enter(ip(1), frames(5), now).await.expect("free");
        let busy = door.enter(ip(1), frames(5), now).await.expect("free");
        assert!(door.enter(ip(2), frames(0), now).await.is_none(), "all are at work");
        let later = now + IDLE_GIVES_WAY;
        busy.active(later);
        let newcomer = {
            let door = door.clone();
            tokio::spawn(async move { door.enter(ip(2), frames(0), later).await.is_some() })
        };
        idle.displaced().await;
        tokio::task::yield_now().await;
        assert!(!newcomer.is_finished(), "the seat is taken until its holder is gone");
        drop(idle);
        assert!(newcomer.await.expect("no panic"));
        drop(busy);
        assert_eq!(door.seated(), 0);
    }

    #[tokio::test]
    async fn an_address_has_so_many_seats() {
        let (door, now) = (Door::new(10, 2), Instant::now());
        let _held = [door.enter(ip(1), frames(1), now).await, door.enter(ip(1), frames(1), now).await];
        assert!(door.enter(ip(1), frames(0), now).await.is_none());
        assert!(door.enter(ip(2), frames(0), now).await.is_some());
    }

    #[test]
    fn a_log_gets_one_line_a_second_and_the_count_of_the_others() {
        let (limit, now) = (LogLimit::default(), Instant::now());
        assert_eq!(limit.pass(now), Some(0));
        assert_eq!([limit.pass(now), limit.pass(now + Duration::from_millis(900))], [None, None]);
        assert_eq!(limit.pass(now + Duration::from_secs(1)), Some(2));
        assert_eq!(limit.pass(now + Duration::from_secs(3)), Some(0));
    }
}
