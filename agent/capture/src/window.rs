//! How many bytes may be between readers and sender.
//!
//! Parts are sent in the order of tickets, but read in any order: a reader that is ahead must not take the room
//! that the reader of the next ticket needs, or nothing would move again. So a part of the room is for that
//! ticket, the *head*, alone.

use std::sync::{Condvar, Mutex, PoisonError};

/// A bounded number of bytes.
pub(crate) struct Window {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
    reserved: usize,
}

struct State {
    held: usize,
    head: u64,
    closed: bool,
}

impl Window {
    /// Room for `limit` bytes, of which `reserved` are for the head; a part must fit the reserve.
    pub(crate) const fn new(limit: usize, reserved: usize) -> Self {
        let state = Mutex::new(State { held: 0, head: 0, closed: false });
        Self { state, changed: Condvar::new(), limit, reserved }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room for a part of `ticket`; false if the backup has ended.
    pub(crate) fn acquire(&self, ticket: u64, bytes: usize) -> bool {
        let mut state = self.lock();
        loop {
            if state.closed {
                return false;
            }
            let limit = if ticket == state.head { self.limit } else { self.limit - self.reserved };
            if state.held + bytes <= limit {
                state.held += bytes;
                return true;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives room back.
    pub(crate) fn release(&self, bytes: usize) {
        self.lock().held -= bytes;
        self.changed.notify_all();
    }

    /// Says which ticket is sent next.
    pub(crate) fn advance(&self, head: u64) {
        self.lock().head = head;
        self.changed.notify_all();
    }

    /// Lets nobody wait any longer.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_finds_room_when_others_have_filled_theirs() {
        let window = Window::new(10, 4);
        assert!(window.acquire(1, 3) && window.acquire(2, 3));
        assert!(window.acquire(0, 4), "the reserve is the head's");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| window.acquire(3, 1));
            window.release(4);
            window.advance(1);
            assert!(!waiting.is_finished());
            window.release(3);
            assert!(waiting.join().unwrap());
            let waiting = scope.spawn(|| window.acquire(4, 6));
            window.close();
            assert!(!waiting.join().unwrap());
        });
    }
}
