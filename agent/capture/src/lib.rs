//! Scanning a machine: what changed since the last point becomes operations and chunks.
//!
//! [`backup`] walks the protected paths, compares them with the [`Cache`] of what the last point holds, reads what
//! changed, and sends it to an [`Appliance`]. The point that comes of it holds every file as it was when it was
//! read; what could not be read, or changed meanwhile, is listed as an exception and never ends the backup.
//!
//! Order: data before the operations that name it, operations before the point, the point before the cache. So a
//! break at any moment leaves a point that is whole, and a cache that is true or void.
//!
//! It tolerates trees that change while they are walked, names that are not text, any depth, and the loss of its
//! cache. It takes no snapshot: files that belong together may be of different moments. What a program writes
//! through a mapping that it keeps open is noticed only when the kernel moves the file's times.

mod error;

mod appliance;
mod progress;
mod source;

mod filter;
mod list;
mod mounts;
mod open;
mod stat;
mod xattr;

mod cache;
mod log;
mod record;

mod task;
mod window;

mod pipeline;
mod read;
mod seen;
mod send;
mod size;
mod walk;

mod backup;

pub use appliance::{Appliance, Begun, Ending, Finish, HAVE_MAX, OPERATIONS_MAX};
pub use backup::{Outcome, backup};
pub use cache::Cache;
pub use error::{BackupError, CacheError};
pub use progress::{Progress, Silent, Task};
pub use source::{Limits, SourceConfig};
