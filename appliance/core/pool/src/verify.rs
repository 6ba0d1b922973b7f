//! Reading everything and saying what is damaged; and the pool in figures.
//!
//! Frames are opened and every chunk and page in them is named anew; then every item of every point is walked and each
//! chunk that it refers to must be one that was found sound. Damage is said as machine, source, point and path.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chunk::{FRAME_HEADER_LENGTH, FrameHeader, FrameKind};
use model::archive::PointKey;
use model::item::{Extent, Item, ItemKey, ItemPart};
use model::record::Point;
use model::{ErrorKind, Name, ObjectId, SegmentNumber};
use tree::ItemTree;

use crate::PoolError;
use crate::archive::tree_root;
use crate::layout::SEGMENT_HEADER_LENGTH;
use crate::segment::FramePlace;
use crate::state::Shared;

/// Most lines of damage that a report lists; the rest is counted.
pub const DAMAGE_MAX: usize = 10_000;

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Frames that were read and opened.
    pub frames: u64,
    /// Chunks that were named anew.
    pub chunks: u64,
    /// Points whose items were walked.
    pub points: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Damage, in words.
    pub damage: Vec<String>,
    /// How much damage there was.
    pub damage_count: u64,
}

/// The pool in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its UUID.
    pub pool: [u8; 16],
    /// The number of the last commit.
    pub commit: u64,
    /// Machines.
    pub machines: u64,
    /// Sources.
    pub sources: u64,
    /// Points.
    pub points: u64,
    /// Chunks that the catalog knows.
    pub chunks: u64,
    /// Bytes of all chunks.
    pub chunk_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Valid bytes of all segments.
    pub segment_bytes: u64,
    /// Bytes that the drive can hold.
    pub capacity_bytes: u64,
    /// Bytes that are free on it.
    pub available_bytes: u64,
    /// What is wrong, in words.
    pub damage: Vec<String>,
}

impl Verification {
    fn damaged(&mut self, what: String) {
        self.damage_count += 1;
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(what);
        }
    }
}

impl Shared {
    /// The pool in figures.
    pub fn status(&self) -> Result<Status, PoolError> {
        let space = self.world.disk.space()?;
        let state = self.state();
        let recent = state.recent.chunks.len() as u64;
        Ok(Status {
            pool: self.header.pool,
            commit: state.mark.commit.0,
            machines: state.registry.machines.len() as u64,
            sources: state.registry.sources.len() as u64,
            points: state.registry.points.len() as u64,
            chunks: state.catalog()?.chunk_count()? + recent,
            chunk_bytes: state.mark.chunk_bytes,
            segments: state.mark.lengths.len() as u64,
            segment_bytes: state.mark.lengths.iter().map(|(_, length)| length).sum(),
            capacity_bytes: space.capacity_bytes,
            available_bytes: space.available_bytes,
            damage: state.damage.clone(),
        })
    }

    /// Reads and checks the whole pool, or what one point needs.
    pub fn verify(&self, point: Option<PointKey>) -> Result<Verification, PoolError> {
        let mut report = Verification::default();
        let points: Vec<Arc<Point>> = match point {
            Some(key) => vec![self.point(key)?],
            None => self.registry(|r| r.points.values().cloned().collect()),
        };
        if point.is_none() {
            let lengths = self.state().mark.lengths.clone();
            for (segment, length) in lengths {
                self.verify_segment(segment, length, &mut report)?;
            }
        }
        let mut verdicts = HashMap::new();
        for point in points {
            self.verify_point(&point, &mut verdicts, &mut report)?;
            report.points += 1;
        }
        report.damage.extend(self.damage());
        report.damage_count += self.damage().len() as u64;
        Ok(report)
    }

    fn verify_segment(
        &self,
        number: SegmentNumber,
        length: u64,
        report: &mut Verification,
    ) -> Result<(), PoolError> {
        let segment = match self.frames.segment(number) {
            Ok(segment) => segment,
            Err(error) => {
                report.damaged(format!("segment {number}: {error}"));
                return Ok(());
            }
        };
        let mut offset = SEGMENT_HEADER_LENGTH as u64;
        while offset < length {
            let mut bytes = [0; FRAME_HEADER_LENGTH];
            let header = segment.file.read_at(offset, &mut bytes).map_err(PoolError::from);
            let header = header.and_then(|()| {
                FrameHeader::parse(&bytes).map_err(|source| PoolError::Frame {
                    segment: number,
                    offset,
                    source,
                })
            });
            let Ok(header) = header else {
                // Frames behind it are reached through the points that need them.
                report.damaged(format!("segment {number}: no sound frame at {offset}"));
                return Ok(());
            };
            let place = FramePlace { segment: number, offset, sealed_length: header.sealed_length() };
            offset += header.padded_length() as u64;
            report.bytes += header.padded_length() as u64;
            match self.verify_frame(place) {
                Ok(chunks) => {
                    report.frames += 1;
                    report.chunks += chunks;
                }
                Err(error) => report.damaged(model::archive::ArchiveError::new(error.kind(), &error).message),
            }
        }
        Ok(())
    }

    /// Opens a frame and names anew what is in it; the number of its chunks.
    fn verify_frame(&self, place: FramePlace) -> Result<u64, PoolError> {
        let frame = self.frames.read(place)?;
        let mut chunks = 0;
        for (entry, range) in frame.table.iter().flat_map(chunk::Table::ranges) {
            let bytes = frame.plaintext.get(range).unwrap_or_default();
            let sound = match frame.kind {
                FrameKind::Pages => self.keys.page().name(bytes) == entry.name,
                _ => {
                    chunks += 1;
                    let owner = self.state().chunk(&entry.name)?.map(|place| place.owner);
                    let domain = |r: &crate::registry::Registry| {
                        owner.and_then(|owner| r.machines.get(&owner)).map(|machine| machine.domain)
                    };
                    match self.registry(domain) {
                        Some(domain) => self.keys.naming(domain).name(bytes) == entry.name,
                        None => true,
                    }
                }
            };
            if !sound {
                let (segment, offset) = (place.segment, place.offset);
                return Err(PoolError::Name { what: "chunk", name: entry.name, segment, offset });
            }
        }
        Ok(chunks)
    }

    fn verify_point(
        &self,
        point: &Point,
        verdicts: &mut HashMap<Name, Result<(), String>>,
        report: &mut Verification,
    ) -> Result<(), PoolError> {
        let (machine, source) = match self.machine_of(point.source) {
            Ok(machine) => {
                let label = self.registry(|r| r.sources.get(&point.source).map(|s| s.label.to_string()));
                (machine, label.unwrap_or_default())
            }
            Err(error) => {
                report.damaged(format!("point {} of source {}: {error}", point.id, point.source));
                return Ok(());
            }
        };
        let title = format!("{}/{source}@{}", machine.label, point.id);
        let key = self.keys.naming(machine.domain);
        let mut bad = HashSet::new();
        let mut parents: HashMap<ObjectId, ItemKey> = HashMap::new();
        for item in ItemTree::default().range(self, &tree_root(point)?, ..) {
            let (item_key, item) = match item {
                Ok(item) => item,
                Err(error) => {
                    report.damaged(format!("{title}: part of its tree cannot be read: {error}"));
                    break;
                }
            };
            match (&item_key.part, item) {
                (ItemPart::Entry(_), Item::Entry(object, _)) => {
                    parents.entry(object).or_insert(item_key);
                }
                (_, Item::Extent(Extent::Chunk { name, .. })) => {
                    let verdict = verdicts.entry(name).or_insert_with(|| {
                        let place = self
                            .state()
                            .chunk(&name)
                            .and_then(|place| place.ok_or(PoolError::Absent { what: "chunk", name }));
                        let read = place.and_then(|place| self.chunk_at(&key, &name, &place));
                        read.map(drop)
                            .map_err(|e| model::archive::ArchiveError::new(ErrorKind::Corrupt, &e).message)
                    });
                    if let Err(cause) = verdict
                        && bad.insert(item_key.object)
                    {
                        report.damaged(format!("{title}:{}: {cause}", path_of(&parents, item_key.object)));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The path of an object, as far as the entries seen so far tell.
fn path_of(parents: &HashMap<ObjectId, ItemKey>, object: ObjectId) -> String {
    let mut names = Vec::new();
    let mut at = object;
    while let Some(ItemKey { object: directory, part: ItemPart::Entry(name) }) = parents.get(&at) {
        names.push(name.to_string());
        at = *directory;
        if names.len() > 4096 {
            break;
        }
    }
    names.reverse();
    names.join("/")
}
