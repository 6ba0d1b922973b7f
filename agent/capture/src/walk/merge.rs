//! Comparing a directory with what the last point has of it: two sorted sequences, walked side by side.

use std::iter::Peekable;
use std::sync::Arc;

use model::path::EntryName;
use model::record::ExceptionCause;
use rustix::io::Errno;

use super::{Child, WalkError, Walker};
use crate::CacheError;
use crate::cache::Entries;
use crate::list::{Listing, WINDOW};
use crate::record::Record;
use crate::source::Selection;
use crate::task::{Directory, cause_of};

/// What is taken of a directory.
pub(super) struct Taken {
    pub(super) listing: Listing,
    /// Whether the listing is all there is: what it does not name is gone.
    pub(super) complete: bool,
    pub(super) selection: Selection,
}

type OldEntries<'a> = Peekable<Entries<'a>>;

impl Walker<'_> {
    /// Compares all entries of a directory; its directories, to be entered next.
    pub(super) fn merge(
        &mut self,
        directory: &Arc<Directory>,
        taken: &Taken,
        is_known: bool,
    ) -> Result<Vec<Child>, WalkError> {
        let snapshot = self.snapshot;
        let mut old = if is_known { snapshot.entries(directory.object)? } else { Entries::none() }.peekable();
        let mut children = Vec::new();
        let mut seen = Vec::new();
        for from in (0..taken.listing.len()).step_by(WINDOW) {
            let to = (from + WINDOW).min(taken.listing.len());
            taken.listing.look_up(&directory.fd, from, to, &mut seen);
            for (index, answer) in (from..to).zip(seen.drain(..)) {
                let name = taken.listing.name(index);
                self.gone_before(&mut old, directory, Some(name), taken.complete)?;
                let before = next_if_named(&mut old, name)?;
                let Ok(name) = EntryName::new(name) else {
                    let path = directory.path_of(name);
                    self.remark(path, ExceptionCause::Unsupported, "the name is longer than 255 bytes");
                    continue;
                };
                match answer {
                    Ok(Some(found)) => {
                        self.entry(directory, &name, found, before, &taken.selection, &mut children)?;
                    }
                    Ok(None) => {
                        let path = directory.path_of(name.as_bytes());
                        self.remark(path, ExceptionCause::Unsupported, "an unknown kind of file");
                    }
                    Err(error) => self.not_seen(directory, &name, before.as_ref(), &taken.selection, error),
                }
            }
        }
        self.gone_before(&mut old, directory, None, taken.complete)?;
        Ok(children)
    }

    /// Takes away what the last point has in front of `name` and the directory has not.
    fn gone_before(
        &mut self,
        old: &mut OldEntries<'_>,
        directory: &Directory,
        name: Option<&[u8]>,
        complete: bool,
    ) -> Result<(), WalkError> {
        let is_before = |entry: &Result<(Vec<u8>, Record), CacheError>| match entry {
            Ok((old_name, _)) => name.is_none_or(|name| old_name.as_slice() < name),
            Err(_) => true,
        };
        while let Some(entry) = old.next_if(is_before) {
            let (old_name, record) = entry?;
            if !complete {
                continue;
            }
            let old_name = EntryName::new(&old_name).map_err(|_| CacheError::Damaged("name of an entry"))?;
            self.displace(directory.object, &old_name, &record, true);
        }
        Ok(())
    }

    /// A name that is listed, but `stat` fails.
    fn not_seen(
        &mut self,
        directory: &Directory,
        name: &EntryName,
        before: Option<&Record>,
        selection: &Selection,
        error: Errno,
    ) {
        let path = directory.path_of(name.as_bytes());
        // A protected path that is missing may be a disk that is not mounted: what the last point has stays.
        let is_protected = matches!(selection, Selection::Some(_));
        let cause = if is_protected { ExceptionCause::Unreadable } else { cause_of(error) };
        if let (ExceptionCause::Vanished, Some(old)) = (cause, before) {
            self.displace(directory.object, name, old, true);
        }
        self.problem(path, cause, error);
    }
}

fn next_if_named(old: &mut OldEntries<'_>, name: &[u8]) -> Result<Option<Record>, CacheError> {
    let is_named = |entry: &Result<(Vec<u8>, Record), CacheError>| {
        entry.as_ref().is_ok_and(|(old_name, _)| old_name == name)
    };
    Ok(old.next_if(is_named).transpose()?.map(|(_, record)| record))
}
