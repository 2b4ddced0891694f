//! A semaphore that serves its waiters round-robin by key: a key with many requests delays its own requests, not those of
//! others.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

/// No permit within the time, or no room to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many are waiting")]
pub struct QueueFull;

/// Cheap to clone.
pub struct FairQueue<K>(Arc<Mutex<State<K>>>);

impl<K> Clone for FairQueue<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct State<K> {
    /// Free permits. While there are some, no request waits.
    free: usize,
    waiting: usize,
    max_waiting: usize,
    lines: HashMap<K, VecDeque<Waiter>>,
    /// The keys with waiting requests, the next to be served first.
    order: VecDeque<K>,
    last_id: u64,
}

struct Waiter {
    id: u64,
    wake: oneshot::Sender<()>,
}

/// One permit, until it is dropped.
pub struct QueuePermit<K: Copy + Eq + Hash>(FairQueue<K>);

impl<K: Copy + Eq + Hash> FairQueue<K> {
    /// `max_active` permits, and at most `max_waiting` requests that wait for one.
    pub fn new(max_active: usize, max_waiting: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: max_active.max(1),
            waiting: 0,
            max_waiting: max_waiting.max(1),
            lines: HashMap::new(),
            order: VecDeque::new(),
            last_id: 0,
        })))
    }

    /// Waits for a permit, at most `timeout`. When the queue is full, the newest request of the key with the most waiting
    /// requests is dropped.
    pub async fn acquire(&self, key: K, timeout: Duration) -> Result<QueuePermit<K>, QueueFull> {
        let mut waiting = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Ok(QueuePermit(self.clone()));
            }
            let (id, wake) = state.join(key)?;
            Waiting {
                queue: self,
                key,
                id,
                wake,
                is_over: false,
            }
        };
        let woken = tokio::time::timeout(timeout, &mut waiting.wake).await;
        if matches!(woken, Ok(Ok(()))) {
            waiting.is_over = true;
            return Ok(QueuePermit(self.clone()));
        }
        Err(QueueFull)
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> State<K> {
    fn join(&mut self, key: K) -> Result<(u64, oneshot::Receiver<()>), QueueFull> {
        if self.waiting >= self.max_waiting {
            let own = self.lines.get(&key).map_or(0, VecDeque::len);
            let longest = self.lines.iter().max_by_key(|(_, line)| line.len());
            let (longest, length) = longest.map_or((key, 0), |(key, line)| (*key, line.len()));
            if own >= length {
                return Err(QueueFull);
            }
            if let Some(line) = self.lines.get_mut(&longest) {
                // Dropping its sender wakes its receiver.
                line.pop_back();
                self.waiting -= 1;
            }
            self.drop_empty(longest);
        }
        let (wake, woken) = oneshot::channel();
        self.last_id += 1;
        let id = self.last_id;
        if !self.lines.contains_key(&key) {
            self.order.push_back(key);
        }
        self.lines.entry(key).or_default().push_back(Waiter { id, wake });
        self.waiting += 1;
        Ok((id, woken))
    }

    /// Hands a returned permit to the first request that still waits, of the key that is next in the rotation.
    fn release(&mut self) {
        while let Some(key) = self.order.pop_front() {
            let Some(line) = self.lines.get_mut(&key) else { continue };
            let next = line.pop_front();
            if line.is_empty() {
                self.lines.remove(&key);
            } else {
                self.order.push_back(key);
            }
            if let Some(next) = next {
                self.waiting -= 1;
                if next.wake.send(()).is_ok() {
                    return;
                }
            }
        }
        self.free += 1;
    }

    fn leave(&mut self, key: K, id: u64) {
        if let Some(line) = self.lines.get_mut(&key) {
            let before = line.len();
            line.retain(|waiter| waiter.id != id);
            self.waiting -= before - line.len();
        }
        self.drop_empty(key);
    }

    fn drop_empty(&mut self, key: K) {
        if self.lines.get(&key).is_some_and(VecDeque::is_empty) {
            self.lines.remove(&key);
            self.order.retain(|other| *other != key);
        }
    }
}

/// A request that waits. However it ends, it leaves no place behind, and no turn.
struct Waiting<'q, K: Copy + Eq + Hash> {
    queue: &'q FairQueue<K>,
    key: K,
    id: u64,
    wake: oneshot::Receiver<()>,
    is_over: bool,
}

impl<K: Copy + Eq + Hash> Drop for Waiting<'_, K> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.wake.close();
        let mut state = self.queue.state();
        if self.wake.try_recv().is_ok() {
            state.release();
        } else {
            state.leave(self.key, self.id);
        }
    }
}

impl<K: Copy + Eq + Hash> Drop for QueuePermit<K> {
    fn drop(&mut self) {
        self.0.state().release();
    }
}

#[cfg(test)]
mod tests {
    use super::{FairQueue, QueueFull};
    use std::{
        future::Future,
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
        time::Duration,
    };

    const LONG: Duration = Duration::from_mins(1);

    fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn keys_are_served_in_rotation() {
        let queue = FairQueue::new(1, 10);
        let acquire = queue.acquire("a", LONG).await.unwrap();
        let (mut first, mut second, mut other) = (
            pin!(queue.acquire("a", LONG)),
            pin!(queue.acquire("a", LONG)),
            pin!(queue.acquire("b", LONG)),
        );
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(other.as_mut()).is_pending());
        drop(acquire);
        let Poll::Ready(Ok(acquire)) = poll(first.as_mut()) else {
            panic!("it is the first")
        };
        drop(acquire);
        assert!(poll(second.as_mut()).is_pending());
        let Poll::Ready(Ok(acquire)) = poll(other.as_mut()) else {
            panic!("it is the other's round")
        };
        drop(acquire);
        assert!(poll(second.as_mut()).is_ready());
    }

    #[tokio::test]
    async fn the_newest_of_the_longest_line_gives_way() {
        let queue = FairQueue::new(1, 2);
        let _turn = queue.acquire("a", LONG).await.unwrap();
        let (mut first, mut second) = (pin!(queue.acquire("a", LONG)), pin!(queue.acquire("a", LONG)));
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        assert_eq!(queue.acquire("a", LONG).await.err(), Some(QueueFull));
        let mut other = pin!(queue.acquire("b", LONG));
        assert!(poll(other.as_mut()).is_pending());
        assert!(matches!(poll(second.as_mut()), Poll::Ready(Err(QueueFull))));
        assert!(poll(first.as_mut()).is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_neither_place_nor_turn_behind() {
        let queue = FairQueue::new(1, 1);
        let acquire = queue.acquire(1, LONG).await.unwrap();
        assert_eq!(queue.acquire(1, Duration::from_secs(1)).await.err(), Some(QueueFull));
        {
            let mut waits = Box::pin(queue.acquire(2, LONG));
            assert!(poll(waits.as_mut()).is_pending());
            // It is given the turn, and goes away without having looked.
            drop(acquire);
        }
        assert!(queue.acquire(3, Duration::ZERO).await.is_ok());
    }
}
