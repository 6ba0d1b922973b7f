//! Giving back the room of chunks that nothing holds any more.
//!
//! A segment is never changed; one of data goes as a whole, after what is needed of it was written elsewhere. Which one, the
//! figures in the catalog say; so the cost is that of the segments that go. In order:
//!
//! 1. Everything is counted, and the catalog says so on the drive.
//! 2. Segments are *condemned*, in memory: chunks in them are unknown to backups from then on, so whoever needs one sends
//!    it again and it is stored elsewhere. That goes for chunks that something holds as well: it may be dropped before
//!    the backup makes its point. Only to those to which a chunk was [promised](crate::sessions) before it stays known.
//! 3. What is held or promised is copied; its index and the record that removes the segments are one commit. What is
//!    decided to go is unknown to everybody.
//! 4. The catalog is brought up to that commit. Only then are the files removed.
//!
//! A crash forgets 2 and every backup; after 3 the segments are no part of the pool, and an opening removes the files.
//! Nothing is removed that cannot be read as it should be: such a segment stays, and what is wrong is said. Where nothing is
//! held in what cannot be read, it goes when those backups have ended to which it may be promised.
//!
//! What a backup has sent before its point is made looks like what nothing holds. Of each segment it is known how much
//! stays for backups alone, so that they are not written again and again while a backup goes on.

mod log;
mod moving;

use std::sync::Arc;

use model::{Name, SegmentNumber};

use crate::PoolError;
use crate::catalog::{Kind, Use};
use crate::counting::Counted;
use crate::header::ignore_missing;
use crate::layout::{SEGMENTS, segment_path};
use crate::planted::Bug;
use crate::pool::Pool;
use crate::record::Record;
use moving::{Moved, Outcome};

/// What the keys of settings begin with that giving room back makes.
pub(crate) const RESERVED: &str = "pool/";
/// Names in one record.
const NAMES_MAX: usize = 8192;
/// Most segments that are condemned at once.
const CONDEMNED_MAX: usize = 64;

/// What a step of reclaiming came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reclaimed {
    /// Files were removed, of so many bytes, and so many were written instead.
    Bytes {
        /// Bytes of the files.
        freed: u64,
        /// Bytes of chunks that were copied.
        copied: u64,
    },
    /// More is to be counted first.
    Counting,
    /// All that is worth it stays for backups that are under way.
    Waiting,
    /// There is nothing that is worth it.
    Nothing,
}

/// How much of a segment must be of no use for it to go, in thousandths of what it holds.
#[derive(Clone, Copy, Debug)]
pub struct Thrift(pub u64);

impl Thrift {
    /// Half of it: every byte that is copied frees another one.
    pub const DEFAULT: Self = Self(500);

    fn wants(self, used: &Use) -> bool {
        self.wants_share(used.stored.saturating_sub(used.live), used.stored)
    }

    /// Whether so much of something is enough of no use.
    fn wants_share(self, dead: u64, all: u64) -> bool {
        dead > 0 && u128::from(dead) * 1000 >= u128::from(all) * u128::from(self.0)
    }
}

/// How much is done in one step, which others wait for.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Births that are counted.
    pub births: usize,
    /// Bytes of segments that are read, and of chunks that are copied; one segment goes in any case.
    pub bytes: u64,
}

impl Default for Effort {
    fn default() -> Self {
        Self { births: 50_000, bytes: 256 << 20 }
    }
}

impl Pool {
    /// One step: counts, waits, or gives back the room of some segments. Call it again until there is nothing.
    ///
    /// # Errors
    /// Those of [`Self::count`], and of a drive that fails.
    pub fn reclaim(&mut self, thrift: Thrift, effort: Effort) -> Result<Reclaimed, PoolError> {
        let shared = Arc::clone(self.shared());
        let openings = shared.openings();
        let planted = self.planted();
        if !planted.has(Bug::ReclaimUncounted) && self.count(effort.births)? == Counted::More {
            return Ok(Reclaimed::Counting);
        }
        let room = self.room_to_copy()?;
        // A pool beyond its capacity goes by the bytes of one segment.
        let most = if self.is_within_capacity() { room } else { room.min(self.data_bytes()) };
        let effort = Effort { bytes: effort.bytes.min(most), ..effort };
        let is_held_up = shared.state().condemned.is_empty() && self.condemn(thrift, room)?;
        if shared.state().condemned.is_empty() {
            self.condemn_log(thrift, room)?;
        }
        let ready: Vec<SegmentNumber> = shared.state().condemned.iter().copied().collect();
        if ready.is_empty() {
            if self.place(effort.births)? == Counted::More {
                return Ok(Reclaimed::Counting);
            }
            return Ok(if is_held_up { Reclaimed::Waiting } else { Reclaimed::Nothing });
        }
        // What is counted is on the drive before anything goes by it.
        self.commit(Vec::new())?;
        self.flush_catalog()?;
        if shared.openings() != openings {
            // A catalog that found no room was opened again: what was counted and what was condemned is forgotten.
            return Ok(Reclaimed::Counting);
        }
        if shared.is_of_log(&ready)? {
            self.remove_log(&ready, effort)
        } else {
            self.remove_segments(&ready, effort)
        }
    }

    /// Bytes of chunks that were copied so that segments could go, since the process has the pool.
    #[must_use]
    pub const fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// The number of the next backup.
    #[must_use]
    pub fn next_session(&self) -> u64 {
        self.shared().sessions.next()
    }

    /// Fences off the backups before a number for which anything stays that nothing else keeps: they begin again. How many
    /// there were.
    pub fn fence_sessions(&mut self, before: u64) -> usize {
        self.shared().sessions.fence_holding(before)
    }

    /// Bytes that may be copied before anything is freed. Where room is short, the reserve is there for that.
    fn room_to_copy(&self) -> Result<u64, PoolError> {
        if !self.shared().is_tight() {
            return Ok(u64::MAX);
        }
        self.draw_on_reserve();
        Ok(self.shared().world.disk.space()?.available_bytes / 2)
    }

    /// Condemns the segments that are worth it and of which no more than `room` bytes are needed: the oldest first, and
    /// where room is short those of which least is needed. Whether any was left out for what stays for backups in it.
    fn condemn(&mut self, thrift: Thrift, room: u64) -> Result<bool, PoolError> {
        // The figures are those of the catalog.
        self.commit(Vec::new())?;
        self.flush_catalog()?;
        if self.shared().sessions.has_all() {
            return Ok(true);
        }
        let mut uses = self.shared().state().catalog()?.segments()?;
        let held = self.shared().sessions.held_bytes();
        let before = uses.iter().filter(|(_, used)| thrift.wants(used)).count();
        for (segment, used) in &mut uses {
            let held = held.get(segment).copied().unwrap_or(0);
            used.live = used.live.saturating_add(held).min(used.stored);
        }
        let is_held_up = uses.iter().filter(|(_, used)| thrift.wants(used)).count() < before;
        self.seal_if(|open| uses.iter().any(|(segment, used)| *segment == open && thrift.wants(used)))?;
        let open = self.open_segments();
        let shared = self.shared();
        let mut state = shared.state_mut();
        let is_put_off = |segment: &SegmentNumber| {
            state.put_off.get(segment).is_some_and(|next| shared.sessions.any_before(*next))
        };
        let worth = |(segment, used): &(SegmentNumber, Use)| {
            used.kind == Kind::Chunks
                && thrift.wants(used)
                && used.live <= room
                && !open.contains(segment)
                && !state.stuck.contains(segment)
                && !is_put_off(segment)
                && state.mark.length_of(*segment).is_some()
        };
        let mut condemned: Vec<_> = uses.into_iter().filter(worth).collect();
        if shared.is_tight() {
            condemned.sort_by_key(|(_, used)| used.live);
        }
        state.condemned = condemned.iter().take(CONDEMNED_MAX).map(|(segment, _)| *segment).collect();
        Ok(is_held_up)
    }

    /// Copies what is needed of segments, takes them out of the pool, and removes their files.
    fn remove_segments(&mut self, ready: &[SegmentNumber], effort: Effort) -> Result<Reclaimed, PoolError> {
        let uses: Vec<(SegmentNumber, Use)> = self.shared().state().catalog()?.segments()?;
        self.shared().state_mut().going.clear();
        let (mut moved, mut removed, mut freed) = (Moved::default(), Vec::new(), 0);
        let live = |segment: &SegmentNumber| {
            uses.iter().find(|(number, _)| number == segment).map_or(0, |(_, used)| used.live)
        };
        let mut ready: Vec<_> = ready.iter().map(|segment| (live(segment), segment)).collect();
        if self.shared().is_tight() {
            ready.sort_unstable();
        }
        for (live, segment) in ready {
            if !removed.is_empty() && moved.copied + live > effort.bytes {
                break;
            }
            let length = self.shared().state().mark.length_of(*segment).unwrap_or(0);
            match self.move_chunks(*segment, live, &mut moved) {
                Ok(Outcome::Goes) => {
                    removed.push(*segment);
                    freed += length;
                }
                Ok(Outcome::PutOff) => {
                    let mut state = self.shared().state_mut();
                    state.condemned.remove(segment);
                    state.put_off.insert(*segment, self.shared().sessions.next());
                }
                Err(error) if error.is_of_place() => {
                    self.keep_stuck(*segment, &error);
                }
                Err(error) => return Err(error),
            }
            if freed + moved.copied >= effort.bytes {
                break;
            }
        }
        if self.planted().has(Bug::RemoveBeforeCommit) {
            self.remove_files(&removed)?;
        }
        self.store_moved(&mut moved)?;
        if removed.is_empty() {
            return Ok(Reclaimed::Bytes { freed: 0, copied: moved.copied });
        }
        let openings = self.shared().openings();
        let gone: Vec<Name> = moved.gone.iter().map(|(name, _)| *name).collect();
        let disowned = self.shared().state().catalog()?.with_owners(&gone)?;
        let disowned = disowned.chunks(NAMES_MAX).map(|names| Record::Disowned { names: names.to_vec() });
        let records = std::iter::once(Record::Removed { segments: removed.clone() }).chain(disowned);
        self.commit(records.collect())?;
        // An opening has read the record already.
        if self.shared().openings() == openings {
            self.forget_removed(&moved, &removed);
        }
        self.flush_catalog()?;
        self.remove_files(&removed)?;
        Ok(Reclaimed::Bytes { freed, copied: moved.copied })
    }

    /// Keeps a segment that cannot go because something in it cannot be read.
    fn keep_stuck(&self, segment: SegmentNumber, error: &PoolError) {
        let mut state = self.shared().state_mut();
        state.stuck.insert(segment);
        state.condemned.remove(&segment);
        state.damage.push(format!("segment {segment} is kept as it is: {}", error.in_words()));
    }

    /// Takes out of the tables what was only in segments that are gone.
    fn forget_removed(&self, moved: &Moved, removed: &[SegmentNumber]) {
        self.shared().sessions.forget(removed);
        let mut state = self.shared().state_mut();
        state.going.clear();
        let gone = moved.gone.iter().filter(|_| !self.planted().has(Bug::GoneStaysKnown));
        for (name, length) in gone {
            state.recent.forget_chunk(name);
            state.mark.chunk_bytes -= u64::from(*length);
        }
        for segment in removed {
            state.condemned.remove(segment);
            state.put_off.remove(segment);
            // Of a segment with damage it is not known which chunks it had.
            if !moved.unsure.contains(segment) {
                state.unswept.remove(segment);
            }
        }
    }

    /// Removes files of segments that are no part of the pool.
    fn remove_files(&mut self, removed: &[SegmentNumber]) -> Result<(), PoolError> {
        self.guard(|pool| {
            let shared = pool.shared();
            for segment in removed {
                ignore_missing(shared.world.disk.remove(&segment_path(*segment)))?;
                // Nobody opens it from here on; a file that is open keeps its room.
                shared.frames.forget(*segment);
            }
            shared.world.disk.sync_directory(SEGMENTS)?;
            shared.state_mut().leaving.retain(|segment| !removed.contains(segment));
            Ok(())
        })
    }
}
