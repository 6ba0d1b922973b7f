//! How much time the appliance has really witnessed, and whether its wall clock can be believed.
//!
//! *Witnessed time* is a length that is kept with the pool and grows only while the appliance runs, by the monotonic
//! clock. Floors count in it: no jump of a wall clock, no clock of an agent and no reboot ends a floor. Time in which
//! the appliance is switched off is not counted, which keeps points longer than asked for and never shorter.
//!
//! The wall clock decides only which rung a point stands on. If it moves by more than ten minutes against the
//! monotonic clock while the machine runs, or backwards at all over a reboot, expiry is frozen: nothing is folded
//! until an operator has looked at the clock and confirmed it. Deviations add up from the first observation of a
//! boot, so that many small steps freeze like a large one.
//!
//! A state machine without input or output: the shell observes, and stores the encoded form whenever it changed.

use std::time::Duration;

use model::Time;

use crate::RetentionError;
use crate::quantity::nanoseconds;

/// How far the wall clock may move against the monotonic clock within one boot.
pub const DEVIATION_MAX: Duration = Duration::from_secs(600);

/// A length of witnessed time, from the making of the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Witnessed(#[cbor(n(0), with = "nanoseconds")] pub Duration);

impl Witnessed {
    /// What was witnessed since `earlier`; nothing if that lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// After `span` more.
    #[must_use]
    pub const fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

/// One run of the machine's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct BootId(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

/// What the clocks say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Observation {
    /// The wall clock.
    #[n(0)]
    pub wall: Time,
    /// The monotonic clock, from a start that is the same for all of a boot.
    #[cbor(n(1), with = "nanoseconds")]
    pub monotonic: Duration,
    /// Which boot.
    #[n(2)]
    pub boot_id: BootId,
}

/// What the wall clock did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum ClockFault {
    /// It ran ahead of the monotonic clock.
    #[n(0)]
    Forward,
    /// It fell behind the monotonic clock.
    #[n(1)]
    Back,
    /// After a reboot it was earlier than before.
    #[n(2)]
    BackOverBoot,
}

/// Why expiry is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Freeze {
    /// What the wall clock did.
    #[n(0)]
    pub fault: ClockFault,
    /// By how much.
    #[cbor(n(1), with = "nanoseconds")]
    pub by: Duration,
    /// What it should have said, at least.
    #[n(2)]
    pub expected: Time,
    /// What it said.
    #[n(3)]
    pub found: Time,
}

/// What an observation led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The clock can be believed.
    Steady,
    /// It cannot, until an operator confirms it.
    Frozen(Freeze),
}

/// The time of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// How much has been witnessed.
    pub witnessed: Witnessed,
    /// Why nothing may be folded, if so.
    pub frozen: Option<Freeze>,
}

/// What the appliance knows about time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Witness {
    #[n(0)]
    witnessed: Witnessed,
    /// What deviations are counted from: the first observation of the boot, or the last confirmation.
    #[n(1)]
    anchor: Option<Observation>,
    #[n(2)]
    last: Option<Observation>,
    #[n(3)]
    frozen: Option<Freeze>,
}

impl Witness {
    /// Takes up after state was lost: at least as much has been witnessed as the newest point says.
    ///
    /// Without this, points that were received before the loss would seem to lie ahead, and stay too long.
    pub fn resume_at(&mut self, known: Witnessed) {
        self.witnessed = self.witnessed.max(known);
    }

    /// Looks at the clocks; a freeze stays until [`Self::confirm`].
    pub fn observe(&mut self, observation: Observation) -> Verdict {
        let Observation { wall, monotonic, boot_id } = observation;
        let mut newest = observation;
        let fault = match (self.last, self.anchor) {
            (Some(last), Some(anchor)) if last.boot_id == boot_id => {
                self.witnessed = self.witnessed.after(monotonic.saturating_sub(last.monotonic));
                // A monotonic clock that went back must not be counted twice when it comes forward again.
                newest.monotonic = monotonic.max(last.monotonic);
                deviation(&anchor, &observation)
            }
            (last, _) => {
                self.anchor = Some(observation);
                last.filter(|last| wall < last.wall).map(|last| Freeze {
                    fault: ClockFault::BackOverBoot,
                    by: Duration::from_nanos(last.wall.0.abs_diff(wall.0)),
                    expected: last.wall,
                    found: wall,
                })
            }
        };
        self.last = Some(newest);
        self.frozen = self.frozen.or(fault);
        self.frozen.map_or(Verdict::Steady, Verdict::Frozen)
    }

    /// An operator says that the wall clock is right at this moment; gives what was frozen.
    pub fn confirm(&mut self, observation: Observation) -> Option<Freeze> {
        self.observe(observation);
        self.anchor = Some(observation);
        self.frozen.take()
    }

    /// The time for a plan.
    #[must_use]
    pub const fn now(&self) -> Now {
        Now { witnessed: self.witnessed, frozen: self.frozen }
    }

    /// As the pool keeps it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        crate::error::encode(self)
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RetentionError> {
        crate::error::decode("witnessed time", bytes)
    }
}

/// What the wall clock did against the monotonic clock since `anchor`, if it is too much.
fn deviation(anchor: &Observation, found: &Observation) -> Option<Freeze> {
    let nanoseconds = |span: Duration| i128::try_from(span.as_nanos()).unwrap_or(i128::MAX);
    let ran = nanoseconds(found.monotonic).saturating_sub(nanoseconds(anchor.monotonic));
    let expected = i128::from(anchor.wall.0).saturating_add(ran);
    let ahead = i128::from(found.wall.0).saturating_sub(expected);
    let by = Duration::from_nanos(u64::try_from(ahead.unsigned_abs()).unwrap_or(u64::MAX));
    let end = if expected < 0 { i64::MIN } else { i64::MAX };
    (by > DEVIATION_MAX).then(|| Freeze {
        fault: if ahead > 0 { ClockFault::Forward } else { ClockFault::Back },
        by,
        expected: Time(i64::try_from(expected).unwrap_or(end)),
        found: found.wall,
    })
}
