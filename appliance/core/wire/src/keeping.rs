//! What the operator says and asks about what is kept: policies, holds, plans, and whether the books are right.
//!
//! Policies and bounds travel in the text form in which they are written on a command line; the appliance parses them.

use minicbor::{Decode, Encode};
use model::Time;
use model::archive::PointKey;
use model::record::Label;

/// What the operator wants.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Order {
    /// What would go, what stays, and why.
    #[n(0)]
    Plan {
        /// As if this were what is kept of a source.
        #[n(0)]
        trial: Option<TrialPolicy>,
    },
    /// The bounds of the pool and the policy of every source.
    #[n(1)]
    Policies,
    /// Bounds the pool.
    #[n(2)]
    SetBounds {
        /// The bounds, or nothing for the default.
        #[n(0)]
        text: Option<String>,
    },
    /// Says what is kept of a source.
    #[n(3)]
    SetPolicy {
        /// The machine.
        #[n(0)]
        machine: Label,
        /// The source.
        #[n(1)]
        source: Label,
        /// The policy, or nothing for the default.
        #[n(2)]
        text: Option<String>,
    },
    /// Keeps a point whatever policies say, or ends that.
    #[n(4)]
    Hold {
        /// Which point.
        #[n(0)]
        point: PointKey,
        /// Why.
        #[n(1)]
        hold: Hold,
        /// Whether it holds from here on, or ends.
        #[n(2)]
        is_on: bool,
    },
    /// The clock of the appliance is right.
    #[n(5)]
    ConfirmClock,
    /// Counts everything anew.
    #[n(6)]
    Audit,
    /// How long it lasts.
    #[n(7)]
    Forecast {
        /// A source that might be admitted besides.
        #[n(0)]
        admit: Option<Admit>,
    },
}

/// A source that might be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Admit {
    /// What its first point takes.
    #[n(0)]
    pub size_bytes: u64,
    /// What it brings each day; else as much for its size as others.
    #[n(1)]
    pub new_bytes: Option<u64>,
}

/// Why a point is kept whatever policies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Hold {
    /// The operator wants it.
    #[n(0)]
    Pin,
    /// For reasons of law.
    #[n(1)]
    Legal,
}

/// The answer to an [`Order`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Kept {
    /// To `Plan`.
    #[n(0)]
    Plan {
        /// All of it in sentences.
        #[n(0)]
        lines: Vec<String>,
        /// What goes, in this order; as much of it as fits.
        #[n(1)]
        folds: Vec<PlannedFold>,
        /// How much goes.
        #[n(2)]
        folds_count: u64,
    },
    /// To `Policies`.
    #[n(1)]
    Policies {
        /// The bounds of the pool.
        #[n(0)]
        bounds: String,
        /// The sources, by machine and name.
        #[n(1)]
        sources: Vec<SourcePolicy>,
    },
    /// To what only changes something.
    #[n(2)]
    Done,
    /// To `Audit`.
    #[n(3)]
    Audit {
        /// What was found.
        #[n(0)]
        report: AuditReport,
    },
    /// To `Forecast`.
    #[n(4)]
    Forecast {
        /// All of it in sentences.
        #[n(0)]
        lines: Vec<String>,
        /// The same in figures.
        #[n(1)]
        foretold: Foretold,
    },
}

/// How long it lasts, in figures.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Foretold {
    /// The sources.
    #[n(0)]
    pub sources: Vec<SourceForecast>,
    /// When points go for room for the first time, if they do within `days`.
    #[n(1)]
    pub full: Option<Time>,
    /// The same if everything changes as much as it may.
    #[n(2)]
    pub full_earliest: Option<Time>,
    /// The same if everything changes as little as it may.
    #[n(3)]
    pub full_latest: Option<Time>,
    /// How many days were looked ahead.
    #[n(4)]
    pub days: u32,
    /// What admitting another source means.
    #[n(5)]
    pub admission: Option<AdmissionFigures>,
    /// The drives in service, if anything can be told yet.
    #[n(6)]
    pub drives: Vec<DriveForecast>,
}

/// When a drive is full.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DriveForecast {
    /// Its UUID; none if the pool lies in one folder.
    #[n(0)]
    pub drive: Option<String>,
    /// Where it is.
    #[n(1)]
    pub place: Option<String>,
    /// When it is full, if that is within the days looked ahead.
    #[n(2)]
    pub full: Option<Time>,
}

/// How far back the points of a source will reach, and what was measured of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SourceForecast {
    /// The machine.
    #[n(0)]
    pub machine: Label,
    /// The source.
    #[n(1)]
    pub source: Label,
    /// Points that it will have.
    #[n(2)]
    pub points: u64,
    /// Bytes that they will take.
    #[n(3)]
    pub used_bytes: u64,
    /// How far back the oldest will be.
    #[n(4)]
    pub oldest_seconds: u64,
    /// How far back there will be one for every day.
    #[n(5)]
    pub daily_seconds: u64,
    /// What it brings each day, if that was measured.
    #[n(6)]
    pub new_bytes_per_day: Option<u64>,
    /// Over how long that was measured.
    #[n(7)]
    pub measured_seconds: u64,
    /// Over how many points.
    #[n(8)]
    pub measured_points: u64,
    /// How far it may be off, in thousandths.
    #[n(9)]
    pub margin: Option<u16>,
    /// If nothing can be told yet: after how long it can.
    #[n(10)]
    pub known_in_seconds: Option<u64>,
}

/// What admitting a source means, in figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AdmissionFigures {
    /// Whether its floor has room.
    #[n(0)]
    pub fits: bool,
    /// What its floor takes.
    #[n(1)]
    pub floor_bytes: u64,
    /// What all others take if everything goes that may go.
    #[n(2)]
    pub others_bytes: u64,
    /// What there may be.
    #[n(3)]
    pub room_bytes: u64,
    /// What is lacking.
    #[n(4)]
    pub lacking_bytes: u64,
}

/// A point that goes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PlannedFold {
    /// Which one.
    #[n(0)]
    pub point: PointKey,
    /// Why, in a word: counts, quota, points or pressure.
    #[n(1)]
    pub reason: String,
}

/// What might be kept of a source.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TrialPolicy {
    /// The machine.
    #[n(0)]
    pub machine: Label,
    /// The source.
    #[n(1)]
    pub source: Label,
    /// The policy, or nothing for the default.
    #[n(2)]
    pub text: Option<String>,
}

/// What is kept of a source.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SourcePolicy {
    /// The machine.
    #[n(0)]
    pub machine: Label,
    /// The source.
    #[n(1)]
    pub source: Label,
    /// Its policy.
    #[n(2)]
    pub policy: String,
    /// Nobody has said it: it is the default.
    #[n(3)]
    pub is_default: bool,
}

/// What a recount found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct AuditReport {
    /// Points that were counted.
    #[n(0)]
    pub points: u64,
    /// Chunks that were compared.
    #[n(1)]
    pub chunks: u64,
    /// Pages that were compared.
    #[n(2)]
    pub pages: u64,
    /// Segments whose figures were compared.
    #[n(3)]
    pub segments: u64,
    /// Where the catalog says something else, in words.
    #[n(4)]
    pub wrong: Vec<String>,
    /// How often it does.
    #[n(5)]
    pub wrong_count: u64,
}
