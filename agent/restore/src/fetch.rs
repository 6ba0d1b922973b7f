//! Fetching the content of a batch: in pool order, in large calls, by several threads.
//!
//! A batch holds what it will write and not much more: where an answer is mostly something else, since a chunk can be a
//! small part of a large buffer, what is needed is copied out of it.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use model::Name;
use model::archive::{Archive, ArchiveError, PointKey, SharedBytes};

use crate::batch::{Fetched, Reply};
use crate::error::corrupt;
use crate::job::Job;
use crate::request::Naming;

/// Most chunks of a call.
pub(crate) const CALL_CHUNKS_MAX: usize = 64;
/// Bytes of content after which a call is full.
pub(crate) const CALL_BYTES_MAX: usize = 8 << 20;

/// A range of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Want {
    pub(crate) name: Name,
    pub(crate) skip: u32,
    pub(crate) length: u32,
}

/// What one call fetches.
pub(crate) struct Group {
    names: Vec<Name>,
    /// Number in the batch, index of the chunk in `names`, range.
    wants: Vec<(usize, usize, Want)>,
    reply: Sender<Reply>,
}

/// Cuts the ranges of a batch into calls.
pub(crate) fn group(
    job: &Job<'_>,
    wants: &[Want],
    bytes_max: usize,
    reply: &Sender<Reply>,
) -> Result<Vec<Group>, ArchiveError> {
    let mut groups = Vec::new();
    let mut group = Group { names: Vec::new(), wants: Vec::new(), reply: reply.clone() };
    let mut bytes = 0;
    for index in order(job, wants)? {
        let Some(want) = wants.get(index) else { continue };
        if group.names.last() != Some(&want.name) {
            if group.names.len() == CALL_CHUNKS_MAX || bytes >= bytes_max {
                let next = Group { names: Vec::new(), wants: Vec::new(), reply: reply.clone() };
                groups.push(std::mem::replace(&mut group, next));
                bytes = 0;
            }
            group.names.push(want.name);
        }
        bytes += want.length as usize;
        group.wants.push((index, group.names.len() - 1, *want));
    }
    if !group.names.is_empty() {
        groups.push(group);
    }
    Ok(groups)
}

/// The numbers of ranges in the order of the places of their chunks in the pool.
fn order(job: &Job<'_>, wants: &[Want]) -> Result<Vec<usize>, ArchiveError> {
    let mut places: HashMap<Name, u64> = HashMap::with_capacity(wants.len());
    let mut names: Vec<Name> = Vec::with_capacity(wants.len());
    for want in wants {
        if places.insert(want.name, 0).is_none() {
            names.push(want.name);
        }
    }
    if names.len() > 1 {
        let found = job.request.archive.places(job.request.point, &names)?;
        places.extend(names.into_iter().zip(found));
    }
    let mut order: Vec<usize> = (0..wants.len()).collect();
    let key = |index: &usize| wants.get(*index).map(|want| (places.get(&want.name), want.name, want.skip));
    order.sort_by_cached_key(key);
    Ok(order)
}

/// Answers groups until there are no more.
pub(crate) fn work(job: &Job<'_>, groups: &Receiver<Group>, is_over: &dyn Fn() -> bool) {
    for group in groups {
        if is_over() {
            continue;
        }
        let answer = fetch(job.request.archive, job.request.point, job.request.naming, &group);
        // Nobody listens any more once the restore has ended.
        let _ = group.reply.send(answer);
    }
}

fn fetch(archive: &dyn Archive, point: PointKey, naming: Option<Naming<'_>>, group: &Group) -> Reply {
    let mut chunks = archive.chunks(point, &group.names)?;
    if chunks.len() != group.names.len() {
        return Err(corrupt("the archive answered for another number of chunks"));
    }
    if let Some(naming) = naming {
        for (chunk, name) in chunks.iter_mut().zip(&group.names) {
            if chunk.as_ref().is_ok_and(|bytes| naming(bytes) != *name) {
                *chunk = Err(corrupt("the chunk does not have its name"));
            }
        }
    }
    Ok(if is_mostly_wanted(&chunks, group) { cut_out(&chunks, group) } else { copy_out(&chunks, group) })
}

/// Whether at least three quarters of what the chunks keep in memory are wanted.
fn is_mostly_wanted(chunks: &[Result<SharedBytes, ArchiveError>], group: &Group) -> bool {
    let wanted: usize = group.wants.iter().map(|(_, _, want)| want.length as usize).sum();
    let mut buffers: Vec<&SharedBytes> = chunks.iter().flatten().collect();
    buffers.dedup_by(|a, b| a.shares_with(b));
    let held: usize = buffers.into_iter().map(SharedBytes::held).sum();
    wanted >= held / 4 * 3
}

/// The wanted ranges where they are.
fn cut_out(chunks: &[Result<SharedBytes, ArchiveError>], group: &Group) -> Vec<(usize, Fetched)> {
    let wants = group.wants.iter();
    wants.map(|(number, chunk, want)| (*number, range_of(chunks, *chunk, want))).collect()
}

/// A wanted range of a chunk.
fn range_of(chunks: &[Result<SharedBytes, ArchiveError>], chunk: usize, want: &Want) -> Fetched {
    let (skip, length) = (want.skip as usize, want.length as usize);
    match chunks.get(chunk) {
        Some(Ok(bytes)) => {
            bytes.part(skip..skip + length).ok_or_else(|| Arc::from("a chunk is shorter than the file says"))
        }
        Some(Err(error)) => Err(Arc::from(error.message.as_str())),
        None => Err(Arc::from("a chunk is missing")),
    }
}

/// Copies the wanted ranges into one buffer.
fn copy_out(chunks: &[Result<SharedBytes, ArchiveError>], group: &Group) -> Vec<(usize, Fetched)> {
    let mut buffer = Vec::with_capacity(group.wants.iter().map(|(_, _, want)| want.length as usize).sum());
    let mut ranges = Vec::with_capacity(group.wants.len());
    for (number, chunk, want) in &group.wants {
        let range = range_of(chunks, *chunk, want).map(|bytes| {
            let start = buffer.len();
            buffer.extend_from_slice(&bytes);
            start..buffer.len()
        });
        ranges.push((*number, range));
    }
    let buffer = Arc::new(buffer);
    let shared = |range| SharedBytes::new(Arc::clone(&buffer), range);
    ranges.into_iter().map(|(number, range)| (number, range.map(shared))).collect()
}
