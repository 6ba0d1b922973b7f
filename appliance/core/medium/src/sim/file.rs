//! One simulated file: what a program sees, what is on the platter, and the changes between the two.

use std::sync::Arc;

use super::content::Content;
use super::crash::Keep;
use super::random::Random;

/// What the disk writes whole or not at all.
pub(super) const SECTOR: u64 = 512;

/// A file, whatever its name.
#[derive(Clone, Debug, Default)]
pub(super) struct FileState {
    /// As the running program sees it.
    live: Content,
    /// As a crash without luck leaves it.
    durable: Content,
    /// Since the last sync, in order.
    pending: Vec<Pending>,
    /// A failed sync has dropped changes: `durable` and `pending` together are not `live`.
    diverged: bool,
    /// Open handles and locks.
    pub(super) handles: usize,
}

#[derive(Clone, Debug)]
struct Pending {
    /// The operation that made it.
    number: u64,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Arc<[u8]> },
    Length(u64),
}

impl Change {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Write { offset, bytes } => content.write(*offset, bytes),
            Self::Length(length) => content.set_length(*length),
        }
    }

    fn length_after(&self, length: u64) -> u64 {
        match self {
            Self::Write { offset, bytes } => length.max(offset + bytes.len() as u64),
            Self::Length(length) => *length,
        }
    }
}

impl FileState {
    /// A file as it is found after a crash.
    pub(super) fn settled(content: Content) -> Self {
        Self { live: content.clone(), durable: content, ..Self::default() }
    }

    pub(super) const fn live(&self) -> &Content {
        &self.live
    }

    pub(super) fn write(&mut self, number: u64, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.change(number, Change::Write { offset, bytes: bytes.into() });
    }

    pub(super) fn set_length(&mut self, number: u64, length: u64) {
        self.change(number, Change::Length(length));
    }

    fn change(&mut self, number: u64, change: Change) {
        change.apply(&mut self.live);
        self.pending.push(Pending { number, change });
    }

    /// The platter itself changes, under cache and journal.
    pub(super) fn damage(&mut self, offset: u64, bytes: &[u8]) {
        for content in [&mut self.live, &mut self.durable] {
            let room = usize::try_from(content.length().saturating_sub(offset)).unwrap_or(usize::MAX);
            content.write(offset, &bytes[..bytes.len().min(room)]);
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable = self.everything();
        self.pending.clear();
    }

    /// The kernel could not write everything: some of it may have reached the platter, the rest is
    /// forgotten while the program goes on seeing it.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        let keep = if random.chance(50) { Keep::Nothing } else { Keep::Sectors(50) };
        self.durable = self.image(keep, false, random);
        self.diverged |= !self.pending.is_empty();
        self.pending.clear();
    }

    /// The program sees the platter again, and what it wrote since; the length it saw stays.
    pub(super) fn forget_cached(&mut self) {
        let length = self.live.length();
        self.live = self.everything();
        if length > self.live.length() {
            self.live.set_length(length);
        }
    }

    pub(super) fn pending_numbers(&self) -> impl Iterator<Item = u64> {
        self.pending.iter().map(|p| p.number)
    }

    fn everything(&self) -> Content {
        if !self.diverged {
            return self.live.clone();
        }
        let mut content = self.durable.clone();
        self.pending.iter().for_each(|p| p.change.apply(&mut content));
        content
    }

    /// The bytes that a crash leaves. With `stale`, what a lost write brought into the file is not zeros
    /// but what the platter held before.
    pub(super) fn image(&self, keep: Keep, stale: bool, random: &mut Random) -> Content {
        let count = self.pending.len();
        if count == 0 || matches!(keep, Keep::Nothing) {
            return self.durable.clone();
        }
        match keep {
            Keep::Nothing => self.durable.clone(),
            Keep::Everything => self.everything(),
            Keep::Lengths => self.assemble(count, stale, random, |_, _, _| false),
            Keep::Before(cut) => {
                let before = self.pending.partition_point(|p| p.number < cut);
                let torn = self.pending.get(before).filter(|p| p.number == cut).map(|p| &p.change);
                let end = match torn {
                    Some(Change::Write { offset, bytes }) => {
                        offset / SECTOR + random.below(sectors(*offset, bytes.len()).count() as u64 + 1)
                    }
                    _ => 0,
                };
                let lengths = before + usize::from(torn.is_some() && random.chance(50));
                self.assemble(lengths, stale, random, |_, index, sector| {
                    index < before || (index == before && sector < end)
                })
            }
            Keep::Operations(percent) => {
                let kept: Vec<bool> = (0..count).map(|_| random.chance(percent)).collect();
                let last = kept.iter().rposition(|k| *k).map_or(0, |index| index + 1);
                let lengths = if random.chance(50) { last } else { random.index(count + 1) };
                self.assemble(lengths, stale, random, |_, index, _| kept[index])
            }
            Keep::Sectors(percent) => {
                let lengths = if random.chance(50) { count } else { random.index(count + 1) };
                self.assemble(lengths, stale, random, |random, _, _| random.chance(percent))
            }
        }
    }

    /// Applies the changes of length of the first `lengths` operations, and to each sector all writes up
    /// to the last one that `keep(random, index, sector)` lets through.
    fn assemble(
        &self,
        lengths: usize,
        stale: bool,
        random: &mut Random,
        mut keep: impl FnMut(&mut Random, usize, u64) -> bool,
    ) -> Content {
        let mut reach = Reach::of(&self.pending);
        for (index, pending) in self.pending.iter().enumerate() {
            if let Change::Write { offset, bytes } = &pending.change {
                for sector in sectors(*offset, bytes.len()) {
                    if keep(random, index, sector) {
                        reach.set(sector, index + 1);
                    }
                }
            }
        }
        let mut content = self.durable.clone();
        // Where the lowest truncation that did not happen lies: what was written behind it after it went
        // to blocks that the file does not have.
        let mut lost_truncation = u64::MAX;
        for (index, pending) in self.pending.iter().enumerate() {
            match &pending.change {
                Change::Length(length) if index < lengths => content.set_length(*length),
                Change::Length(length) => lost_truncation = lost_truncation.min(*length),
                Change::Write { offset, bytes } => {
                    for sector in sectors(*offset, bytes.len()) {
                        if (sector + 1) * SECTOR > lost_truncation {
                            break;
                        }
                        let (at, part) = piece(*offset, bytes, sector);
                        let kept = reach.get(sector);
                        if index < kept {
                            content.write(at, part);
                        } else if stale && kept == 0 && sector * SECTOR >= self.durable.length() {
                            let mut garbage = part.to_vec();
                            random.fill(&mut garbage);
                            content.write(at, &garbage);
                        }
                    }
                }
            }
        }
        let changes = self.pending.iter().take(lengths);
        let length = changes.fold(self.durable.length(), |length, p| p.change.length_after(length));
        content.set_length(length);
        content
    }
}

/// For each sector that pending writes touch: the number of operations whose effect on it is kept.
struct Reach {
    first: u64,
    kept: Vec<usize>,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "offsets are bounded by the disk's capacity, which is in memory"
)]
impl Reach {
    fn of(pending: &[Pending]) -> Self {
        let (mut first, mut end) = (u64::MAX, 0);
        for change in pending.iter().map(|p| &p.change) {
            if let Change::Write { offset, bytes } = change {
                first = first.min(offset / SECTOR);
                end = end.max((offset + bytes.len() as u64).div_ceil(SECTOR));
            }
        }
        Self { first, kept: vec![0; end.saturating_sub(first) as usize] }
    }

    fn set(&mut self, sector: u64, operations: usize) {
        self.kept[(sector - self.first) as usize] = operations;
    }

    fn get(&self, sector: u64) -> usize {
        self.kept[(sector - self.first) as usize]
    }
}

/// The sectors that a write touches.
fn sectors(offset: u64, length: usize) -> std::ops::Range<u64> {
    offset / SECTOR..(offset + length as u64).div_ceil(SECTOR)
}

/// The part of a write that lies in one sector, and its offset.
#[expect(clippy::cast_possible_truncation, reason = "differences inside one write")]
fn piece(offset: u64, bytes: &[u8], sector: u64) -> (u64, &[u8]) {
    let start = (sector * SECTOR).max(offset);
    let end = ((sector + 1) * SECTOR).min(offset + bytes.len() as u64);
    (start, &bytes[(start - offset) as usize..(end - offset) as usize])
}
