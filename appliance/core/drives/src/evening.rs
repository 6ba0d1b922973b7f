//! Making copies equal that a crash, or a failure on all of them, left different.
//!
//! What the copies differ in was never synced, so any of them is right; but all must say the same before anybody believes
//! one, or the loss of a drive would change what was read. The names and the small files that every member has are those of
//! the first member. Of a segment the longest copy is taken.

use std::sync::Arc;

use medium::{Access, DiskError, File};
use model::{ErrorKind, SegmentNumber};

use crate::copies::{BLOCK_LENGTH, OpenCopy, buffer, copy_whole, part, read_any, same};
use crate::layout::{Class, MEMBER_LOCK, SEGMENTS, is_reserved, segment_name, segment_path};
use crate::member::Member;
use crate::set::Shared;
use crate::superblock::remove_if_there;

impl Shared {
    /// Makes the copies of a file equal if they may differ and nobody writes it.
    pub(crate) fn make_even(self: &Arc<Self>, class: Class, path: &str) -> Result<(), DiskError> {
        let state = self.state();
        let uneven = match class {
            Class::Segment(number) => state.segments.get(&number).is_some_and(|segment| segment.uneven),
            _ => state.uneven.contains(path),
        };
        let node = state.node(path);
        drop(state);
        if !uneven || node.is_some_and(|node| node.state().writers > 0) {
            return Ok(());
        }
        match class {
            Class::Segment(number) => self.even_segment(number),
            _ => self.even_mirrored(class, path),
        }
    }

    /// Makes the copies of a segment equal, and makes those that are too few.
    fn even_segment(self: &Arc<Self>, number: SegmentNumber) -> Result<(), DiskError> {
        let path = segment_path(number);
        let holders = self.members_of(Class::Segment(number));
        let mut copies = self.on_each(&holders, |member| member.disk.open(&path, Access::ReadWrite))?;
        copies.sort_by_cached_key(|(_, file)| std::cmp::Reverse(file.length().unwrap_or(0)));
        let Some((_, lead)) = copies.first() else { return Ok(()) };
        let length = lead.length()?;
        let members: Vec<Arc<Member>> = copies.iter().map(|(member, _)| member.clone()).collect();
        let mut buffer = buffer(length);
        for offset in (0..length).step_by(BLOCK_LENGTH) {
            let part = part(&mut buffer, length - offset);
            // A place that no copy gives stays as it is, and is an error to whoever reads it.
            if read_any(&copies, offset, part).is_ok() {
                self.on_copies(&members, &copies, |file| overwrite(file, offset, part))?;
            }
        }
        self.on_copies(&members, &copies, |file| {
            if file.length()? != length {
                file.set_length(length)?;
            }
            file.sync_data()
        })?;
        self.on_each(&members, |member| member.disk.sync_directory(SEGMENTS))?;
        self.fill_up(number, &copies)?;
        if let Some(segment) = self.state().segments.get_mut(&number) {
            segment.uneven = false;
        }
        self.state().unsynced_names.remove(&number);
        self.unmark(&segment_name(number));
        Ok(())
    }

    /// Copies a segment to further members until it has as many copies as it should, or there is no room.
    fn fill_up(self: &Arc<Self>, number: SegmentNumber, copies: &[OpenCopy]) -> Result<(), DiskError> {
        let path = segment_path(number);
        let mut holders: Vec<usize> =
            copies.iter().filter(|(member, _)| member.serves()).map(|(member, _)| member.index).collect();
        for member in self.candidates(number) {
            if holders.len() >= self.state().copies_wanted(number) {
                break;
            }
            if holders.contains(&member.index) {
                continue;
            }
            match copy_whole(copies, &member, &path) {
                Ok(()) => holders.push(member.index),
                Err(error) if error.kind() == ErrorKind::Full => {}
                Err(error) if error.kind() == ErrorKind::Io && member.disk.list("").is_err() => {
                    self.fall_out(&[member])?;
                }
                // The source cannot be read, or this member cannot be written: the segment stays at risk.
                Err(_) => member.count_write_error(),
            }
        }
        let mut state = self.state();
        holders.retain(|index| state.members.get(*index).is_some_and(Option::is_some));
        if let Some(segment) = state.segments.get_mut(&number) {
            segment.holders.extend(holders);
        }
        Ok(())
    }

    /// Makes the copies of a file equal that is mirrored on all members of its class.
    fn even_mirrored(self: &Arc<Self>, class: Class, path: &str) -> Result<(), DiskError> {
        let members = self.members_of(class);
        let mut copies: Vec<OpenCopy> = Vec::new();
        for member in &members {
            if let Ok(file) = member.disk.open(path, Access::Read) {
                copies.push((member.clone(), file));
            }
        }
        self.on_each(&members, |member| {
            let own = copies.iter().find(|(other, _)| other.index == member.index);
            match (own, copies.first()) {
                (_, None) => Ok(()),
                (Some((_, file)), Some((_, lead))) if same(&**lead, &**file).unwrap_or(false) => {
                    file.sync_data()
                }
                _ => copy_whole(&copies, member, path),
            }
        })?;
        self.state().uneven.remove(path);
        self.state().closed.insert(path.to_owned());
        Ok(())
    }

    /// Runs on the copies whose members are in service.
    fn on_copies(
        &self,
        members: &[Arc<Member>],
        copies: &[OpenCopy],
        act: impl Fn(&dyn File) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        self.on_each(members, |member| match copies.iter().find(|(other, _)| other.index == member.index) {
            Some((_, file)) => act(&**file),
            None => Ok(()),
        })
        .map(drop)
    }

    /// Makes names and small files of all members those of the first one. The files of the catalog are compared only if
    /// they were being changed.
    pub(crate) fn even_names(self: &Arc<Self>) -> Result<(), DiskError> {
        let (serving, homes) = self.serving_and_homes();
        self.even_directory(&serving, "", &|path| Class::of(path) != Class::Everywhere)?;
        let others: Vec<_> =
            serving.iter().filter(|m| !homes.iter().any(|h| h.index == m.index)).cloned().collect();
        self.on_each(&others, |member| remove_catalog(member, &[]))?;
        let Some(lead) = homes.first() else { return Ok(()) };
        let names = catalog_names(lead)?;
        self.on_each(&homes, |member| remove_catalog(member, &names))?;
        let compare = self.state().marked.contains(crate::layout::CATALOG_MARK);
        for name in names {
            let everywhere = homes.iter().all(|member| member.disk.open(&name, Access::Read).is_ok());
            if compare || !everywhere {
                self.even_mirrored(Class::Catalog, &name)?;
            }
        }
        self.on_each(&serving, |member| member.disk.sync_directory(""))?;
        Ok(())
    }

    /// Gives a member that comes into service the names and small files that every member has, and takes away what else it
    /// has of them.
    pub(crate) fn furnish(
        self: &Arc<Self>,
        serving: &[Arc<Member>],
        member: &Arc<Member>,
    ) -> Result<(), DiskError> {
        remove_catalog(member, &[])?;
        let mut failure = None;
        for lead in serving.iter().filter(|lead| lead.serves()) {
            match furnish_directory(lead, member, "") {
                Ok(()) => return member.disk.sync_directory(""),
                // Another one may give what this one does not.
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Makes a directory and what is in it that of the first member, except for what `skip` says.
    fn even_directory(
        self: &Arc<Self>,
        members: &[Arc<Member>],
        directory: &str,
        skip: &dyn Fn(&str) -> bool,
    ) -> Result<(), DiskError> {
        let join =
            |name: &str| if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
        let listed = |member: &Member| -> Result<Vec<String>, DiskError> {
            let names = member.disk.list(directory)?.into_iter();
            Ok(names.filter(|name| !is_foreign(&join(name)) && !skip(&join(name))).collect())
        };
        let serving: Vec<_> = members.iter().filter(|member| member.serves()).cloned().collect();
        let names = crate::names::first_answer(&serving, medium::Operation::List, directory, listed)?;
        for name in &names {
            let path = join(name);
            let Some(lead) = serving.iter().find(|member| member.serves()) else { break };
            if lead.disk.list(&path).is_ok() {
                self.on_each(&serving, |member| member.disk.make_directory(&path))?;
                self.even_directory(&serving, &path, skip)?;
            } else {
                self.even_mirrored(Class::Everywhere, &path)?;
            }
        }
        self.on_each(&serving, |member| {
            let mut surplus = listed(member)?.into_iter().filter(|name| !names.contains(name));
            surplus.try_for_each(|name| remove_tree(member, &join(&name)))?;
            member.disk.sync_directory(directory)
        })?;
        Ok(())
    }
}

/// Makes a directory of one member that of another, as far as every member has it.
fn furnish_directory(lead: &Arc<Member>, member: &Member, directory: &str) -> Result<(), DiskError> {
    let join =
        |name: &str| if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
    let listed = |member: &Member| -> Result<Vec<String>, DiskError> {
        let names = member.disk.list(directory)?.into_iter();
        let ours = |path: &str| is_foreign(path) || Class::of(path) != Class::Everywhere || path == "lock";
        Ok(names.filter(|name| !ours(&join(name))).collect())
    };
    let names = listed(lead)?;
    for name in &names {
        let path = join(name);
        if lead.disk.list(&path).is_ok() {
            member.disk.make_directory(&path)?;
            furnish_directory(lead, member, &path)?;
        } else {
            let file = lead.disk.open(&path, Access::Read)?;
            copy_whole(&[(lead.clone(), file)], member, &path)?;
        }
    }
    let mut surplus = listed(member)?.into_iter().filter(|name| !names.contains(name));
    surplus.try_for_each(|name| remove_tree(member, &join(&name)))?;
    member.disk.sync_directory(directory)
}

/// What is not the set's business: its own files, and what a filesystem puts into its root.
fn is_foreign(path: &str) -> bool {
    is_reserved(path) || path == "lost+found" || path == MEMBER_LOCK
}

pub(crate) fn remove_tree(member: &Member, path: &str) -> Result<(), DiskError> {
    if let Ok(names) = member.disk.list(path) {
        names.iter().try_for_each(|name| remove_tree(member, &format!("{path}/{name}")))?;
    }
    remove_if_there(&*member.disk, path)
}

fn catalog_names(member: &Member) -> Result<Vec<String>, DiskError> {
    Ok(member.disk.list("")?.into_iter().filter(|name| Class::of(name) == Class::Catalog).collect())
}

/// Removes files of the catalog that are none of these.
fn remove_catalog(member: &Member, keep: &[String]) -> Result<(), DiskError> {
    let names = catalog_names(member)?;
    names.iter().filter(|name| !keep.contains(name)).try_for_each(|name| remove_if_there(&*member.disk, name))
}

/// Writes bytes where a file says something else.
fn overwrite(file: &dyn File, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
    let mut found = vec![0; bytes.len()];
    if file.read_at(offset, &mut found).is_ok() && found == bytes {
        return Ok(());
    }
    file.write_at(offset, bytes)
}
