//! What the programs share at the command line: how they list, restore, hear signals, and end.
//!
//! On a terminal there are titles, columns that stand in line and bars that move; what goes into a pipe or a file
//! has one record in a line, with tabs between its fields, and is stable. Names are escaped in both: bytes of a
//! stranger never reach a terminal.

mod ending;
mod listing;
mod logging;
mod parsing;
mod restoring;
mod signals;

/// Bytes as people write them: `19.70 MiB`.
pub use indicatif::HumanBytes as Bytes;

pub use ending::{Done, EXIT_CODES, end, told};
pub use listing::{Column, ENTRY_COLUMNS, POINT_COLUMNS, entry_rows, point_row, print};
pub use logging::begin_log;
pub use parsing::place;
pub use restoring::{RestoreArgs, restore};
pub use signals::stop_flag;
