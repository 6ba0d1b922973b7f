//! What the operator says and asks about the drives of the pool.
//!
//! Paths are those of the appliance. A drive is named by the beginning of its UUID, as far as it names only one.

use minicbor::{Decode, Encode};
use model::record::Label;

/// A directory or a disk that is to become a drive.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Newcomer {
    /// The directory, or the node of a whole disk.
    #[n(0)]
    pub path: String,
    /// What the operator has typed to say that this very disk is meant.
    #[n(1)]
    pub confirmation: Option<String>,
    /// Whether what is there may be lost, or shared with others.
    #[n(2)]
    pub force: bool,
}

/// What the operator wants.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DriveOrder {
    /// All drives as they are.
    #[n(0)]
    List,
    /// What would be done to make a disk a drive, and what would be lost.
    #[n(1)]
    Plan {
        /// The disk.
        #[n(0)]
        newcomer: Newcomer,
    },
    /// Takes a drive into service.
    #[n(2)]
    Add {
        /// The drive.
        #[n(0)]
        newcomer: Newcomer,
        /// How what is stored is kept, when the pool gets its second drive.
        #[n(1)]
        policy: Option<String>,
    },
    /// Moves what a drive holds to the others, then lets go of it.
    #[n(3)]
    Retire {
        /// Which one.
        #[n(0)]
        drive: String,
    },
    /// The same, with another one in its place.
    #[n(4)]
    Replace {
        /// Which one.
        #[n(0)]
        drive: String,
        /// The other one.
        #[n(1)]
        newcomer: Newcomer,
    },
    /// Takes a drive back that was out.
    #[n(5)]
    Rejoin {
        /// Where it is.
        #[n(0)]
        path: String,
    },
    /// Keeps what is stored another way.
    #[n(6)]
    SetPolicy {
        /// How.
        #[n(0)]
        policy: String,
    },
    /// Keeps what a source has another way.
    #[n(7)]
    SetPlacement {
        /// The machine.
        #[n(0)]
        machine: Label,
        /// The source.
        #[n(1)]
        source: Label,
        /// How; none if it is kept as the pool is.
        #[n(2)]
        policy: Option<String>,
    },
}

/// A source of which something is kept another way than the pool.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Placement {
    /// The machine.
    #[n(0)]
    pub machine: Label,
    /// The source.
    #[n(1)]
    pub source: Label,
    /// How it is kept.
    #[n(2)]
    pub policy: String,
}

/// The answer to a [`DriveOrder`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DriveAnswer {
    /// To `List`.
    #[n(0)]
    Drives {
        /// How what is stored is kept.
        #[n(0)]
        policy: String,
        /// The drives.
        #[n(1)]
        drives: Vec<DriveRow>,
        /// Segments with fewer copies than they should have.
        #[n(2)]
        at_risk: u64,
        /// Segments of which no copy is left, as many as fit.
        #[n(3)]
        lost: Vec<String>,
        /// How many these are.
        #[n(4)]
        lost_count: u64,
        /// Sources that are kept another way.
        #[n(5)]
        #[cbor(default)]
        placements: Vec<Placement>,
        /// It is not known yet of every segment how it is to be kept.
        #[n(6)]
        #[cbor(default)]
        is_searching: bool,
    },
    /// To `Plan`.
    #[n(1)]
    Plan {
        /// All of it, for people.
        #[n(0)]
        text: String,
        /// What is to be typed, in words.
        #[n(1)]
        what: String,
    },
    /// To what changes something: what was done, as a sentence.
    #[n(2)]
    Done {
        /// The sentence.
        #[n(0)]
        sentence: String,
    },
}

/// A drive as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct DriveRow {
    /// Its UUID, if it is known.
    #[n(0)]
    pub drive: Option<String>,
    /// Where it is, or should be.
    #[n(1)]
    pub place: Option<String>,
    /// What it is to the pool, in a word.
    #[n(2)]
    pub state: String,
    /// Why it is not in service.
    #[n(3)]
    pub reason: Option<String>,
    /// Bytes that it has.
    #[n(4)]
    pub capacity_bytes: Option<u64>,
    /// Bytes of them that are free.
    #[n(5)]
    pub free_bytes: Option<u64>,
    /// Segments with a copy on it.
    #[n(6)]
    pub segments: u64,
    /// Those of them that have fewer copies than they should.
    #[n(7)]
    pub segments_at_risk: u64,
    /// Reads that failed since it came into service.
    #[n(8)]
    pub read_errors: u64,
    /// Writes that failed.
    #[n(9)]
    pub write_errors: u64,
    /// Places that were written anew because they said something else than other copies.
    #[n(10)]
    pub mended: u64,
}
