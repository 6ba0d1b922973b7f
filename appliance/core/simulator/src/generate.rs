//! Operations that fit a state, drawn from a seed: every kind of them, on few names, so that they meet.

use std::sync::Arc;

use chunk::NamingKey;
use medium::sim::Random;
use model::item::{Attributes, FileKind};
use model::operation::{Content, Operation};
use model::{EntryName, Name, ObjectId, Time};

use crate::files::Files;
use crate::oracle::Oracle;

/// Objects of a source; beyond it nothing is made.
const OBJECTS_MAX: usize = 24;
/// Bytes of a file; beyond it nothing is appended.
const FILE_BYTES_MAX: usize = 6000;
/// Longest chunk.
const CHUNK_BYTES_MAX: usize = 1500;

/// Draws operations for one source.
pub(crate) struct Generator<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) files: &'a mut Files,
    pub(crate) oracle: &'a mut Oracle,
    pub(crate) naming: NamingKey,
    /// Chunks that the operations name.
    pub(crate) named: Vec<Name>,
}

impl Generator<'_> {
    /// The next operation; the state has it already.
    pub(crate) fn operation(&mut self) -> Result<Operation, String> {
        let operation = loop {
            if let Some(operation) = self.draw() {
                break operation;
            }
        };
        if self.files.apply(&operation, &self.oracle.chunks) {
            Ok(operation)
        } else {
            Err(format!("the simulator made an operation that does not fit: {operation:?}"))
        }
    }

    fn draw(&mut self) -> Option<Operation> {
        match self.random.below(24) {
            0..=5 => self.make(),
            6..=11 => self.write(),
            12 => self.hole(),
            13 => self.truncate(),
            14 => self.set_attributes(),
            15 | 16 => self.set_xattr(),
            17 => self.remove_xattr(),
            18 => self.link(),
            19 | 20 => self.rename(),
            21 | 22 => self.remove(),
            _ => Some(Operation::Mark { label: "nightly".into(), at: Time(1) }),
        }
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.random.index(all.len())).cloned()
    }

    fn directory(&mut self) -> Option<ObjectId> {
        let all = self.files.of_kind(FileKind::Directory);
        self.pick(&all)
    }

    fn file(&mut self) -> Option<ObjectId> {
        let all = self.files.of_kind(FileKind::File);
        self.pick(&all)
    }

    fn name(&mut self) -> Option<EntryName> {
        const NAMES: [&[u8]; 10] =
            [b"a", b"b", b"c", b"d", b"a.b", b"-rf", b"with space", b"\xff\xfe", b"\n", &[b'x'; 255]];
        let name = self.pick(&NAMES)?;
        EntryName::new(name).ok()
    }

    /// A number that no object has: the next one, or one that was given back.
    fn number(&mut self) -> ObjectId {
        let next = self.files.objects.keys().next_back().map_or(ObjectId(2), |last| last.next());
        let drawn = ObjectId(2 + self.random.below(next.0));
        let reuse = self.random.chance(30) && !self.files.objects.contains_key(&drawn);
        if reuse { drawn } else { next }
    }

    fn attributes(&mut self, kind: FileKind) -> Attributes {
        let number = |random: &mut Random| u32::try_from(random.below(70_000)).unwrap_or(0);
        let target = if kind == FileKind::Symlink { b"../target".to_vec() } else { Vec::new() };
        let device = matches!(kind, FileKind::CharacterDevice | FileKind::BlockDevice);
        let mode = number(self.random) & 0o7777;
        Attributes {
            uid: number(self.random),
            gid: number(self.random),
            modified: Time(self.random.draw().cast_signed()),
            changed: Time(self.random.draw().cast_signed()),
            rdev: if device { self.random.below(1 << 20) } else { 0 },
            target,
            image: kind == FileKind::File && self.random.chance(10),
            ..Attributes::new(kind, mode)
        }
    }

    fn make(&mut self) -> Option<Operation> {
        const KINDS: [FileKind; 9] = [
            FileKind::File,
            FileKind::File,
            FileKind::File,
            FileKind::Directory,
            FileKind::Directory,
            FileKind::Symlink,
            FileKind::Fifo,
            FileKind::Socket,
            FileKind::BlockDevice,
        ];
        if self.files.objects.len() >= OBJECTS_MAX {
            return self.remove();
        }
        let (directory, name) = (self.directory()?, self.name()?);
        let kind = self.pick(&KINDS)?;
        let (object, attributes) = (self.number(), self.attributes(kind));
        Some(Operation::Make { directory, name, object, attributes })
    }

    fn length(&self, object: ObjectId) -> usize {
        self.files.objects.get(&object).map_or(0, |file| file.content.len())
    }

    /// Where to write: the start, the end, inside, or behind a gap.
    fn offset(&mut self, object: ObjectId) -> Option<u64> {
        let length = self.length(object);
        let offset = match self.random.below(5) {
            0 => 0,
            1 | 2 => length,
            3 => self.random.index(length + 1),
            _ => length + self.random.index(300),
        };
        (offset < FILE_BYTES_MAX).then_some(offset as u64)
    }

    fn write(&mut self) -> Option<Operation> {
        let object = self.file()?;
        let offset = self.offset(object)?;
        let name = self.chunk()?;
        let whole = self.oracle.chunks.get(&name).map_or(0, |bytes| bytes.len());
        let skip = if self.random.chance(70) { 0 } else { self.random.index(whole) };
        let length = if self.random.chance(70) { whole - skip } else { 1 + self.random.index(whole - skip) };
        let (skip, length) = (u32::try_from(skip).ok()?, u32::try_from(length).ok()?);
        Some(Operation::Write { object, offset, content: Content::Chunk { name, skip, length } })
    }

    /// A chunk that is new, or that some machine has sent before.
    fn chunk(&mut self) -> Option<Name> {
        let known = if self.random.chance(35) { self.pick(&self.oracle.material.clone()) } else { None };
        let bytes = known.unwrap_or_else(|| {
            let mut bytes = vec![0; 1 + self.random.index(CHUNK_BYTES_MAX)];
            if self.random.chance(60) {
                self.random.fill(&mut bytes);
            } else {
                // Such bytes compress.
                let stamp = self.random.draw().to_le_bytes();
                bytes.iter_mut().zip(stamp.iter().cycle()).for_each(|(to, from)| *to = *from);
            }
            let bytes: Arc<[u8]> = bytes.into();
            self.oracle.material.push(Arc::clone(&bytes));
            bytes
        });
        let name = self.naming.name(&bytes);
        self.oracle.chunks.insert(name, bytes);
        self.named.push(name);
        Some(name)
    }

    fn hole(&mut self) -> Option<Operation> {
        let object = self.file()?;
        let offset = self.offset(object)?;
        let length = 1 + self.random.below(2000);
        Some(Operation::Write { object, offset, content: Content::Hole { length } })
    }

    fn truncate(&mut self) -> Option<Operation> {
        let object = self.file()?;
        let size = self.random.index(self.length(object) + 500) as u64;
        Some(Operation::Truncate { object, size })
    }

    fn set_attributes(&mut self) -> Option<Operation> {
        let all: Vec<ObjectId> = self.files.objects.keys().copied().collect();
        let object = self.pick(&all)?;
        let kind = self.files.objects.get(&object)?.attributes.kind;
        Some(Operation::SetAttributes { object, attributes: self.attributes(kind) })
    }

    fn set_xattr(&mut self) -> Option<Operation> {
        let all: Vec<ObjectId> = self.files.objects.keys().copied().collect();
        let object = self.pick(&all)?;
        let name = self.pick(&[&b"user.a"[..], b"user.b", b"system.posix_acl_access"])?.to_vec();
        let mut value = vec![0; self.random.index(60)];
        self.random.fill(&mut value);
        Some(Operation::SetXattr { object, name, value })
    }

    fn remove_xattr(&mut self) -> Option<Operation> {
        let names = |(id, names): (ObjectId, Vec<Vec<u8>>)| names.into_iter().map(move |name| (id, name));
        let all =
            self.files.objects.iter().map(|(id, object)| (*id, object.xattrs.keys().cloned().collect()));
        let all: Vec<(ObjectId, Vec<u8>)> = all.flat_map(names).collect();
        let (object, name) = self.pick(&all)?;
        Some(Operation::RemoveXattr { object, name })
    }

    fn link(&mut self) -> Option<Operation> {
        let (directory, name) = (self.directory()?, self.name()?);
        let object = self.file()?;
        // An object that goes with the name that it is to get cannot have it.
        let replaced = self.files.objects.get(&directory)?.entries.get(&name).copied();
        let goes = replaced.is_some_and(|r| r != object && self.files.below(r).contains(&object));
        (!goes).then_some(Operation::Link { directory, name, object })
    }

    fn rename(&mut self) -> Option<Operation> {
        let names = self.files.names();
        let (directory, name, object) = self.pick(&names)?;
        let (to_directory, to_name) = (self.directory()?, self.name()?);
        // A directory cannot go below itself, nor replace one that it is in.
        let replaced = self.files.objects.get(&to_directory)?.entries.get(&to_name).copied();
        let goes = replaced.is_some_and(|r| r != object && self.files.below(r).contains(&object));
        let loops = self.files.below(object).contains(&to_directory);
        (!goes && !loops).then_some(Operation::Rename { directory, name, to_directory, to_name })
    }

    fn remove(&mut self) -> Option<Operation> {
        let names = self.files.names();
        let (directory, name, _) = self.pick(&names)?;
        Some(Operation::Remove { directory, name })
    }
}
