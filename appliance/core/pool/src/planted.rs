//! Faults on purpose, to prove that the simulator finds them. Without the feature `planted-bugs` there are none.

#[cfg(feature = "planted-bugs")]
use {
    crate::PoolError,
    crate::layout::{SEGMENT_HEADER_LENGTH, SegmentKind, segment_path},
    crate::scan::Scan,
    crate::segment::{Footer, OpenSegment},
    crate::state::Shared,
    crate::survey::segments,
    chunk::{FRAME_ALIGNMENT, FrameNumber, NonceAudit},
    medium::Access,
    model::SegmentNumber,
    std::sync::Arc,
};

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Data is not synced before the mark.
    SkipFileSync,
    /// Names of new segments are not synced.
    SkipDirectorySync,
    /// The commit is acknowledged before its mark is synced.
    AcknowledgeEarly,
    /// After a failed sync the commit is tried again and believed.
    RetrySync,
    /// The segments that were open when the pool was closed or the power went are appended to.
    AppendAfterCrash,
    /// Room is given back although it is promised to backups that are under way.
    IgnoreSessions,
    /// What a backup has stored is not promised to it.
    StoredUnpromised,
    /// Room is given back before new points are counted.
    ReclaimUncounted,
    /// Points that somebody reads are counted out.
    IgnoreLeases,
    /// A file is removed before the record that removes its segment is durable.
    RemoveBeforeCommit,
    /// What is needed of a segment goes with it.
    MoveNothing,
    /// Pages of the log that something refers to go with their segment.
    RestateNothing,
    /// Indexes and records of the log go with their segment although they count.
    ForgetLog,
    /// A point that leaves takes the references with it that its neighbours share.
    MiscountLeaving,
    /// Who gets something that is there already does not take part in how it is kept.
    IgnoreDemands,
    /// References are stored without how far they were counted.
    ForgetProgress,
    /// What a segment held stays listed although the segment is gone.
    ForgetSweep,
    /// Chunks that went with a segment stay known.
    GoneStaysKnown,
    /// The scrub looks at all of a file, not at what commits have made valid.
    CheckBeyondMark,
}

/// Which fault is switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    #[cfg(feature = "planted-bugs")]
    bug: Option<Bug>,
}

impl Planted {
    /// With one fault.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub const fn new(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether a fault is switched on.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether a fault is switched on: never.
    #[cfg(not(feature = "planted-bugs"))]
    #[must_use]
    pub const fn has(self, _: Bug) -> bool {
        false
    }
}

/// The bytes of a segment, up to its footer if it has one.
#[cfg(feature = "planted-bugs")]
pub(crate) fn length_of(shared: &Shared, number: SegmentNumber) -> Result<u64, PoolError> {
    let file = shared.world.disk.open(&segment_path(number), Access::Read)?;
    let footer = Footer::read(&*file)?.map_or(0, |footer| Footer::length(footer.entries.len() as u64));
    Ok(file.length()? - footer)
}

/// Opens the last segment of a kind for appending behind all that it holds, unless it is sealed.
#[cfg(feature = "planted-bugs")]
pub(crate) fn resume(
    shared: &Shared,
    kind: SegmentKind,
    audit: Option<&Arc<dyn NonceAudit>>,
) -> Result<Option<OpenSegment>, PoolError> {
    let disk = &*shared.world.disk;
    let readable = |number| shared.frames.segment(number).ok().filter(|segment| segment.header.kind == kind);
    let Some(segment) = segments(disk)?.into_iter().rev().find_map(readable) else { return Ok(None) };
    if Footer::read(&*segment.file)?.is_some() {
        return Ok(None);
    }
    let length = segment.file.length()?;
    let mut next = FrameNumber(0);
    let mut scan = Scan::new(&*segment.file, SEGMENT_HEADER_LENGTH as u64, length);
    while let Some((_, header)) = scan.next()? {
        next = FrameNumber(header.number().0 + 1);
    }
    let header = &segment.header;
    let identity = chunk::SegmentIdentity { pool: header.pool, segment: header.number };
    let sealer = chunk::planted::resume(shared.keys.segment_master(), &header.salt, identity, next);
    let sealer = match audit {
        Some(audit) => sealer.audited(Arc::clone(audit)),
        None => sealer,
    };
    let file = disk.open(&segment_path(header.number), Access::ReadWrite)?;
    let length = length.next_multiple_of(FRAME_ALIGNMENT as u64);
    Ok(Some(OpenSegment::resume(header, file, sealer, length)))
}
