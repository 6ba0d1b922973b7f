//! `keepfast-agent restore`: a point, or parts of it, below a directory of this machine.

use std::path::Path;

use link::RemoteArchive;
use model::Place;
use restore::Naming;
use terminal::{Done, RestoreArgs};

use crate::commands::{connect, find};

pub(crate) fn run(data: &Path, place: &Place, args: RestoreArgs) -> anyhow::Result<Done> {
    let (connection, own) = connect(data)?;
    let archive = RemoteArchive::unchecked(connection);
    let point = find(&archive, &own, place)?.key();
    // What this machine has the key of is checked by the restore.
    let key = archive.naming_key(point.source)?;
    let name = key.map(|key| |bytes: &[u8]| key.name(bytes));
    terminal::restore(&archive, point, &place.path, args, name.as_ref().map(|name| name as Naming<'_>))
}
