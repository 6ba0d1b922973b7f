//! The items of a tree: what a source holds at one point, ordered by (object, kind, subkey).
//!
//! Key bytes compare as keys do. Values are packed with [`crate::codec`]; the tables are in FORMAT.md.

use crate::codec::{CodecError, Fields, put_number, put_signed};
use crate::path::EntryName;
use crate::{Name, ObjectId, Time};

/// Longest name of an extended attribute, in bytes (`XATTR_NAME_MAX` of Linux).
pub const XATTR_NAME_LENGTH_MAX: usize = 255;
/// Longest value of an extended attribute, in bytes (`XATTR_SIZE_MAX` of Linux).
pub const XATTR_VALUE_LENGTH_MAX: usize = 65_536;
/// Longest target of a symbolic link, in bytes.
pub const LINK_TARGET_LENGTH_MAX: usize = 4096;
/// Longest chunk, in bytes.
pub const CHUNK_LENGTH_MAX: u32 = 1 << 20;

/// What kind of object an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum FileKind {
    /// A regular file.
    #[n(1)]
    File,
    /// A directory.
    #[n(2)]
    Directory,
    /// A symbolic link.
    #[n(3)]
    Symlink,
    /// A character device.
    #[n(4)]
    CharacterDevice,
    /// A block device.
    #[n(5)]
    BlockDevice,
    /// A named pipe.
    #[n(6)]
    Fifo,
    /// A socket in the filesystem.
    #[n(7)]
    Socket,
}

impl FileKind {
    const ALL: [Self; 7] = [
        Self::File,
        Self::Directory,
        Self::Symlink,
        Self::CharacterDevice,
        Self::BlockDevice,
        Self::Fifo,
        Self::Socket,
    ];

    /// The number that stands for the kind in stored bytes.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::Symlink => 3,
            Self::CharacterDevice => 4,
            Self::BlockDevice => 5,
            Self::Fifo => 6,
            Self::Socket => 7,
        }
    }

    /// The kind that a stored number stands for.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The first letter of a long listing.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::File => '-',
            Self::Directory => 'd',
            Self::Symlink => 'l',
            Self::CharacterDevice => 'c',
            Self::BlockDevice => 'b',
            Self::Fifo => 'p',
            Self::Socket => 's',
        }
    }
}

/// What an agent says of an object; size and link count follow from the operations.
#[derive(Clone, Debug, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
pub struct Attributes {
    /// File, directory, link, ...
    #[n(0)]
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    #[n(1)]
    pub mode: u32,
    /// Owning user.
    #[n(2)]
    pub uid: u32,
    /// Owning group.
    #[n(3)]
    pub gid: u32,
    /// When the content changed last.
    #[n(4)]
    pub modified: Time,
    /// When content or metadata changed last, as the source said.
    #[n(5)]
    pub changed: Time,
    /// Device number (Linux encoding of `st_rdev`) of a device, else 0.
    #[n(6)]
    pub rdev: u64,
    /// Target of a symbolic link, else empty.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub target: Vec<u8>,
    /// The content is a disk image or database, cut in fixed aligned blocks.
    #[n(8)]
    pub image: bool,
}

impl Attributes {
    /// Those of an object with these permission bits, with zeros and nothing for all else.
    #[must_use]
    pub const fn new(kind: FileKind, mode: u32) -> Self {
        let (modified, changed) = (Time(0), Time(0));
        Self { kind, mode, uid: 0, gid: 0, modified, changed, rdev: 0, target: Vec::new(), image: false }
    }
}

/// An object as the tree holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// What the agent says of it.
    pub attributes: Attributes,
    /// Length in bytes; of a directory and other kinds 0.
    pub size: u64,
    /// Bytes of the length that are in no hole.
    pub stored: u64,
    /// Directory entries that name the object.
    pub links: u32,
}

/// What a range of a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// `length` bytes of a chunk, from `skip` on.
    Chunk {
        /// The chunk.
        name: Name,
        /// Bytes of the chunk before the range.
        skip: u32,
        /// Bytes of the range.
        length: u32,
    },
    /// `length` bytes that were never written and read as zeros.
    Hole {
        /// Bytes of the range.
        length: u64,
    },
}

impl Extent {
    /// Bytes of the file that it covers.
    #[must_use]
    pub fn length(&self) -> u64 {
        match *self {
            Self::Chunk { length, .. } => u64::from(length),
            Self::Hole { length } => length,
        }
    }
}

/// Where an item stands in the tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemKey {
    /// The object that it belongs to.
    pub object: ObjectId,
    /// Which of its items.
    pub part: ItemPart,
}

/// The kind of an item, and which one of that kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemPart {
    /// The object itself.
    Inode,
    /// The entry of a directory with this name.
    Entry(EntryName),
    /// The extended attribute with this name.
    Xattr(Box<[u8]>),
    /// The content from this offset on.
    Extent(u64),
}

const KIND_INODE: u8 = 0;
const KIND_ENTRY: u8 = 1;
const KIND_XATTR: u8 = 2;
const KIND_EXTENT: u8 = 3;
const KIND_END: u8 = 4;

fn key_bytes(object: ObjectId, kind: u8, subkey: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + subkey.len());
    bytes.extend_from_slice(&object.0.to_be_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(subkey);
    bytes
}

impl ItemKey {
    /// The key of an object itself.
    #[must_use]
    pub const fn inode(object: ObjectId) -> Self {
        Self { object, part: ItemPart::Inode }
    }

    /// The key of a directory entry.
    #[must_use]
    pub const fn entry(directory: ObjectId, name: EntryName) -> Self {
        Self { object: directory, part: ItemPart::Entry(name) }
    }

    /// The key of an extended attribute.
    #[must_use]
    pub fn xattr(object: ObjectId, name: &[u8]) -> Self {
        Self { object, part: ItemPart::Xattr(name.into()) }
    }

    /// The key of the content at an offset.
    #[must_use]
    pub const fn extent(object: ObjectId, offset: u64) -> Self {
        Self { object, part: ItemPart::Extent(offset) }
    }

    /// Bytes whose order is the order of keys.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match &self.part {
            ItemPart::Inode => key_bytes(self.object, KIND_INODE, &[]),
            ItemPart::Entry(name) => key_bytes(self.object, KIND_ENTRY, name.as_bytes()),
            ItemPart::Xattr(name) => key_bytes(self.object, KIND_XATTR, name),
            ItemPart::Extent(offset) => key_bytes(self.object, KIND_EXTENT, &offset.to_be_bytes()),
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (object, rest) = bytes.split_first_chunk::<8>().ok_or(CodecError::Short("key"))?;
        let object = ObjectId(u64::from_be_bytes(*object));
        let (kind, subkey) = rest.split_first().ok_or(CodecError::Short("key"))?;
        let part = match *kind {
            KIND_INODE if subkey.is_empty() => ItemPart::Inode,
            KIND_ENTRY => {
                ItemPart::Entry(EntryName::new(subkey).map_err(|_| CodecError::Value("name of an entry"))?)
            }
            KIND_XATTR if (1..=XATTR_NAME_LENGTH_MAX).contains(&subkey.len()) => {
                ItemPart::Xattr(subkey.into())
            }
            KIND_EXTENT => ItemPart::Extent(u64::from_be_bytes(
                subkey.try_into().map_err(|_| CodecError::Value("offset of an extent"))?,
            )),
            _ => return Err(CodecError::Value("kind of a key")),
        };
        Ok(Self { object, part })
    }
}

/// The key bytes of all items of one kind of one object, as `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemRange {
    object: ObjectId,
    from: u8,
    to: u8,
}

impl ItemRange {
    /// Everything of an object.
    #[must_use]
    pub const fn object(object: ObjectId) -> Self {
        Self { object, from: KIND_INODE, to: KIND_END }
    }

    /// The entries of a directory.
    #[must_use]
    pub const fn entries(directory: ObjectId) -> Self {
        Self { object: directory, from: KIND_ENTRY, to: KIND_XATTR }
    }

    /// The extended attributes of an object.
    #[must_use]
    pub const fn xattrs(object: ObjectId) -> Self {
        Self { object, from: KIND_XATTR, to: KIND_EXTENT }
    }

    /// The content of a file.
    #[must_use]
    pub const fn extents(object: ObjectId) -> Self {
        Self { object, from: KIND_EXTENT, to: KIND_END }
    }

    /// The first key of the range.
    #[must_use]
    pub fn start(&self) -> Vec<u8> {
        key_bytes(self.object, self.from, &[])
    }

    /// The first key behind the range.
    #[must_use]
    pub fn end(&self) -> Vec<u8> {
        key_bytes(self.object, self.to, &[])
    }
}

/// An item of a tree: one of the four kinds, told apart by the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An object.
    Inode(Inode),
    /// A name in a directory: the object and its kind.
    Entry(ObjectId, FileKind),
    /// The value of an extended attribute.
    Xattr(Vec<u8>),
    /// A range of content.
    Extent(Extent),
}

impl Item {
    /// The bytes of the value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        match self {
            Self::Inode(inode) => encode_inode(&mut out, inode),
            Self::Entry(object, kind) => {
                out.push(kind.code());
                put_number(&mut out, object.0);
            }
            Self::Xattr(value) => out.extend_from_slice(value),
            Self::Extent(Extent::Hole { length }) => {
                out.push(0);
                put_number(&mut out, *length);
            }
            Self::Extent(Extent::Chunk { name, skip, length }) => {
                out.push(1);
                put_number(&mut out, u64::from(*skip));
                put_number(&mut out, u64::from(*length));
                out.extend_from_slice(&name.0);
            }
        }
        out
    }

    /// Reads the value that stands under `key`.
    pub fn decode(key: &ItemKey, bytes: &[u8]) -> Result<Self, CodecError> {
        let mut fields = Fields::new(bytes);
        let item = match key.part {
            ItemPart::Inode => Self::Inode(decode_inode(&mut fields)?),
            ItemPart::Entry(_) => {
                let kind = FileKind::from_code(fields.byte("entry")?).ok_or(CodecError::Value("entry"))?;
                Self::Entry(ObjectId(fields.number("entry")?), kind)
            }
            ItemPart::Xattr(_) if bytes.len() > XATTR_VALUE_LENGTH_MAX => {
                return Err(CodecError::Value("extended attribute"));
            }
            ItemPart::Xattr(_) => Self::Xattr(fields.rest().to_vec()),
            ItemPart::Extent(offset) => Self::Extent(decode_extent(&mut fields, offset)?),
        };
        fields.finish("item")?;
        Ok(item)
    }
}

fn encode_inode(out: &mut Vec<u8>, inode: &Inode) {
    let Attributes { kind, mode, uid, gid, modified, changed, rdev, ref target, image } = inode.attributes;
    out.push(kind.code() | if image { 0x80 } else { 0 });
    put_number(out, u64::from(mode));
    put_number(out, u64::from(uid));
    put_number(out, u64::from(gid));
    put_signed(out, modified.0);
    put_signed(out, changed.0.wrapping_sub(modified.0));
    put_number(out, inode.size);
    put_number(out, inode.size.saturating_sub(inode.stored));
    put_number(out, u64::from(inode.links));
    put_number(out, rdev);
    out.extend_from_slice(target);
}

fn decode_inode(fields: &mut Fields<'_>) -> Result<Inode, CodecError> {
    const WHAT: &str = "inode";
    let head = fields.byte(WHAT)?;
    let kind = FileKind::from_code(head & 0x7f).ok_or(CodecError::Value(WHAT))?;
    let mode = fields.number32(WHAT)?;
    if mode > 0o7777 {
        return Err(CodecError::Value("mode of an inode"));
    }
    let uid = fields.number32(WHAT)?;
    let gid = fields.number32(WHAT)?;
    let modified = fields.signed(WHAT)?;
    let changed = modified.wrapping_add(fields.signed(WHAT)?);
    let size = fields.number(WHAT)?;
    let holes = fields.number(WHAT)?;
    let stored = size.checked_sub(holes).ok_or(CodecError::Value("holes of an inode"))?;
    let links = fields.number32(WHAT)?;
    let rdev = fields.number(WHAT)?;
    let target = fields.rest().to_vec();
    if target.len() > LINK_TARGET_LENGTH_MAX {
        return Err(CodecError::Value("target of a link"));
    }
    let (modified, changed) = (Time(modified), Time(changed));
    let image = head & 0x80 != 0;
    let attributes = Attributes { kind, mode, uid, gid, modified, changed, rdev, target, image };
    Ok(Inode { attributes, size, stored, links })
}

fn decode_extent(fields: &mut Fields<'_>, offset: u64) -> Result<Extent, CodecError> {
    const WHAT: &str = "extent";
    let extent = match fields.byte(WHAT)? {
        0 => Extent::Hole { length: fields.number(WHAT)? },
        1 => {
            let skip = fields.number32(WHAT)?;
            let length = fields.number32(WHAT)?;
            let name = fields.bytes(Name::LENGTH, WHAT)?;
            let name = Name(name.try_into().map_err(|_| CodecError::Short(WHAT))?);
            if u64::from(skip) + u64::from(length) > u64::from(CHUNK_LENGTH_MAX) {
                return Err(CodecError::Value(WHAT));
            }
            Extent::Chunk { name, skip, length }
        }
        _ => return Err(CodecError::Value(WHAT)),
    };
    // An extent that runs past the last offset could make a reader's sum wrap.
    if extent.length() == 0 || offset.checked_add(extent.length()).is_none() {
        return Err(CodecError::Value(WHAT));
    }
    Ok(extent)
}

#[cfg(test)]
mod tests;
