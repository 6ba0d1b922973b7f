//! `keepfast-agent restore`: a point, or parts of it, below a directory of this machine.

use std::path::Path;

use model::Place;
use restore::Naming;
use terminal::{Done, RestoreArgs};

use crate::commands::{archive, find};

pub(crate) fn run(data: &Path, place: &Place, args: RestoreArgs) -> anyhow::Result<Done> {
    let (archive, own) = archive(data)?;
    let point = find(&archive, &own, place)?.key();
    let key = archive.naming_key(point.source)?;
    let name = key.map(|key| |bytes: &[u8]| key.name(bytes));
    terminal::restore(&archive, point, &place.path, args, name.as_ref().map(|name| name as Naming<'_>))
}
