//! `keepfast-agent restore`: a point, or parts of it, below a directory of this machine.

use std::io::Write;
use std::path::Path;

use model::Escaped;
use model::path::split_path;
use restore::{Naming, Overwrite, Progress, Request};

use crate::cli::RestoreArgs;
use crate::commands::{Done, archive};
use crate::place::Place;
use crate::signals::stop_flag;

/// Bytes of content held at a time.
const MEMORY_BYTES: usize = 64 << 20;

/// Says problems as they come; the figures come at the end.
struct Lines;

impl Progress for Lines {
    fn total(&self, _: u64, _: u64) {}

    fn advance(&self, _: u64, _: u64) {}

    fn problem(&self, path: &[u8], message: &str) {
        // Standard error may be closed; the outcome has the problem all the same.
        let _ = writeln!(std::io::stderr(), "exception\t{}\t{message}", Escaped(path));
    }
}

pub(crate) fn run(data: &Path, args: RestoreArgs) -> anyhow::Result<Done> {
    let place = Place::parse(&args.place)?;
    let (archive, own) = archive(data)?;
    let point = place.find(&archive, &own)?.key();
    let mut paths =
        args.paths.iter().map(|path| split_path(path.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    if !place.path.is_empty() {
        paths.push(place.path);
    }
    let key = archive.naming_key(point.source)?;
    let name = key.map(|key| |bytes: &[u8]| key.name(bytes));
    let request = Request {
        archive: &archive,
        point,
        target: args.to,
        paths,
        overwrite: if args.overwrite { Overwrite::Differing } else { Overwrite::Refuse },
        owners: !args.no_owners,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: MEMORY_BYTES,
        delete_extra: false,
        naming: name.as_ref().map(|name| name as Naming<'_>),
    };
    let stop = stop_flag()?;
    let outcome = restore::restore(&request, &Lines, &stop)?;
    writeln!(
        std::io::stdout(),
        "{} files, {} directories, {} others; {} bytes written, {} were there already; {} exceptions",
        outcome.files,
        outcome.directories,
        outcome.others,
        outcome.bytes_written,
        outcome.bytes_unchanged,
        outcome.problems_count
    )?;
    Ok(if outcome.problems_count == 0 { Done::Whole } else { Done::WithExceptions })
}
