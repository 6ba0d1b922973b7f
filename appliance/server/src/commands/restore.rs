//! `keepfast restore`: a point, or parts of it, below a directory of the appliance.

use model::Place;
use terminal::{Done, RestoreArgs};

use crate::access::Access;
use crate::cli::Data;

pub(crate) fn run(place: &Place, args: RestoreArgs, data: &Data) -> anyhow::Result<Done> {
    let access = Access::open(&data.data)?;
    // What differs is found by comparing bytes: they need not travel here.
    terminal::restore(&*access.archive(), access.find(place)?, &place.path, args, None)
}
