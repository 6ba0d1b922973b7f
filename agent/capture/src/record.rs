//! What the cache keeps of an entry, as compact bytes that notice when they rot.
//!
//! An entry is found under (directory, name). Its value starts with a checksum over key and value, because a
//! flipped bit in an object number would silently be sent on as an operation on the wrong object.

use model::codec::{CodecError, Fields, put_number, put_signed};
use model::item::{Attributes, FileKind};
use model::{Name, ObjectId, Time};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::stat::{Seen, Stamp};
use crate::xattr::XattrDigest;

/// Most extents that stand in an entry itself.
pub(crate) const INLINE_EXTENTS_MAX: usize = 8;
/// Most extents of a piece of content that stands apart.
pub(crate) const PIECE_EXTENTS: usize = 512;

/// The value cannot be trusted to say what the content was: it is read again.
const FLAG_UNSETTLED: u8 = 1;
/// A further name of an inode whose content another entry vouches for.
const FLAG_ALIAS: u8 = 2;
const FLAG_IMAGE: u8 = 4;
const FLAG_APART: u8 = 8;
const CHECKSUM_LENGTH: usize = 4;

/// A run of a file's content, as the cache keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) length: u64,
    /// The chunk; none for a hole.
    pub(crate) name: Option<Name>,
}

/// Where the content of a file stands in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// In the entry.
    Inline(Vec<Run>),
    /// In so many pieces under the number of the object.
    Apart {
        /// How many.
        pieces: u32,
    },
}

/// What the cache keeps of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) object: ObjectId,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) links: u64,
    pub(crate) attributes: Attributes,
    /// Whether equal stamps prove that nothing changed.
    pub(crate) settled: bool,
    /// Whether this is a further name of an inode that another entry vouches for.
    pub(crate) alias: bool,
    pub(crate) xattrs: Vec<XattrDigest>,
    pub(crate) content: Content,
}

impl Record {
    /// A record of an inode without content.
    pub(crate) fn new(
        object: ObjectId,
        seen: &Seen,
        attributes: Attributes,
        xattrs: Vec<XattrDigest>,
    ) -> Self {
        let Stamp { device, inode, size, .. } = seen.stamp;
        let content = Content::Inline(Vec::new());
        let (settled, alias, links) = (true, false, seen.links);
        Self { object, device, inode, size, links, attributes, settled, alias, xattrs, content }
    }

    /// What must be equal for the inode to be unchanged.
    pub(crate) const fn stamp(&self) -> Stamp {
        Stamp {
            device: self.device,
            inode: self.inode,
            size: self.size,
            modified: self.attributes.modified,
            changed: self.attributes.changed,
        }
    }

    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.attributes.kind == FileKind::Directory
    }

    /// Whether the record is of the same inode.
    pub(crate) const fn is_inode(&self, stamp: &Stamp) -> bool {
        self.device == stamp.device && self.inode == stamp.inode
    }

    /// Whether the object is the best that is known of what has its name, if that cannot be read.
    ///
    /// Not so if it is shared with names of another inode: their new content would show under this name too.
    pub(crate) const fn stands_for(&self, stamp: &Stamp) -> bool {
        self.links == 1 || self.is_inode(stamp)
    }

    /// Whether everything that an agent sends of the inode besides content and extended attributes is the same.
    pub(crate) fn has_attributes(&self, attributes: &Attributes) -> bool {
        self.attributes == *attributes
    }

    /// The value under `key`.
    pub(crate) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut out = vec![0; CHECKSUM_LENGTH];
        let Attributes { kind, mode, uid, gid, modified, changed, rdev, ref target, image } = self.attributes;
        let mut flags = 0;
        for (flag, set) in [
            (FLAG_UNSETTLED, !self.settled),
            (FLAG_ALIAS, self.alias),
            (FLAG_IMAGE, image),
            (FLAG_APART, matches!(self.content, Content::Apart { .. })),
        ] {
            flags |= if set { flag } else { 0 };
        }
        out.extend_from_slice(&[kind.code(), flags]);
        for number in [self.object.0, self.device, self.inode, self.size, self.links, rdev] {
            put_number(&mut out, number);
        }
        for number in [mode, uid, gid] {
            put_number(&mut out, u64::from(number));
        }
        put_signed(&mut out, modified.0);
        put_signed(&mut out, changed.0.wrapping_sub(modified.0));
        put_bytes(&mut out, target);
        put_number(&mut out, self.xattrs.len() as u64);
        for xattr in &self.xattrs {
            put_bytes(&mut out, &xattr.name);
            out.extend_from_slice(&xattr.digest);
        }
        match &self.content {
            Content::Inline(runs) => encode_runs(runs, &mut out),
            Content::Apart { pieces } => put_number(&mut out, u64::from(*pieces)),
        }
        seal(key, &mut out);
        out
    }

    /// Reads what [`Self::encode`] wrote under `key`.
    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Self, CodecError> {
        const WHAT: &str = "record";
        let mut fields = Fields::new(open(key, value)?);
        let kind = FileKind::from_code(fields.byte(WHAT)?).ok_or(CodecError::Value(WHAT))?;
        let flags = fields.byte(WHAT)?;
        let object = ObjectId(fields.number(WHAT)?);
        let device = fields.number(WHAT)?;
        let inode = fields.number(WHAT)?;
        let size = fields.number(WHAT)?;
        let links = fields.number(WHAT)?;
        let rdev = fields.number(WHAT)?;
        let mode = fields.number32(WHAT)?;
        let uid = fields.number32(WHAT)?;
        let gid = fields.number32(WHAT)?;
        let modified = fields.signed(WHAT)?;
        let changed = Time(modified.wrapping_add(fields.signed(WHAT)?));
        let target = take_bytes(&mut fields)?.to_vec();
        let mut xattrs = Vec::new();
        for _ in 0..fields.number(WHAT)? {
            let name = take_bytes(&mut fields)?.to_vec();
            let digest = fields.bytes(16, WHAT)?.try_into().map_err(|_| CodecError::Short(WHAT))?;
            xattrs.push(XattrDigest { name, digest });
        }
        let content = if flags & FLAG_APART == 0 {
            Content::Inline(decode_runs(&mut fields)?)
        } else {
            Content::Apart { pieces: fields.number32(WHAT)? }
        };
        fields.finish(WHAT)?;
        let image = flags & FLAG_IMAGE != 0;
        let modified = Time(modified);
        let attributes = Attributes { kind, mode, uid, gid, modified, changed, rdev, target, image };
        let (settled, alias) = (flags & FLAG_UNSETTLED == 0, flags & FLAG_ALIAS != 0);
        Ok(Self { object, device, inode, size, links, attributes, settled, alias, xattrs, content })
    }
}

/// The key of an entry: bytes whose order is that of (directory, name).
pub(crate) fn entry_key(directory: ObjectId, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + name.len());
    key.extend_from_slice(&directory.0.to_be_bytes());
    key.extend_from_slice(name);
    key
}

/// Appends runs with their count.
pub(crate) fn encode_runs(runs: &[Run], out: &mut Vec<u8>) {
    put_number(out, runs.len() as u64);
    for run in runs {
        put_number(out, (run.length << 1) | u64::from(run.name.is_some()));
        if let Some(name) = run.name {
            out.extend_from_slice(&name.0);
        }
    }
}

/// Reads what [`encode_runs`] wrote.
pub(crate) fn decode_runs(fields: &mut Fields<'_>) -> Result<Vec<Run>, CodecError> {
    const WHAT: &str = "content";
    let count = fields.number(WHAT)?;
    if count > PIECE_EXTENTS as u64 {
        return Err(CodecError::Value(WHAT));
    }
    let mut runs = Vec::new();
    for _ in 0..count {
        let head = fields.number(WHAT)?;
        let name = if head & 1 == 1 {
            let bytes = fields.bytes(Name::LENGTH, WHAT)?;
            Some(Name(bytes.try_into().map_err(|_| CodecError::Short(WHAT))?))
        } else {
            None
        };
        runs.push(Run { length: head >> 1, name });
    }
    Ok(runs)
}

/// The value of a piece of content under `key`.
pub(crate) fn encode_piece(key: &[u8], runs: &[Run]) -> Vec<u8> {
    let mut out = vec![0; CHECKSUM_LENGTH];
    encode_runs(runs, &mut out);
    seal(key, &mut out);
    out
}

/// Reads what [`encode_piece`] wrote.
pub(crate) fn decode_piece(key: &[u8], value: &[u8]) -> Result<Vec<Run>, CodecError> {
    let mut fields = Fields::new(open(key, value)?);
    let runs = decode_runs(&mut fields)?;
    fields.finish("content")?;
    Ok(runs)
}

/// Fills in the checksum in front of a value.
pub(crate) fn seal(key: &[u8], value: &mut [u8]) {
    if let Some((head, rest)) = value.split_first_chunk_mut() {
        *head = checksum(key, rest);
    }
}

/// The value behind a checksum that is right.
pub(crate) fn open<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], CodecError> {
    let (head, rest) = value.split_first_chunk().ok_or(CodecError::Short("value"))?;
    if checksum(key, rest) == *head { Ok(rest) } else { Err(CodecError::Value("checksum")) }
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let [a, b, c, d, ..] = xxh3_64_with_seed(value, xxh3_64(key)).to_le_bytes();
    [a, b, c, d]
}

/// Appends a byte string with its length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what [`put_bytes`] wrote.
pub(crate) fn take_bytes<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], CodecError> {
    let length = usize::try_from(fields.number("length")?).map_err(|_| CodecError::Value("length"))?;
    fields.bytes(length, "bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Record {
        Record {
            object: ObjectId(77),
            device: 0xfe00,
            inode: 1 << 40,
            size: 3000,
            links: 2,
            attributes: Attributes {
                uid: 1000,
                gid: u32::MAX,
                modified: Time(-5),
                changed: Time(i64::MAX),
                image: true,
                ..Attributes::new(FileKind::File, 0o4755)
            },
            settled: false,
            alias: true,
            xattrs: vec![XattrDigest { name: b"user.a".to_vec(), digest: [7; 16] }],
            content: Content::Inline(vec![
                Run { length: 2000, name: None },
                Run { length: 1000, name: Some(Name([9; 32])) },
            ]),
        }
    }

    #[test]
    fn records_survive() {
        let apart = Record { content: Content::Apart { pieces: 3 }, settled: true, ..example() };
        for record in [example(), apart] {
            let key = entry_key(ObjectId(1), b"\xff name");
            assert_eq!(Record::decode(&key, &record.encode(&key)), Ok(record));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let key = entry_key(ObjectId(1), b"name");
        let value = example().encode(&key);
        for bit in 0..value.len() * 8 {
            let mut bad = value.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&key, &bad).is_err(), "bit {bit}");
        }
        assert!(Record::decode(&entry_key(ObjectId(2), b"name"), &value).is_err(), "another key");
        for length in 0..value.len() {
            assert!(Record::decode(&key, &value[..length]).is_err(), "cut to {length}");
        }
    }
}
