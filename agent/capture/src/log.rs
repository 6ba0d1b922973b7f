//! The log of a backup under way: what the cache is to hold when the point is made.
//!
//! It lies beside the cache and is appended to in the order of the walk. Finished, it becomes the next state of the
//! cache; broken off, it says which files need not be read again, as far as the appliance has called their
//! chunks durable. It is synced never: a block that the machine lost has a wrong checksum and ends the log.
//!
//! | part of a block | bytes |
//! |---|---|
//! | length of the payload | 4 |
//! | xxh3 of bundle number and payload | 8 |
//! | last bundle that the payload needs; with an empty payload: the last durable bundle | 8 |
//! | payload: updates, or in the first block the continuity token of the base | |

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use model::ObjectId;
use model::codec::{CodecError, Fields, put_number};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::CacheError;
use crate::record::{entry_key, put_bytes, take_bytes};

const MAGIC: &[u8] = b"keepfast backup log 1\n";
/// Longest payload that a reader takes: far more than a part of a backup can hold.
const PAYLOAD_LENGTH_MAX: u32 = 256 << 20;
const HEAD_LENGTH: usize = 20;

/// One change of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Update<'a> {
    /// An entry has this value.
    Put {
        /// Its key: directory and name.
        key: &'a [u8],
        /// The encoded record.
        value: &'a [u8],
    },
    /// There is no such entry.
    Delete {
        /// Its key.
        key: &'a [u8],
    },
    /// A piece of the content of a file; it comes before the entry.
    Piece {
        /// The object.
        object: ObjectId,
        /// The device and inode that it was read from.
        place: (u64, u64),
        /// Which piece.
        number: u32,
        /// The encoded runs.
        runs: &'a [u8],
    },
    /// Everything below a directory is gone.
    DeleteTree {
        /// The directory.
        object: ObjectId,
    },
}

/// Updates as bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Updates(pub(crate) Vec<u8>);

impl Updates {
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.push(0);
        put_bytes(&mut self.0, key);
        put_bytes(&mut self.0, value);
    }

    pub(crate) fn delete(&mut self, directory: ObjectId, name: &[u8]) {
        self.0.push(1);
        put_bytes(&mut self.0, &entry_key(directory, name));
    }

    pub(crate) fn piece(&mut self, object: ObjectId, place: (u64, u64), number: u32, runs: &[u8]) {
        self.0.push(2);
        for field in [object.0, place.0, place.1, u64::from(number)] {
            put_number(&mut self.0, field);
        }
        put_bytes(&mut self.0, runs);
    }

    pub(crate) fn delete_tree(&mut self, object: ObjectId) {
        self.0.push(3);
        put_number(&mut self.0, object.0);
    }
}

impl<'a> Update<'a> {
    /// Reads updates from the front of `bytes` until none is left.
    pub(crate) fn each(
        bytes: &'a [u8],
        visit: &mut dyn FnMut(Self) -> Result<(), CacheError>,
    ) -> Result<(), CacheError> {
        const WHAT: &str = "update";
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut fields = Fields::new(rest);
            let update = match fields.byte(WHAT)? {
                0 => Self::Put { key: take_bytes(&mut fields)?, value: take_bytes(&mut fields)? },
                1 => Self::Delete { key: take_bytes(&mut fields)? },
                2 => Self::Piece {
                    object: ObjectId(fields.number(WHAT)?),
                    place: (fields.number(WHAT)?, fields.number(WHAT)?),
                    number: fields.number32(WHAT)?,
                    runs: take_bytes(&mut fields)?,
                },
                3 => Self::DeleteTree { object: ObjectId(fields.number(WHAT)?) },
                _ => return Err(CodecError::Value(WHAT).into()),
            };
            visit(update)?;
            rest = fields.rest();
        }
        Ok(())
    }
}

/// A block of a log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The last bundle that it needs, or with an empty payload the last durable bundle.
    pub(crate) bundle: u64,
    /// Updates.
    pub(crate) payload: Vec<u8>,
}

/// Writes a log; its file is made with the first block.
pub(crate) struct LogWriter {
    path: PathBuf,
    base: Vec<u8>,
    file: Option<BufWriter<File>>,
}

impl LogWriter {
    /// A log at `path` of a backup that begins from the point with token `base`.
    pub(crate) fn new(path: PathBuf, base: Option<&[u8]>) -> Self {
        Self { path, base: encode_base(base), file: None }
    }

    /// Appends updates that need the bundles up to `bundle`.
    pub(crate) fn append(&mut self, bundle: u64, updates: &Updates) -> Result<(), CacheError> {
        if updates.0.is_empty() { Ok(()) } else { self.write(bundle, &updates.0) }
    }

    /// Notes that the bundles up to `bundle` are durable, and hands everything to the kernel.
    pub(crate) fn note_durable(&mut self, bundle: u64) -> Result<(), CacheError> {
        self.write(bundle, &[])?;
        self.flush()
    }

    /// Hands everything to the kernel.
    pub(crate) fn flush(&mut self) -> Result<(), CacheError> {
        self.file.as_mut().map_or(Ok(()), |file| Ok(file.flush()?))
    }

    /// Whether anything was appended.
    pub(crate) const fn is_empty(&self) -> bool {
        self.file.is_none()
    }

    fn write(&mut self, bundle: u64, payload: &[u8]) -> Result<(), CacheError> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let mut file = BufWriter::with_capacity(1 << 18, File::create(&self.path)?);
                write_block(&mut file, 0, &self.base)?;
                self.file.insert(file)
            }
        };
        write_block(file, bundle, payload)
    }
}

fn encode_base(base: Option<&[u8]>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    if let Some(base) = base {
        out.push(1);
        out.extend_from_slice(base);
    }
    out
}

fn write_block(file: &mut BufWriter<File>, bundle: u64, payload: &[u8]) -> Result<(), CacheError> {
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|length| *length <= PAYLOAD_LENGTH_MAX)
        .ok_or(CacheError::Damaged("length of a block"))?;
    file.write_all(&length.to_le_bytes())?;
    file.write_all(&xxh3_64_with_seed(payload, bundle).to_le_bytes())?;
    file.write_all(&bundle.to_le_bytes())?;
    file.write_all(payload)?;
    Ok(())
}

/// Reads a log up to its first block that is not whole.
pub(crate) struct LogReader {
    file: BufReader<File>,
}

impl LogReader {
    /// Opens the log at `path`; none if there is none, or it does not continue from `base`.
    pub(crate) fn open(path: &Path, base: Option<&[u8]>) -> Result<Option<Self>, CacheError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut reader = Self { file: BufReader::with_capacity(1 << 18, file) };
        let first = reader.next()?;
        Ok(first.is_some_and(|block| block.payload == encode_base(base)).then_some(reader))
    }

    /// The next block; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Block>, CacheError> {
        let mut head = [0; HEAD_LENGTH];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        let [l0, l1, l2, l3, x0, x1, x2, x3, x4, x5, x6, x7, bundle @ ..] = head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let bundle = u64::from_le_bytes(bundle);
        if length > PAYLOAD_LENGTH_MAX {
            return Ok(None);
        }
        // The length is not trusted with memory before that many bytes have come.
        let mut payload = Vec::new();
        (&mut self.file).take(u64::from(length)).read_to_end(&mut payload)?;
        let checksum = u64::from_le_bytes([x0, x1, x2, x3, x4, x5, x6, x7]);
        let whole = payload.len() == length as usize && xxh3_64_with_seed(&payload, bundle) == checksum;
        Ok(whole.then_some(Block { bundle, payload }))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<bool, CacheError> {
        match self.file.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updates(name: &[u8]) -> Updates {
        let mut updates = Updates::default();
        updates.put(name, b"value");
        updates.delete(ObjectId(3), b"gone");
        updates.piece(ObjectId(4), (5, 6), 7, b"runs");
        updates.delete_tree(ObjectId(8));
        updates
    }

    fn blocks(path: &Path, base: Option<&[u8]>) -> Vec<Block> {
        let mut reader = LogReader::open(path, base).unwrap().unwrap();
        std::iter::from_fn(|| reader.next().unwrap()).collect()
    }

    #[test]
    fn a_log_reads_back_as_far_as_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut writer = LogWriter::new(path.clone(), Some(b"token"));
        assert!(writer.is_empty() && !path.exists());
        writer.append(1, &updates(b"a")).unwrap();
        writer.append(2, &updates(b"b")).unwrap();
        writer.note_durable(1).unwrap();
        let whole = blocks(&path, Some(b"token"));
        let expected = [(1, updates(b"a").0), (2, updates(b"b").0), (1, Vec::new())];
        assert_eq!(whole, expected.map(|(bundle, payload)| Block { bundle, payload }));
        assert!(LogReader::open(&path, Some(b"other")).unwrap().is_none());
        assert!(LogReader::open(&path, None).unwrap().is_none());

        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            if let Some(mut reader) = LogReader::open(&path, Some(b"token")).unwrap() {
                let mut found = Vec::new();
                while let Some(block) = reader.next().unwrap() {
                    found.push(block);
                }
                assert_eq!(found, whole[..found.len()], "cut to {length}");
            }
        }
    }

    #[test]
    fn updates_read_back_in_order() {
        let updates = updates(b"a");
        let mut found = Vec::new();
        Update::each(&updates.0, &mut |update| {
            found.push(format!("{update:?}"));
            Ok(())
        })
        .unwrap();
        assert_eq!(found.len(), 4);
        assert!(found[2].contains("number: 7"), "{found:?}");
        for length in 1..updates.0.len() {
            let mut count = 0;
            let result = Update::each(&updates.0[..length], &mut |_| {
                count += 1;
                Ok(())
            });
            assert!(result.is_err() || count < 4, "cut to {length}");
        }
    }
}
