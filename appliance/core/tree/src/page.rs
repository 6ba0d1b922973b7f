//! One page as bytes: the header, and where its entries lie. The table of fields is in FORMAT.md.
//!
//! Parsing looks at the header only; every entry is checked when it is read, so that a lookup costs what it
//! touches. Nothing is copied: a page holds the shared bytes.

use std::sync::Arc;

use model::Name;
use model::codec::{CodecError, Fields};

use crate::error::{Damage, Error};
use crate::limits::{HEIGHT_MAX, KEY_LENGTH_MAX, PAGE_LENGTH_MAX, VALUE_LENGTH_MAX};
use crate::source::PageSource;

/// The first bytes of every page.
pub(crate) const MAGIC: [u8; 2] = *b"KP";
/// The version of the format that is written.
pub(crate) const VERSION: u8 = 1;
/// Bytes before the first entry: magic, version, level, number of entries.
pub(crate) const HEADER_LENGTH: usize = 8;
/// Every so many entries the whole key is stored, and its offset stands in the table of restart points.
pub(crate) const RESTART_INTERVAL: usize = 16;
/// Bytes of an offset in the table of restart points.
pub(crate) const RESTART_LENGTH: usize = 4;

/// A page whose header is sound.
#[derive(Clone)]
pub(crate) struct Page {
    name: Name,
    bytes: Arc<[u8]>,
    level: u8,
    count: usize,
    /// Where the entries end and the table of restart points starts.
    entries_end: usize,
}

/// Where the parts of an entry lie in its page.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// Bytes that the key has in common with the one before it.
    pub(crate) shared: usize,
    /// Where the rest of the key starts.
    pub(crate) suffix: usize,
    /// Where the rest of the key ends, and the value or child starts.
    pub(crate) payload: usize,
    /// Where the payload ends, and the next entry starts.
    pub(crate) end: usize,
}

impl Page {
    /// Reads a page from `source` and checks that it stands at `level`.
    pub(crate) fn read<S: PageSource + ?Sized>(source: &S, name: Name, level: u8) -> Result<Self, Error> {
        let bytes = source.read(&name).map_err(|error| Error::Read {
            name,
            kind: S::kind(&error),
            source: Box::new(error),
        })?;
        let page = Self::parse(name, bytes)?;
        if page.level == level {
            Ok(page)
        } else {
            Err(page.damaged(Damage::Level { expected: level, found: page.level }))
        }
    }

    /// Checks the header of `bytes`.
    pub(crate) fn parse(name: Name, bytes: Arc<[u8]>) -> Result<Self, Error> {
        match header(&bytes) {
            Ok((level, count, entries_end)) => Ok(Self { name, bytes, level, count, entries_end }),
            Err(damage) => Err(Error::Page { name, damage }),
        }
    }

    pub(crate) const fn name(&self) -> Name {
        self.name
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) const fn level(&self) -> u8 {
        self.level
    }

    /// Number of entries; at least one.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    pub(crate) const fn entries_end(&self) -> usize {
        self.entries_end
    }

    /// The error that says what is wrong with this page.
    pub(crate) const fn damaged(&self, damage: Damage) -> Error {
        Error::Page { name: self.name, damage }
    }

    /// The bytes of a part of an entry of this page.
    pub(crate) fn part(&self, from: usize, to: usize) -> &[u8] {
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// The entry that starts at `offset`.
    pub(crate) fn entry(&self, offset: usize) -> Result<Entry, Damage> {
        const WHAT: &str = "entry";
        let rest = self.bytes.get(offset..self.entries_end).ok_or(CodecError::Short(WHAT))?;
        let (lengths, suffix) = match *rest {
            // Nearly always each length is below 128, and so a byte.
            [a, b, c, ..] if (a | b | c) < 0x80 => ([a, b, c].map(usize::from), offset + 3),
            _ => {
                let mut fields = Fields::new(rest);
                let mut length = || fields.number32(WHAT).map(|length| length as usize);
                let lengths = [length()?, length()?, length()?];
                (lengths, self.entries_end - fields.rest().len())
            }
        };
        let [shared, suffix_length, payload_length] = lengths;
        if shared.saturating_add(suffix_length) > KEY_LENGTH_MAX || payload_length > VALUE_LENGTH_MAX {
            return Err(Damage::Length);
        }
        let payload = suffix + suffix_length;
        let end = payload + payload_length;
        if end > self.entries_end {
            return Err(CodecError::Short(WHAT).into());
        }
        Ok(Entry { shared, suffix, payload, end })
    }

    /// Where restart point `index` stands; the first is the first entry.
    pub(crate) fn restart(&self, index: usize) -> Result<usize, Damage> {
        let at = self.entries_end + index * RESTART_LENGTH;
        let bytes = self.bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Damage::Restart)?;
        Ok(u32::from_le_bytes(*bytes) as usize)
    }

    /// The whole key at restart point `index`.
    pub(crate) fn restart_key(&self, index: usize) -> Result<&[u8], Damage> {
        let entry = self.entry(self.restart(index)?)?;
        if entry.shared == 0 { Ok(self.part(entry.suffix, entry.payload)) } else { Err(Damage::Restart) }
    }
}

/// Level, number of entries and their end.
fn header(bytes: &[u8]) -> Result<(u8, usize, usize), Damage> {
    const WHAT: &str = "header of a page";
    if bytes.len() > PAGE_LENGTH_MAX {
        return Err(Damage::Length);
    }
    let mut fields = Fields::new(bytes);
    if fields.bytes(MAGIC.len(), WHAT)? != MAGIC {
        return Err(CodecError::Value("magic of a page").into());
    }
    let version = fields.byte(WHAT)?;
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let level = fields.byte(WHAT)?;
    if level >= HEIGHT_MAX {
        return Err(CodecError::Value("level of a page").into());
    }
    let count = fields.bytes(4, WHAT)?.try_into().map_err(|_| CodecError::Short(WHAT))?;
    let count = u32::from_le_bytes(count) as usize;
    let table_length = count.div_ceil(RESTART_INTERVAL) * RESTART_LENGTH;
    match bytes.len().checked_sub(table_length) {
        Some(end) if count > 0 && end >= HEADER_LENGTH => Ok((level, count, end)),
        _ => Err(CodecError::Value("number of entries of a page").into()),
    }
}
