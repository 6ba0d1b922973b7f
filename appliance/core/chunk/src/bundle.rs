//! Bundles: chunks that are compressed, sent and stored together.
//!
//! A bundle is a table of names and lengths and one body that holds the bytes of its chunks, in the order of
//! the table, compressed as a whole. It is what an agent sends and, once verified, what a data frame seals.
//! A [`Bundle`] makes no promise about its names: only a [`VerifiedBundle`](crate::VerifiedBundle) does.
//! Whoever decodes one gets an error for every table, length or codec that the format (FORMAT.md) does not
//! allow. The same name may appear twice; that wastes room and harms nobody else.

use model::Name;

use crate::{
    CHUNK_LENGTH_MAX, ChunkError, Codec, Compressor, Decompressor, Level, Naming, Packed, VerifiedBundle,
};

/// Most chunks of a bundle.
pub const BUNDLE_CHUNKS_MAX: usize = 8192;

/// Most bytes of a bundle before compression.
pub const BUNDLE_LENGTH_MAX: usize = 2 << 20;

/// Bytes of the head of a bundle in front of its table.
pub const BUNDLE_HEAD_LENGTH: usize = 16;

/// Bytes of one entry of a table.
pub const ENTRY_LENGTH: usize = 36;

const BUNDLE_VERSION: u8 = 1;
const _: () = assert!(ENTRY_LENGTH == Name::LENGTH + size_of::<u32>());
const _: () = assert!(BUNDLE_HEAD_LENGTH == 1 + 1 + 2 + 3 * size_of::<u32>());

/// One chunk of a bundle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The name that its bytes have, or are said to have.
    pub name: Name,
    /// Its bytes: 1 to [`CHUNK_LENGTH_MAX`].
    pub length: u32,
}

/// The entries of a bundle, within the limits of the format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    entries: Vec<Entry>,
    plain_length: u32,
}

impl Table {
    /// Decodes the entries of a table whose chunks have `plain_length` bytes in all.
    ///
    /// # Errors
    /// Any length, count or sum that is out of bounds.
    pub fn decode(bytes: &[u8], plain_length: u32) -> Result<Self, ChunkError> {
        let (entries, rest) = bytes.as_chunks::<ENTRY_LENGTH>();
        if !rest.is_empty() {
            let found = bytes.len() as u64;
            return Err(ChunkError::Length { what: "table", expected: found - rest.len() as u64, found });
        }
        Self::new(entries.iter().map(decode_entry).collect(), plain_length)
    }

    pub(crate) fn new(entries: Vec<Entry>, plain_length: u32) -> Result<Self, ChunkError> {
        within("chunks of a bundle", 1, BUNDLE_CHUNKS_MAX, entries.len() as u64)?;
        within("length of a bundle", 1, BUNDLE_LENGTH_MAX, u64::from(plain_length))?;
        let mut sum = 0;
        for entry in &entries {
            within("length of a chunk", 1, CHUNK_LENGTH_MAX, u64::from(entry.length))?;
            sum += u64::from(entry.length);
        }
        if sum != u64::from(plain_length) {
            return Err(ChunkError::Length { what: "bundle", expected: sum, found: u64::from(plain_length) });
        }
        Ok(Self { entries, plain_length })
    }

    /// The entries in the order of their bytes.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Bytes of all chunks together.
    #[must_use]
    pub const fn plain_length(&self) -> u32 {
        self.plain_length
    }

    /// Every entry with the place of its bytes in the plaintext.
    pub fn ranges(&self) -> impl Iterator<Item = (&Entry, std::ops::Range<usize>)> {
        self.entries.iter().scan(0, |end, entry| {
            let start = *end;
            *end += entry.length as usize;
            Some((entry, start..*end))
        })
    }

    /// Appends the encoded entries to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.entries.len() * ENTRY_LENGTH);
        for entry in &self.entries {
            out.extend_from_slice(&entry.name.0);
            out.extend_from_slice(&entry.length.to_le_bytes());
        }
    }
}

fn decode_entry(bytes: &[u8; ENTRY_LENGTH]) -> Entry {
    let (name, length) = bytes.split_first_chunk().expect("an entry is longer than a name");
    let length = length.first_chunk().expect("an entry ends with its length");
    Entry { name: Name(*name), length: u32::from_le_bytes(*length) }
}

fn within(what: &'static str, least: u64, most: usize, found: u64) -> Result<(), ChunkError> {
    let most = most as u64;
    if (least..=most).contains(&found) { Ok(()) } else { Err(ChunkError::Limit { what, least, most, found }) }
}

/// Chunks compressed together, with names that nobody has checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle {
    table: Table,
    packed: Packed,
}

impl Bundle {
    /// Puts a bundle together from a table and a stored body.
    ///
    /// # Errors
    /// [`ChunkError::Length`] or [`ChunkError::Limit`] if the body cannot hold what the table says.
    pub fn new(table: Table, packed: Packed) -> Result<Self, ChunkError> {
        packed.codec.check_lengths(u64::from(table.plain_length), packed.body.len() as u64)?;
        Ok(Self { table, packed })
    }

    /// Decodes a bundle from its head (see [`Self::encode_head`]) and its body, which is not copied.
    ///
    /// # Errors
    /// Everything that FORMAT.md does not allow.
    pub fn decode(head: &[u8], body: Vec<u8>) -> Result<Self, ChunkError> {
        let Some((fixed, table)) = head.split_first_chunk::<BUNDLE_HEAD_LENGTH>() else {
            let expected = BUNDLE_HEAD_LENGTH as u64;
            return Err(ChunkError::Length { what: "bundle head", expected, found: head.len() as u64 });
        };
        let [version, codec, reserved @ .., c0, c1, c2, c3, p0, p1, p2, p3, b0, b1, b2, b3] = *fixed;
        if version != BUNDLE_VERSION {
            return Err(ChunkError::Unknown { what: "bundle version", found: version });
        }
        if reserved != [0; 2] {
            return Err(ChunkError::NotZero { what: "reserved field of a bundle head" });
        }
        let codec = Codec::decode(codec)?;
        let count = u64::from(u32::from_le_bytes([c0, c1, c2, c3]));
        if count * ENTRY_LENGTH as u64 != table.len() as u64 {
            let expected = count * ENTRY_LENGTH as u64;
            return Err(ChunkError::Length { what: "bundle table", expected, found: table.len() as u64 });
        }
        let body_length = u64::from(u32::from_le_bytes([b0, b1, b2, b3]));
        if body_length != body.len() as u64 {
            let found = body.len() as u64;
            return Err(ChunkError::Length { what: "bundle body", expected: body_length, found });
        }
        let table = Table::decode(table, u32::from_le_bytes([p0, p1, p2, p3]))?;
        Self::new(table, Packed { codec, body })
    }

    /// The head and table as they travel in front of the body.
    #[must_use]
    pub fn encode_head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(BUNDLE_HEAD_LENGTH + self.table.entries.len() * ENTRY_LENGTH);
        head.extend_from_slice(&[BUNDLE_VERSION, self.packed.codec as u8, 0, 0]);
        for number in [self.table.entries.len(), self.table.plain_length as usize, self.packed.body.len()] {
            let number = u32::try_from(number).expect("the limits of a bundle are below 4 GiB");
            head.extend_from_slice(&number.to_le_bytes());
        }
        self.table.encode(&mut head);
        head
    }

    /// Decompresses the body and computes every name anew.
    ///
    /// # Errors
    /// The first chunk that does not have its name, or whatever is wrong with the body.
    pub fn verify(
        self,
        key: &dyn Naming,
        decompressor: &mut Decompressor,
    ) -> Result<VerifiedBundle, ChunkError> {
        let plain = self.plaintext(decompressor)?;
        for (index, (entry, range)) in self.table.ranges().enumerate() {
            let found = key.name(&plain[range]);
            if found != entry.name {
                return Err(ChunkError::NameMismatch { index, expected: entry.name, found });
            }
        }
        Ok(VerifiedBundle::trust(self))
    }

    /// The bytes of all chunks, one after the other.
    ///
    /// # Errors
    /// Whatever is wrong with the body.
    pub fn plaintext<'a>(&'a self, decompressor: &'a mut Decompressor) -> Result<&'a [u8], ChunkError> {
        decompressor.unpack(self.packed.codec, &self.packed.body, self.table.plain_length as usize)
    }

    /// Names and lengths.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// How the body is stored.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.packed.codec
    }

    /// The stored body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.packed.body
    }

    /// The stored body, for sending it without a copy; take the head first.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        self.packed.body
    }
}

/// How much a [`BundleBuilder`] takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BundleLimits {
    /// Bytes at which a bundle counts as full; at most half of [`BUNDLE_LENGTH_MAX`] is of use.
    pub plain_length: usize,
    /// Chunks at which a bundle counts as full, at most [`BUNDLE_CHUNKS_MAX`].
    pub chunks: usize,
}

impl Default for BundleLimits {
    /// 1 MiB and as many chunks as a bundle can have.
    fn default() -> Self {
        Self { plain_length: 1 << 20, chunks: BUNDLE_CHUNKS_MAX }
    }
}

/// Gathers chunks until they make a bundle; its buffer is reused for the next.
pub struct BundleBuilder {
    limits: BundleLimits,
    entries: Vec<Entry>,
    plain: Vec<u8>,
}

impl BundleBuilder {
    /// An empty builder; limits beyond those of the format are lowered to them.
    ///
    /// A chunk of any length fits as long as the builder is not full.
    #[must_use]
    pub fn new(limits: BundleLimits) -> Self {
        let limits = BundleLimits {
            plain_length: limits.plain_length.clamp(1, BUNDLE_LENGTH_MAX - CHUNK_LENGTH_MAX),
            chunks: limits.chunks.clamp(1, BUNDLE_CHUNKS_MAX),
        };
        Self { limits, entries: Vec::new(), plain: Vec::new() }
    }

    /// Appends a chunk under the name that the caller has computed.
    ///
    /// # Errors
    /// [`ChunkError::ChunkLength`], or [`ChunkError::BundleFull`] if [`Self::is_full`] was ignored.
    pub fn push(&mut self, name: Name, bytes: &[u8]) -> Result<(), ChunkError> {
        let length = match u32::try_from(bytes.len()) {
            Ok(length @ 1..) if bytes.len() <= CHUNK_LENGTH_MAX => length,
            _ => return Err(ChunkError::ChunkLength { length: bytes.len() as u64 }),
        };
        if self.is_full() {
            let (count, plain_length) = (self.entries.len(), self.plain.len());
            return Err(ChunkError::BundleFull { count, plain_length, length: bytes.len() });
        }
        self.entries.push(Entry { name, length });
        self.plain.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes a buffer over that is full of chunks, in place of pushing them one after the other; whether it did. It does not if
    /// something has been pushed, nor what could not be pushed, nor so little that the bundle would be far from full. Of
    /// `bytes` nothing is left then but room for others.
    pub fn take_over(&mut self, entries: Vec<Entry>, bytes: &mut Vec<u8>) -> bool {
        let length = |entry: &Entry| entry.length as usize;
        let fits = |entry: &Entry| (1..=CHUNK_LENGTH_MAX).contains(&length(entry));
        let before_last = bytes.len() - entries.last().map_or(0, length).min(bytes.len());
        let is_taken = self.is_empty()
            && entries.iter().all(fits)
            && entries.iter().map(length).sum::<usize>() == bytes.len()
            && entries.len() <= self.limits.chunks
            && (self.limits.plain_length / 4 * 3..).contains(&bytes.len())
            && before_last < self.limits.plain_length;
        if is_taken {
            std::mem::swap(&mut self.plain, bytes);
            self.entries = entries;
            bytes.clear();
        }
        is_taken
    }

    /// Whether it is time to finish.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.plain.len() >= self.limits.plain_length || self.entries.len() >= self.limits.chunks
    }

    /// Whether nothing has been pushed since the last finish.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Chunks pushed so far.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Bytes pushed so far.
    #[must_use]
    pub fn plaintext(&self) -> &[u8] {
        &self.plain
    }

    /// Compresses what has been pushed and starts anew.
    ///
    /// # Errors
    /// [`ChunkError::BundleEmpty`], or [`ChunkError::Compress`] if zstd fails; what was pushed stays.
    pub fn finish(&mut self, compressor: &mut Compressor, level: Level) -> Result<Bundle, ChunkError> {
        self.finish_with(|plain| compressor.pack_taken(plain, level))
    }

    pub(crate) fn finish_with(
        &mut self,
        pack: impl FnOnce(&mut Vec<u8>) -> Result<Packed, ChunkError>,
    ) -> Result<Bundle, ChunkError> {
        if self.entries.is_empty() {
            return Err(ChunkError::BundleEmpty);
        }
        let plain_length = u32::try_from(self.plain.len()).expect("the limits of a bundle are below 4 GiB");
        let packed = pack(&mut self.plain)?;
        self.plain.clear();
        Ok(Bundle { table: Table { entries: std::mem::take(&mut self.entries), plain_length }, packed })
    }
}

impl Default for BundleBuilder {
    fn default() -> Self {
        Self::new(BundleLimits::default())
    }
}
