//! What the two ends of a connection say, as CBOR with integer keys; bulk bytes travel behind the body of a frame.
//!
//! A [`Request`] with an id other than 0 is answered by exactly one [`Reply`] with the same id, in any order.
//! `Data` and `Operations` have id 0 and no answer: they cost credit, and the appliance gives credit back with
//! [`Reply::Credit`]. A field's key is its place in a CBOR array: unknown fields behind the known ones are skipped,
//! unknown variants are refused.

use minicbor::{Decode, Encode};
use model::archive::{ArchiveError, PointKey};
pub use model::record::fit_exceptions;
use model::record::{Exception, Label, Machine, Point, RestoreGrant, Source, Totals};
use model::{Name, SequenceNumber, SourceId, Time};

use crate::keeping::{Kept, Order};

/// The version of the protocol that this program speaks.
pub const VERSION: u16 = 1;
/// The name of the protocol in the TLS handshake (ALPN).
pub const ALPN: &[u8] = b"keepfast/1";
/// What an agent may send before the first credit comes back, in bytes.
pub const CREDIT_INITIAL: u64 = 16 << 20;
/// Most names in one `Have`, `Chunks` or `Places`.
pub const NAMES_MAX: usize = 4096;
/// Most operations in one message.
pub const OPERATIONS_MAX: usize = 8192;
/// Most items or changes in one reply.
pub const ITEMS_MAX: usize = 4096;
/// Most bytes of chunks in the bulk of one reply, but always at least one chunk.
pub const CHUNKS_BULK_MAX: usize = 4 << 20;

/// What a client asks or tells.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Request {
    /// Opens every connection.
    #[n(0)]
    Hello {
        /// Highest version that the client speaks.
        #[n(0)]
        version: u16,
        /// The client's program and version, for logs.
        #[n(1)]
        software: String,
    },
    /// Makes the key of this TLS connection the key of a machine. The only request of an unknown client.
    #[n(1)]
    Join {
        /// The secret of a token.
        #[cbor(n(0), with = "minicbor::bytes")]
        secret: Vec<u8>,
        /// The host name of the machine, for logs.
        #[n(1)]
        host: String,
    },
    /// Begins a backup of a source of the client's machine; the source is made if it is new.
    #[n(2)]
    Begin {
        /// Which source.
        #[n(0)]
        source: Label,
        /// The continuity token of the point that the agent's cache holds.
        #[cbor(n(1), with = "minicbor::bytes")]
        continuity: Option<Vec<u8>>,
        /// How many bytes the agent expects to read, if it knows of no point yet: a claim, not a promise.
        #[n(2)]
        size_bytes: Option<u64>,
    },
    /// Asks which chunks of the client's machine the appliance has.
    #[n(3)]
    Have {
        /// In which backup.
        #[n(0)]
        session: u64,
        /// Which chunks, at most [`NAMES_MAX`].
        #[n(1)]
        names: Vec<Name>,
    },
    /// Sends a bundle of chunks in the bulk bytes (`chunk::bundle`).
    #[n(4)]
    Data {
        /// In which backup.
        #[n(0)]
        session: u64,
        /// The number of the bundle in the session, from 1, without gaps.
        #[n(1)]
        number: u64,
    },
    /// Sends operations: in the bulk bytes, a CBOR array of `model::operation::Operation`.
    #[n(5)]
    Operations {
        /// In which backup.
        #[n(0)]
        session: u64,
        /// The sequence number of the first one.
        #[n(1)]
        first: SequenceNumber,
        /// How many there are, at most [`OPERATIONS_MAX`].
        #[n(2)]
        count: u32,
    },
    /// Makes a point of what was sent.
    #[n(6)]
    Finish {
        /// Which backup.
        #[n(0)]
        session: u64,
        /// The sequence number of the last operation.
        #[n(1)]
        last: SequenceNumber,
        /// When the agent began to read.
        #[n(2)]
        started: Time,
        /// When it was done.
        #[n(3)]
        finished: Time,
        /// Its figures.
        #[n(4)]
        totals: Totals,
        /// What is not as it should be, as far as [`fit_exceptions`] keeps it.
        #[cbor(n(5), decode_with = "crate::check::exceptions")]
        exceptions: Vec<Exception>,
        /// How many there were.
        #[n(6)]
        exceptions_count: u64,
    },
    /// Gives a backup up; chunks that are durable stay known.
    #[n(7)]
    Abort {
        /// Which backup.
        #[n(0)]
        session: u64,
    },
    /// Lists the machines that the client may read.
    #[n(16)]
    Machines,
    /// Lists their sources.
    #[n(17)]
    Sources,
    /// Lists the points of a source, oldest first, without their exceptions.
    #[n(18)]
    Points {
        /// Which source.
        #[n(0)]
        source: SourceId,
        /// The least number of a point that counts.
        #[n(1)]
        from: u64,
    },
    /// One point with its exceptions.
    #[n(19)]
    Point {
        /// Which one.
        #[n(0)]
        point: PointKey,
    },
    /// One item of a point.
    #[n(20)]
    Item {
        /// Of which point.
        #[n(0)]
        point: PointKey,
        /// Its key bytes.
        #[cbor(n(1), with = "minicbor::bytes")]
        key: Vec<u8>,
    },
    /// Items of a point in order.
    #[n(21)]
    Items {
        /// Of which point.
        #[n(0)]
        point: PointKey,
        /// First key bytes.
        #[cbor(n(1), with = "minicbor::bytes")]
        from: Vec<u8>,
        /// Key bytes to stop before.
        #[cbor(n(2), with = "minicbor::bytes")]
        to: Vec<u8>,
        /// How many at most; capped at [`ITEMS_MAX`].
        #[n(3)]
        limit: u32,
    },
    /// The last item of a point at or before a key.
    #[n(22)]
    ItemAtOrBefore {
        /// Of which point.
        #[n(0)]
        point: PointKey,
        /// First key bytes that count.
        #[cbor(n(1), with = "minicbor::bytes")]
        from: Vec<u8>,
        /// Last key bytes that count.
        #[cbor(n(2), with = "minicbor::bytes")]
        at: Vec<u8>,
    },
    /// Differences between two points of one source.
    #[n(23)]
    Changes {
        /// The first point.
        #[n(0)]
        before: PointKey,
        /// The second point.
        #[n(1)]
        after: PointKey,
        /// First key bytes.
        #[cbor(n(2), with = "minicbor::bytes")]
        from: Vec<u8>,
        /// How many at most; capped at [`ITEMS_MAX`].
        #[n(3)]
        limit: u32,
    },
    /// The plaintext of chunks.
    #[n(24)]
    Chunks {
        /// A point of the machine that owns them.
        #[n(0)]
        point: PointKey,
        /// Which, at most [`NAMES_MAX`].
        #[n(1)]
        names: Vec<Name>,
    },
    /// Where chunks lie.
    #[n(25)]
    Places {
        /// A point of the machine that owns them.
        #[n(0)]
        point: PointKey,
        /// Which, at most [`NAMES_MAX`].
        #[n(1)]
        names: Vec<Name>,
    },
    /// Makes a token with which an agent joins. Local only.
    #[n(32)]
    CreateToken {
        /// For which machine; made if it is new.
        #[n(0)]
        machine: Label,
        /// What the agent may read.
        #[n(1)]
        restore: RestoreGrant,
        /// A new machine gets chunk names of its own.
        #[n(2)]
        own_domain: bool,
        /// Where the agent will find the appliance, `HOST:PORT`; else where it listens.
        #[n(3)]
        address: Option<String>,
    },
    /// Shuts the agent of a machine out, at once. Local only.
    #[n(33)]
    Revoke {
        /// Which machine.
        #[n(0)]
        machine: Label,
    },
    /// The state of the pool. Local only.
    #[n(34)]
    Status,
    /// Reads and checks the pool, or one point. Local only.
    #[n(35)]
    Verify {
        /// Only this point.
        #[n(0)]
        point: Option<PointKey>,
    },
    /// Something about what is kept. Local only.
    #[n(36)]
    Keep {
        /// What.
        #[n(0)]
        order: Order,
    },
    /// Something about the drives. Local only.
    #[n(37)]
    Drives {
        /// What.
        #[n(0)]
        order: crate::drive::DriveOrder,
    },
}

/// What the appliance answers or tells.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Reply {
    /// To `Hello`.
    #[n(0)]
    Welcome {
        /// The version that both speak from here on.
        #[n(0)]
        version: u16,
        /// The appliance's program and version.
        #[n(1)]
        software: String,
        /// The machine of the client; none while it is unknown or local.
        #[n(2)]
        machine: Option<Label>,
        /// The key of chunk names of its dedup domain, 32 bytes.
        #[cbor(n(3), with = "minicbor::bytes")]
        naming_key: Option<Vec<u8>>,
    },
    /// To `Join`: the client speaks for this machine from its next connection on.
    #[n(1)]
    Joined {
        /// Which machine.
        #[n(0)]
        machine: Label,
    },
    /// To `Begin`.
    #[n(2)]
    Begun {
        /// The number of the backup on this connection.
        #[n(0)]
        session: u64,
        /// The last operation of the newest point, 0 without one; the next one sent is one more.
        #[n(1)]
        sequence: SequenceNumber,
        /// The token is that of the newest point: the agent's cache describes it and only differences need be sent.
        /// Otherwise the backup starts from nothing and the agent's cache is void.
        #[n(2)]
        matched: bool,
        /// The machine owns no chunk at all, so asking which it has is idle.
        #[n(3)]
        empty: bool,
    },
    /// To `Have`: one bit for each name, lowest bit of the first byte first, 1 = has it.
    #[n(3)]
    Had {
        /// The bits.
        #[cbor(n(0), with = "minicbor::bytes")]
        bits: Vec<u8>,
    },
    /// To `Finish`.
    #[n(4)]
    Finished {
        /// The new point, without its exceptions; its `continuity` is what to show next time.
        #[n(0)]
        point: Point,
    },
    /// To `Finish`: operations name chunks that the appliance does not have. The session ends; the agent starts
    /// again with a void cache.
    #[n(5)]
    Lacking {
        /// Some of them, at most [`NAMES_MAX`].
        #[n(0)]
        names: Vec<Name>,
    },
    /// To `Abort` and others that have nothing to say.
    #[n(6)]
    Done,
    /// To anything; also with id 0 when a session fails on a message without answer.
    #[n(7)]
    Failed {
        /// The session that it ends, if any.
        #[n(0)]
        session: Option<u64>,
        /// What happened.
        #[n(1)]
        error: ArchiveError,
    },
    /// Gives credit back. Id 0. With 0 bytes it only says that the appliance is alive.
    #[n(8)]
    Credit {
        /// How much, in bytes.
        #[n(0)]
        bytes: u64,
    },
    /// All bundles of a session up to this number survive a power cut. Id 0.
    #[n(9)]
    Durable {
        /// Which backup.
        #[n(0)]
        session: u64,
        /// The last such bundle.
        #[n(1)]
        number: u64,
    },
    /// To `Machines`.
    #[n(16)]
    Machines {
        /// The machines.
        #[n(0)]
        machines: Vec<Machine>,
    },
    /// To `Sources`.
    #[n(17)]
    Sources {
        /// The sources.
        #[n(0)]
        sources: Vec<Source>,
    },
    /// To `Points`.
    #[n(18)]
    Points {
        /// The points.
        #[n(0)]
        points: Vec<Point>,
        /// The source has more behind these.
        #[n(1)]
        more: bool,
        /// Those of them of which something is known to be damaged.
        #[n(2)]
        damaged: Option<Vec<DamagedPoint>>,
    },
    /// To `Point`.
    #[n(19)]
    Point {
        /// The point.
        #[n(0)]
        point: Point,
    },
    /// To `Item`, `Items` and `ItemAtOrBefore`.
    #[n(20)]
    Items {
        /// Keys and values, encoded as `model::item` says.
        #[n(0)]
        items: Vec<StoredItem>,
        /// The reply is full: what was asked for may go on behind these.
        #[n(1)]
        more: bool,
    },
    /// To `Changes`.
    #[n(21)]
    Changes {
        /// The differences.
        #[n(0)]
        changes: Vec<StoredChange>,
        /// The reply is full: what was asked for may go on behind these.
        #[n(1)]
        more: bool,
    },
    /// To `Chunks`: what fits [`CHUNKS_BULK_MAX`], in the order asked; bytes of those that are there lie behind each
    /// other in the bulk. Fewer results than names asked means: ask again for the rest.
    #[n(22)]
    Chunks {
        /// One for each chunk.
        #[n(0)]
        results: Vec<ChunkResult>,
    },
    /// To `Places`.
    #[n(23)]
    Places {
        /// One for each chunk; chunks that are unknown get the largest number.
        #[n(0)]
        places: Vec<u64>,
    },
    /// To `CreateToken`.
    #[n(32)]
    Token {
        /// What the operator gives to the agent.
        #[n(0)]
        text: String,
        /// When it ends.
        #[n(1)]
        expires: Time,
    },
    /// To `Status`.
    #[n(33)]
    Status {
        /// The state.
        #[n(0)]
        status: PoolStatus,
    },
    /// To `Verify`.
    #[n(34)]
    Verified {
        /// What was found.
        #[n(0)]
        report: VerifyReport,
    },
    /// To `Keep`.
    #[n(35)]
    Kept {
        /// What came of it.
        #[n(0)]
        answer: Kept,
    },
    /// To `Drives`.
    #[n(36)]
    Drives {
        /// What came of it.
        #[n(0)]
        answer: crate::drive::DriveAnswer,
    },
}

/// An item as bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StoredItem {
    /// Key bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// Value bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// A difference as bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StoredChange {
    /// Key bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// Value bytes in the first point.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub before: Option<Vec<u8>>,
    /// Value bytes in the second point.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub after: Option<Vec<u8>>,
}

/// Whether a chunk could be read.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ChunkResult {
    /// It is in the bulk.
    #[n(0)]
    Bytes {
        /// Its length.
        #[n(0)]
        length: u32,
    },
    /// It is not.
    #[n(1)]
    Failed {
        /// Why.
        #[n(0)]
        error: ArchiveError,
    },
}

/// A point of which something is known to be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DamagedPoint {
    /// Its number among the points of its source.
    #[n(0)]
    pub number: u64,
    /// How much is damaged.
    #[n(1)]
    pub count: u64,
}

/// The state of a pool in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PoolStatus {
    /// Its identity, as 32 hexadecimal digits.
    #[n(0)]
    pub pool: String,
    /// The number of the last commit.
    #[n(1)]
    pub commit: u64,
    /// Machines.
    #[n(2)]
    pub machines: u64,
    /// Sources.
    #[n(3)]
    pub sources: u64,
    /// Points.
    #[n(4)]
    pub points: u64,
    /// Chunks.
    #[n(5)]
    pub chunks: u64,
    /// Bytes of all chunks, before compression.
    #[n(6)]
    pub chunk_bytes: u64,
    /// Segments.
    #[n(7)]
    pub segments: u64,
    /// Bytes of all segments.
    #[n(8)]
    pub segment_bytes: u64,
    /// Bytes that the drive can hold.
    #[n(9)]
    pub capacity_bytes: u64,
    /// Bytes that are free on the drive.
    #[n(10)]
    pub available_bytes: u64,
    /// What is wrong, in words; empty when all is well.
    #[n(11)]
    pub damage: Vec<String>,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct VerifyReport {
    /// Frames that were read and opened.
    #[n(0)]
    pub frames: u64,
    /// Chunks whose names were recomputed.
    #[n(1)]
    pub chunks: u64,
    /// Points whose trees were walked.
    #[n(2)]
    pub points: u64,
    /// Bytes that were read from the drive.
    #[n(3)]
    pub bytes: u64,
    /// What is damaged: machine, source, point, path and cause, in words; at most 10,000 lines.
    #[n(4)]
    pub damage: Vec<String>,
    /// How much damage there was.
    #[n(5)]
    pub damage_count: u64,
}
