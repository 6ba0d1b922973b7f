//! Answers to questions about what is stored, each cut to what fits a frame.
//!
//! What is stored can be of any size; an answer takes bounded memory because it is gathered in steps and ends when
//! it is full. The client asks again for the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::archive::{Archive, ArchiveError, Change, PointKey, SharedBytes};
use model::item::{Item, ItemKey};
use model::record::Point;
use model::{ErrorKind, Name};
use wire::message::{
    CHUNKS_BULK_MAX, ChunkResult, DamagedPoint, ITEMS_MAX, StoredChange, StoredItem, fit_exceptions,
};
use wire::{Reply, Request};

/// Bytes of a listing at which an answer is full; the rest of a body is for the last entry.
const LISTING_FULL: usize = 2 << 20;
/// Items or changes that are asked of the archive at a time.
const STEP_ITEMS: usize = 256;
/// Chunks that are asked of the archive at a time: at most so many that are not needed are held.
const STEP_CHUNKS_MAX: usize = 32;
/// Longest words about a chunk that cannot be read.
const WORDS_LENGTH_MAX: usize = 300;

/// A reply with its bulk bytes.
pub(crate) type Answer = (Reply, Vec<SharedBytes>);

/// Answers a question, with bulk bytes if it has some.
pub(crate) fn answer(archive: &Arc<dyn Archive>, request: Request) -> Result<Answer, ArchiveError> {
    let reply = match request {
        Request::Machines => Reply::Machines { machines: archive.machines()? },
        Request::Sources => Reply::Sources { sources: archive.sources()? },
        Request::Points { source, from } => points(archive.points(source)?, &archive.damaged(source)?, from),
        Request::Point { point } => {
            let mut point = archive.point(point)?;
            fit_exceptions(&mut point.exceptions);
            Reply::Point { point }
        }
        Request::Item { point, key } => {
            let item_key = ItemKey::decode(&key).map_err(|error| refused(&error))?;
            let item = archive.item(point, &item_key)?;
            let items = item.map(|item| StoredItem { key, value: item.encode() }).into_iter().collect();
            Reply::Items { items, more: false }
        }
        Request::Items { point, from, to, limit } => {
            let step = |from: &[u8], limit| archive.items(point, from, &to, limit);
            let (items, more) = gather(from, limit, step, stored_item)?;
            Reply::Items { items, more }
        }
        Request::ItemAtOrBefore { point, from, at } => {
            let found = archive.item_at_or_before(point, &from, &at)?;
            let items = found.as_ref().map(|found| stored_item(found).0).into_iter().collect();
            Reply::Items { items, more: false }
        }
        Request::Changes { before, after, from, limit } => {
            let step = |from: &[u8], limit| archive.changes(before, after, from, limit);
            let (changes, more) = gather(from, limit, step, stored_change)?;
            Reply::Changes { changes, more }
        }
        Request::Chunks { point, names } => return chunks(archive.as_ref(), point, &names),
        Request::Places { point, names } => Reply::Places { places: archive.places(point, &names)? },
        _ => {
            let message = "this is no question about what is stored".into();
            return Err(ArchiveError { kind: ErrorKind::Refused, message });
        }
    };
    Ok((reply, Vec::new()))
}

fn refused(error: &dyn std::error::Error) -> ArchiveError {
    ArchiveError::new(ErrorKind::Refused, error)
}

fn points(all: Vec<Point>, damage: &BTreeMap<u64, u64>, from: u64) -> Reply {
    let mut length = 0;
    let (mut points, mut damaged) = (Vec::new(), Vec::new());
    for point in all.into_iter().filter(|point| point.number >= from) {
        if length >= LISTING_FULL {
            return Reply::Points { points, more: true, damaged: Some(damaged) };
        }
        let number = point.number;
        damaged.extend(damage.get(&number).map(|count| DamagedPoint { number, count: *count }));
        length += minicbor::to_vec(&point).map_or(0, |bytes| bytes.len());
        points.push(point);
    }
    Reply::Points { points, more: false, damaged: Some(damaged) }
}

fn stored_item((key, item): &(ItemKey, Item)) -> (StoredItem, usize) {
    let stored = StoredItem { key: key.encode(), value: item.encode() };
    let length = stored.key.len() + stored.value.len();
    (stored, length)
}

fn stored_change(change: &Change) -> (StoredChange, usize) {
    let encode = |item: &Option<Item>| item.as_ref().map(Item::encode);
    let (before, after) = (encode(&change.before), encode(&change.after));
    let stored = StoredChange { key: change.key.encode(), before, after };
    let value_length = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
    let length = stored.key.len() + value_length(&stored.before) + value_length(&stored.after);
    (stored, length)
}

/// Something of a listing as it travels, which knows its key.
trait Keyed {
    fn key(&self) -> &[u8];
}

impl Keyed for StoredItem {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

impl Keyed for StoredChange {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

/// Gathers a listing until it ends or the answer is full; whether it is full.
fn gather<T, S: Keyed>(
    mut from: Vec<u8>,
    limit: u32,
    step: impl Fn(&[u8], usize) -> Result<Vec<T>, ArchiveError>,
    store: impl Fn(&T) -> (S, usize),
) -> Result<(Vec<S>, bool), ArchiveError> {
    let limit = (limit as usize).min(ITEMS_MAX);
    let mut gathered: Vec<S> = Vec::new();
    let mut length = 0;
    while gathered.len() < limit && length < LISTING_FULL {
        let asked = STEP_ITEMS.min(limit - gathered.len());
        let found = step(&from, asked)?;
        for one in &found {
            if length >= LISTING_FULL {
                return Ok((gathered, true));
            }
            let (stored, its_length) = store(one);
            length += its_length;
            gathered.push(stored);
        }
        if found.len() < asked {
            return Ok((gathered, false));
        }
        // The least key behind a key is the key with a zero byte.
        from = gathered.last().map_or(from, |last| [last.key(), &[0]].concat());
    }
    let is_full = !gathered.is_empty();
    Ok((gathered, is_full))
}

fn chunks(archive: &dyn Archive, point: PointKey, names: &[Name]) -> Result<Answer, ArchiveError> {
    let mut results = Vec::new();
    let mut bulk: Vec<SharedBytes> = Vec::new();
    let mut length = 0;
    let mut step = 4;
    while let Some(rest) = names.get(results.len()..).filter(|rest| !rest.is_empty()) {
        let found = archive.chunks(point, rest.get(..step).unwrap_or(rest))?;
        if found.is_empty() {
            let message = "the archive gave no answer about chunks".into();
            return Err(ArchiveError { kind: ErrorKind::Io, message });
        }
        for result in found {
            let result = match result {
                Ok(bytes) if length + bytes.len() > CHUNKS_BULK_MAX && !bulk.is_empty() => {
                    return Ok((Reply::Chunks { results }, bulk));
                }
                Ok(bytes) => {
                    length += bytes.len();
                    let result =
                        ChunkResult::Bytes { length: u32::try_from(bytes.len()).unwrap_or(u32::MAX) };
                    bulk.push(bytes);
                    result
                }
                Err(error) => ChunkResult::Failed { error: shortened(error) },
            };
            results.push(result);
        }
        // Large chunks keep the steps small, small ones make them grow.
        let average = (length / results.len().max(1)).max(1);
        step = (CHUNKS_BULK_MAX.saturating_sub(length) / average).clamp(1, STEP_CHUNKS_MAX.min(step * 2));
        if length >= CHUNKS_BULK_MAX {
            break;
        }
    }
    Ok((Reply::Chunks { results }, bulk))
}

fn shortened(mut error: ArchiveError) -> ArchiveError {
    if error.message.len() > WORDS_LENGTH_MAX {
        let end = (0..=WORDS_LENGTH_MAX).rev().find(|end| error.message.is_char_boundary(*end));
        error.message.truncate(end.unwrap_or(0));
    }
    error
}

/// Cuts lines of a report to what fits a frame.
pub(crate) fn fit_lines(lines: &mut Vec<String>) {
    let mut length = 0;
    let count = lines.iter().take_while(|line| {
        length += line.len() + 8;
        length <= LISTING_FULL
    });
    let count = count.count();
    lines.truncate(count);
}
