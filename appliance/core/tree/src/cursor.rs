//! A place in one page: walks its entries in order and finds a key in it.
//!
//! Only the current key is put together, in a buffer that is used again; values are borrowed from the page.
//! Every step checks what it passes: entries within the page, keys ascending, restart points where they belong.

use std::cmp::Ordering;

use model::Name;
use model::codec::{CodecError, Fields};

use crate::error::{Damage, Error};
use crate::page::{Entry, HEADER_LENGTH, Page, RESTART_INTERVAL};

/// A child as an interior page states it.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    /// Not greater than any key below the child, and greater than all keys before it.
    pub(crate) separator: Vec<u8>,
    pub(crate) name: Name,
    /// Number of items below.
    pub(crate) items: u64,
}

/// A place in a page: before the first entry, or at one.
pub(crate) struct Cursor {
    page: Page,
    /// Entries up to and with the current one.
    passed: usize,
    /// Where the next entry starts.
    next: usize,
    /// The current key, once `placed`.
    key: Vec<u8>,
    /// Where the current payload lies.
    payload: (usize, usize),
    placed: bool,
}

impl Cursor {
    /// Stands before the first entry.
    pub(crate) const fn new(page: Page) -> Self {
        Self { page, passed: 0, next: HEADER_LENGTH, key: Vec::new(), payload: (0, 0), placed: false }
    }

    pub(crate) const fn page(&self) -> &Page {
        &self.page
    }

    /// The key of the current entry.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value of the current entry, or the encoded child.
    pub(crate) fn payload(&self) -> &[u8] {
        self.page.part(self.payload.0, self.payload.1)
    }

    /// The child that the current entry of an interior page states.
    pub(crate) fn child(&self) -> Result<Child, Error> {
        let (name, items) = self.stated_child().map_err(|e| self.page.damaged(e.into()))?;
        Ok(Child { separator: self.key.clone(), name, items })
    }

    fn stated_child(&self) -> Result<(Name, u64), CodecError> {
        const WHAT: &str = "child";
        let mut fields = Fields::new(self.payload());
        let name = fields.bytes(Name::LENGTH, WHAT)?.try_into().map_err(|_| CodecError::Short(WHAT))?;
        let items = fields.number(WHAT)?;
        fields.finish(WHAT)?;
        if items == 0 { Err(CodecError::Value(WHAT)) } else { Ok((Name(name), items)) }
    }

    /// Goes to the next entry; `false` behind the last, where the cursor stays at the last.
    pub(crate) fn advance(&mut self) -> Result<bool, Error> {
        self.step().map_err(|damage| self.page.damaged(damage))
    }

    fn step(&mut self) -> Result<bool, Damage> {
        if self.passed == self.page.count() {
            let complete = self.next == self.page.entries_end();
            return if complete { Ok(false) } else { Err(CodecError::Trailing("last entry").into()) };
        }
        let entry = self.page.entry(self.next)?;
        self.place(entry)?;
        Ok(true)
    }

    /// Stands at the next entry, which is `entry`.
    fn place(&mut self, entry: Entry) -> Result<(), Damage> {
        let suffix = self.page.part(entry.suffix, entry.payload);
        if self.passed.is_multiple_of(RESTART_INTERVAL) {
            if entry.shared != 0 || self.page.restart(self.passed / RESTART_INTERVAL)? != self.next {
                return Err(Damage::Restart);
            }
            if self.placed && suffix <= self.key.as_slice() {
                return Err(Damage::Order);
            }
        } else if !ascends(&self.key, entry.shared, suffix) {
            return Err(Damage::Order);
        }
        self.key.truncate(entry.shared);
        self.key.extend_from_slice(suffix);
        self.payload = (entry.payload, entry.end);
        self.next = entry.end;
        self.passed += 1;
        self.placed = true;
        Ok(())
    }

    /// Goes to the last entry whose key is not greater than `target`; `false` if all are, then it stands before
    /// the first.
    pub(crate) fn seek_floor(&mut self, target: &[u8]) -> Result<bool, Error> {
        self.find_floor(target).map_err(|damage| self.page.damaged(damage))
    }

    fn find_floor(&mut self, target: &[u8]) -> Result<bool, Damage> {
        let (mut low, mut high) = (0, self.page.count().div_ceil(RESTART_INTERVAL));
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.page.restart_key(middle)? <= target {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.jump(low.saturating_sub(1))?;
        if low == 0 {
            return Ok(false);
        }
        self.step()?;
        while !self.passed.is_multiple_of(RESTART_INTERVAL) && self.passed < self.page.count() {
            let entry = self.page.entry(self.next)?;
            let suffix = self.page.part(entry.suffix, entry.payload);
            if compare_coded(&self.key, entry.shared, suffix, target) == Ordering::Greater {
                break;
            }
            self.place(entry)?;
        }
        Ok(true)
    }

    /// Goes to the first entry whose key is not less than `target`; `false` if all are.
    pub(crate) fn seek_ceiling(&mut self, target: &[u8]) -> Result<bool, Error> {
        if self.seek_floor(target)? && self.key == target { Ok(true) } else { self.advance() }
    }

    /// Goes to the entry under exactly `target`.
    pub(crate) fn seek_exact(&mut self, target: &[u8]) -> Result<bool, Error> {
        Ok(self.seek_floor(target)? && self.key == target)
    }

    /// Goes to the child under which `target` is, if it is anywhere.
    pub(crate) fn seek_child(&mut self, target: &[u8]) -> Result<Child, Error> {
        if !self.seek_floor(target)? {
            self.advance()?;
        }
        self.child()
    }

    /// Goes one entry back; `false` if there is none before the current.
    pub(crate) fn retreat(&mut self) -> Result<bool, Error> {
        self.step_to(self.passed.saturating_sub(1)).map_err(|damage| self.page.damaged(damage))
    }

    /// Goes to the last entry.
    pub(crate) fn seek_last(&mut self) -> Result<bool, Error> {
        self.step_to(self.page.count()).map_err(|damage| self.page.damaged(damage))
    }

    /// Stands at the entry with `passed` entries up to and with it; `false` for none.
    fn step_to(&mut self, passed: usize) -> Result<bool, Damage> {
        if passed == 0 {
            return Ok(false);
        }
        self.jump((passed - 1) / RESTART_INTERVAL)?;
        while self.passed < passed {
            self.step()?;
        }
        Ok(true)
    }

    /// Stands before the entry at a restart point.
    fn jump(&mut self, restart: usize) -> Result<(), Damage> {
        self.next = self.page.restart(restart)?;
        self.passed = restart * RESTART_INTERVAL;
        self.key.clear();
        self.placed = false;
        Ok(())
    }
}

/// Whether the key that starts with `shared` bytes of `key` and goes on with `suffix` is greater than `key`.
/// Writers share all that can be shared, so the first byte decides.
fn ascends(key: &[u8], shared: usize, suffix: &[u8]) -> bool {
    match (key.get(shared), suffix.first()) {
        (Some(old), Some(new)) => new > old,
        (None, Some(_)) => shared == key.len(),
        (_, None) => false,
    }
}

/// Compares the key that starts with `shared` bytes of `key` and goes on with `suffix` with `target`.
fn compare_coded(key: &[u8], shared: usize, suffix: &[u8], target: &[u8]) -> Ordering {
    let head = key.get(..shared).unwrap_or(key);
    let (common, rest) = target.split_at(head.len().min(target.len()));
    head.cmp(common).then_with(|| suffix.cmp(rest))
}
