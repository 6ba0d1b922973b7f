//! Entries of one level in key order that are not cut into pages yet, and the cutting.
//!
//! The run knows the exact length that any part of it has as a page, so pages are as full as they can be.
//! A page is cut where both parts can stand: neither under a quarter of the target, interior ones with two
//! children at least. A run that cannot be cut like this is one page, however long its single large value is.

use model::codec::put_number;

use crate::cursor::Cursor;
use crate::error::{Damage, Error};
use crate::limits::PageLimits;
use crate::page::{HEADER_LENGTH, MAGIC, Page, RESTART_INTERVAL, RESTART_LENGTH, VERSION};

/// A page that is cut and encoded, not written.
pub(crate) struct CutPage {
    pub(crate) separator: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) items: u64,
}

/// An entry: where its key, and behind it its payload, lie in the arena.
struct Slot {
    start: usize,
    key_length: usize,
    /// Bytes that the key has in common with the one before it.
    shared: usize,
    payload_length: usize,
    /// Items below: 1 in a leaf.
    items: u64,
}

impl Slot {
    /// Bytes of the entry in a page where `shared` bytes of its key are left out.
    const fn length(&self, shared: usize) -> usize {
        let suffix_length = self.key_length - shared;
        number_length(shared)
            + number_length(suffix_length)
            + number_length(self.payload_length)
            + suffix_length
            + self.payload_length
    }

    /// Bytes of the entry behind another one.
    const fn coded_length(&self) -> usize {
        self.length(self.shared)
    }

    /// Bytes of the entry at a restart point, with its place in the table.
    const fn restart_length(&self) -> usize {
        self.length(0) + RESTART_LENGTH
    }

    /// Bytes of the entry as the one with this index in its page.
    const fn length_at(&self, index: usize) -> usize {
        if index.is_multiple_of(RESTART_INTERVAL) { self.restart_length() } else { self.coded_length() }
    }
}

/// Entries in order, waiting to be pages.
pub(crate) struct Run {
    level: u8,
    limits: PageLimits,
    /// The separator of the first page, if the run is of leaves; interior pages are separated by their first key.
    lower: Vec<u8>,
    arena: Vec<u8>,
    slots: Vec<Slot>,
    /// Bytes of all entries as one page.
    length: usize,
}

impl Run {
    pub(crate) const fn new(level: u8, limits: PageLimits) -> Self {
        Self { level, limits, lower: Vec::new(), arena: Vec::new(), slots: Vec::new(), length: HEADER_LENGTH }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Number of entries.
    pub(crate) const fn count(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of all entries as one page.
    pub(crate) const fn length(&self) -> usize {
        self.length
    }

    /// Whether all entries together are too few for a page that has neighbours.
    pub(crate) const fn underfull(&self) -> bool {
        self.limits.underfull(self.level, self.slots.len(), self.length)
    }

    /// Whether all entries together fill half a page or more.
    pub(crate) const fn half_full(&self) -> bool {
        !self.underfull() && self.length >= self.limits.length_max() / 2
    }

    /// Whether more than one page is needed.
    pub(crate) fn overfull(&self) -> bool {
        self.length > self.limits.length_max() && self.cut_point(0, self.slots.len()).is_some()
    }

    /// States what separates the first page from those before it; without effect if entries wait.
    pub(crate) fn begin(&mut self, separator: &[u8]) {
        if self.slots.is_empty() {
            self.lower.clear();
            self.lower.extend_from_slice(separator);
        }
    }

    /// Appends an entry; its key must be greater than all before it.
    pub(crate) fn push(&mut self, key: &[u8], payload: &[u8], items: u64) -> Result<(), Damage> {
        let shared = match self.slots.last() {
            None => 0,
            Some(last) => {
                let before = self.key(last);
                let shared = common_length(before, key);
                if before.get(shared) >= key.get(shared) {
                    return Err(Damage::Order);
                }
                shared
            }
        };
        let start = self.arena.len();
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(payload);
        let slot = Slot { start, key_length: key.len(), shared, payload_length: payload.len(), items };
        self.length += slot.length_at(self.slots.len());
        self.slots.push(slot);
        Ok(())
    }

    /// Appends all of `other`.
    pub(crate) fn append(&mut self, other: &Self) -> Result<(), Damage> {
        other.slots.iter().try_for_each(|slot| self.push(other.key(slot), other.payload(slot), slot.items))
    }

    /// Appends all entries of a page that stands under `separator`.
    pub(crate) fn append_page(&mut self, page: &Page, separator: &[u8]) -> Result<(), Error> {
        self.begin(separator);
        let mut cursor = Cursor::new(page.clone());
        while cursor.advance()? {
            let items = if page.level() == 0 { 1 } else { cursor.child()?.items };
            self.push(cursor.key(), cursor.payload(), items).map_err(|damage| page.damaged(damage))?;
        }
        Ok(())
    }

    /// The only entry, if there is one only: its payload and the items below it.
    pub(crate) fn single(&self) -> Option<(&[u8], u64)> {
        match self.slots.as_slice() {
            [slot] => Some((self.payload(slot), slot.items)),
            _ => None,
        }
    }

    /// Cuts a full page off the front, for a run that goes on; `None` while nothing would be left.
    pub(crate) fn cut_front(&mut self) -> Option<CutPage> {
        let count = self.front_count();
        (count < self.slots.len()).then(|| self.take(count))
    }

    /// Cuts everything into pages of like length: what stands in the middle of a tree and may grow anywhere.
    pub(crate) fn cut_balanced(&mut self) -> Vec<CutPage> {
        let mut ends = Vec::new();
        self.plan_balanced(0, self.slots.len(), &mut ends);
        let mut start = 0;
        ends.into_iter().map(|end| self.take(end - std::mem::replace(&mut start, end))).collect()
    }

    /// Cuts everything into full pages and a rest: what stands at the end of a tree and grows there.
    pub(crate) fn cut_full(&mut self) -> Vec<CutPage> {
        let mut pages = Vec::new();
        while self.overfull()
            && let Some(page) = self.cut_front()
        {
            pages.push(page);
        }
        if !self.slots.is_empty() {
            pages.push(self.take(self.slots.len()));
        }
        pages
    }

    fn key(&self, slot: &Slot) -> &[u8] {
        &self.arena[slot.start..slot.start + slot.key_length]
    }

    fn payload(&self, slot: &Slot) -> &[u8] {
        &self.arena[slot.start + slot.key_length..][..slot.payload_length]
    }

    fn clear(&mut self) {
        self.arena.clear();
        self.slots.clear();
        self.length = HEADER_LENGTH;
    }

    /// How many entries fill the first page: as many as fit, and no fewer than a page needs.
    fn front_count(&self) -> usize {
        let mut length = HEADER_LENGTH;
        for (count, slot) in self.slots.iter().enumerate() {
            let longer = length + slot.length_at(count);
            if longer > self.limits.length_max() && !self.limits.underfull(self.level, count, length) {
                return count.max(1);
            }
            length = longer;
        }
        self.slots.len()
    }

    /// Appends to `ends` where the pages of `slots[from..to]` end.
    fn plan_balanced(&self, from: usize, to: usize, ends: &mut Vec<usize>) {
        match self.cut_point(from, to) {
            Some(middle) => {
                self.plan_balanced(from, middle, ends);
                self.plan_balanced(middle, to, ends);
            }
            None if from < to => ends.push(to),
            None => {}
        }
    }

    /// Where `slots[from..to]` is cut in two most evenly; `None` if it fits a page or cannot be cut.
    fn cut_point(&self, from: usize, to: usize) -> Option<usize> {
        let slots = &self.slots[from..to];
        let tails = tail_lengths(slots);
        if *tails.first()? <= self.limits.length_max() {
            return None;
        }
        let mut head = HEADER_LENGTH;
        let mut best = None;
        for (index, slot) in slots.iter().enumerate() {
            let tail = tails[index];
            let stands = |count, length| !self.limits.underfull(self.level, count, length);
            if stands(index, head) && stands(slots.len() - index, tail) {
                let difference = head.abs_diff(tail);
                if best.is_none_or(|(least, _)| difference < least) {
                    best = Some((difference, from + index));
                }
            }
            head += slot.length_at(index);
        }
        best.map(|(_, index)| index)
    }

    /// Removes the first `count` entries as a page.
    fn take(&mut self, count: usize) -> CutPage {
        let slots = &self.slots[..count];
        let items = slots.iter().fold(0u64, |sum, slot| sum.saturating_add(slot.items));
        let bytes = self.encode(slots);
        let separator =
            if self.level == 0 { std::mem::take(&mut self.lower) } else { self.key(&slots[0]).to_vec() };
        let Some(first) = self.slots.get(count) else {
            self.clear();
            return CutPage { separator, bytes, items };
        };
        if self.level == 0 {
            self.lower.extend_from_slice(&self.arena[first.start..=first.start + first.shared]);
        }
        let start = first.start;
        self.arena.drain(..start);
        self.slots.drain(..count);
        self.length = HEADER_LENGTH;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            slot.start -= start;
            self.length += slot.length_at(index);
        }
        CutPage { separator, bytes, items }
    }

    fn encode(&self, slots: &[Slot]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length.min(2 * self.limits.length_max()));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, self.level]);
        bytes.extend_from_slice(&offset_bytes(slots.len()));
        let mut restarts = Vec::with_capacity(slots.len().div_ceil(RESTART_INTERVAL) * RESTART_LENGTH);
        for (index, slot) in slots.iter().enumerate() {
            let mut shared = slot.shared;
            if index.is_multiple_of(RESTART_INTERVAL) {
                restarts.extend_from_slice(&offset_bytes(bytes.len()));
                shared = 0;
            }
            put_number(&mut bytes, shared as u64);
            put_number(&mut bytes, (slot.key_length - shared) as u64);
            put_number(&mut bytes, slot.payload_length as u64);
            bytes.extend_from_slice(
                &self.arena[slot.start + shared..][..slot.key_length - shared + slot.payload_length],
            );
        }
        bytes.extend_from_slice(&restarts);
        bytes
    }
}

/// For every entry, the bytes of a page that starts with it and holds all behind it.
fn tail_lengths(slots: &[Slot]) -> Vec<usize> {
    let mut lengths = vec![0; slots.len()];
    // What the entries behind cost without restart points, and what restart points add for each phase.
    let mut coded = 0;
    let mut added = [0; RESTART_INTERVAL];
    for (index, slot) in slots.iter().enumerate().rev() {
        coded += slot.coded_length();
        let phase = &mut added[index % RESTART_INTERVAL];
        *phase += slot.restart_length() - slot.coded_length();
        lengths[index] = HEADER_LENGTH + coded + *phase;
    }
    lengths
}

fn offset_bytes(offset: usize) -> [u8; 4] {
    u32::try_from(offset).expect("pages are far shorter than 4 GiB").to_le_bytes()
}

fn common_length(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Bytes of a number as LEB128.
const fn number_length(value: usize) -> usize {
    if value == 0 { 1 } else { (value.ilog2() / 7 + 1) as usize }
}
