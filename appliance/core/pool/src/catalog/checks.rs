//! When segments were checked last: the table `scrubbed`. It does not follow from the segments; a catalog without it is
//! as good, and the scrub begins anew.

use std::collections::BTreeMap;

use model::{SegmentNumber, Time};
use redb::{ReadableTable, TableDefinition, TableError, WriteTransaction};

use super::{Catalog, STATE, failed};
use crate::PoolError;
use crate::scrub::{Checked, Proof, Rounds};

/// Bytes of a value.
const CHECKED_LENGTH: usize = 8 + 8 + 1;
const SCRUBBED: TableDefinition<'_, u64, &[u8; CHECKED_LENGTH]> = TableDefinition::new("scrubbed");
/// The last round, and the last segment of it while it is under way.
const SCRUB: &str = "scrub";

fn encode(checked: &Checked) -> [u8; CHECKED_LENGTH] {
    let mut out = [0; CHECKED_LENGTH];
    out[..8].copy_from_slice(&checked.round.to_le_bytes());
    out[8..16].copy_from_slice(&checked.at.0.to_le_bytes());
    out[16] = match checked.proof {
        Proof::Nothing => 0,
        Proof::Checksums => 1,
        Proof::Hashes => 2,
    };
    out
}

fn decode(bytes: &[u8; CHECKED_LENGTH]) -> Checked {
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    let proof = match bytes[16] {
        2 => Proof::Hashes,
        1 => Proof::Checksums,
        _ => Proof::Nothing,
    };
    Checked { round: number(0), at: Time(number(8).cast_signed()), proof }
}

/// Puts in what is not there yet; segments that are gone go.
pub(super) fn write<'a>(
    write: &WriteTransaction,
    rounds: &Rounds,
    removed: impl Iterator<Item = &'a SegmentNumber>,
) -> Result<(), PoolError> {
    let mut table = write.open_table(SCRUBBED).map_err(failed("open checks"))?;
    for segment in &rounds.unsaved {
        if let Some(checked) = rounds.checked.get(segment) {
            table.insert(segment.0, &encode(checked)).map_err(failed("insert checks"))?;
        }
    }
    for segment in removed {
        table.remove(segment.0).map_err(failed("remove checks"))?;
    }
    let value =
        minicbor::to_vec((rounds.round, rounds.end)).map_err(|_| PoolError::CatalogValue("its checks"))?;
    let mut state = write.open_table(STATE).map_err(failed("open state"))?;
    state.insert(SCRUB, value.as_slice()).map_err(failed("insert its state"))?;
    Ok(())
}

impl Catalog {
    /// When segments were checked.
    pub(crate) fn rounds(&self) -> Result<Rounds, PoolError> {
        self.read("its checks", |read| {
            let table = match read.open_table(SCRUBBED) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Rounds::default()),
                table => table.map_err(failed("read checks"))?,
            };
            let mut checked = BTreeMap::new();
            for entry in table.iter().map_err(failed("read checks"))? {
                let (segment, value) = entry.map_err(failed("read checks"))?;
                checked.insert(SegmentNumber(segment.value()), decode(value.value()));
            }
            let state = read.open_table(STATE).map_err(failed("read its state"))?;
            let value = state.get(SCRUB).map_err(failed("read its state"))?;
            let value = value.map(|value| minicbor::decode(value.value())).transpose();
            let (round, end) = value.map_err(|_| PoolError::CatalogValue("its checks"))?.unwrap_or_default();
            Ok(Rounds { round, end, checked, ..Rounds::default() })
        })
    }
}
