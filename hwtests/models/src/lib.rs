//! The protocol of commit, fold, count, reclaim, scrub, readers and leases in executable form, small enough that
//! shuttle can try very many interleavings of it. `PROTOCOL.md` states it in words; the tests of this crate are the
//! models: a few actors each, over one small pool.
//!
//! A closure that [`Actor::step`] runs is one critical section under the lock of the pool: nothing comes between its
//! lines, anything may come between two of them. A file is read in a step of its own, because the real pool reads
//! without the lock. [`Guards`] name what makes the protocol safe; a model with all of them holds on every schedule,
//! and for each there is a test in which shuttle finds what goes wrong without it.
//!
//! What is left out: bytes, keys and frames; full drives; more than one drive; how the pool's records outlive the
//! segments that they lie in.

mod catalog;
mod check;
mod drive;
mod guards;
mod ledger;
mod opening;
mod pool;
mod reader;
mod reclaim;
mod scrub;
mod session;
mod verdict;

pub use catalog::Catalog;
pub use check::{breaks, holds, holds_with};
pub use drive::{Drive, Name, Outcome, Place, PointId, Record, SegmentNumber};
pub use guards::Guards;
pub use ledger::{Event, Ledger};
pub use opening::Loss;
pub use pool::{Actor, Model, Pool, State, Stopped};
pub use reclaim::Reclaimed;
pub use session::{Session, SessionId};
