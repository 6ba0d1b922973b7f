//! What only the operator may ask for, on the appliance itself.

use model::archive::ArchiveError;
use pool::Verification;
use wire::message::{PoolStatus, VerifyReport};
use wire::{Reply, Request};

use crate::appliance::{Appliance, refused};
use crate::tokens::{self, Wanted};
use crate::{addresses, keeping, rack};

/// Does what the operator asks for.
pub(crate) fn answer(appliance: &Appliance, request: Request) -> Result<Reply, ArchiveError> {
    match request {
        Request::CreateToken { machine, restore, own_domain, address } => {
            let addresses = match address {
                Some(address) => vec![address],
                None => addresses::reachable(&appliance.addresses()?, &addresses::own()),
            };
            if addresses.is_empty() {
                return Err(refused(
                    "no address is known yet; start the appliance once, or say --address HOST:PORT",
                ));
            }
            let pin = appliance.authority().map_err(|e| refused(e.to_string()))?.pin();
            let wanted = Wanted { machine, restore, own_domain, addresses, pin };
            let (text, expires) = appliance.storage().change(move |pool| tokens::create(pool, wanted))?;
            Ok(Reply::Token { text, expires })
        }
        Request::Revoke { machine } => {
            appliance.storage().change(move |pool| tokens::revoke(pool, &machine))?;
            Ok(Reply::Done)
        }
        Request::Status => {
            let shared = appliance.storage().shared();
            let mut status = shared.status()?;
            status.damage.extend(shared.scrub_damage());
            status.damage.extend(shared.damaged_points().into_values().flat_map(|point| point.lines));
            Ok(Reply::Status { status: pool_status(status) })
        }
        Request::Verify { point } => {
            let found = appliance.storage().shared().verify(point)?;
            Ok(Reply::Verified { report: verify_report(found) })
        }
        Request::Keep { order } => Ok(Reply::Kept { answer: keeping::answer(appliance, order)? }),
        Request::Drives { order } => Ok(Reply::Drives { answer: rack::answer(appliance, order)? }),
        _ => Err(refused("this is not for operators")),
    }
}

/// What a verification found, as it is told.
pub(crate) fn verify_report(found: Verification) -> VerifyReport {
    VerifyReport {
        frames: found.frames,
        chunks: found.chunks,
        points: found.points,
        bytes: found.bytes,
        damage: found.damage,
        damage_count: found.damage_count,
    }
}

fn pool_status(status: pool::Status) -> PoolStatus {
    PoolStatus {
        pool: status.pool.iter().map(|byte| format!("{byte:02x}")).collect(),
        commit: status.commit,
        machines: status.machines,
        sources: status.sources,
        points: status.points,
        chunks: status.chunks,
        chunk_bytes: status.chunk_bytes,
        segments: status.segments,
        segment_bytes: status.segment_bytes,
        capacity_bytes: status.capacity_bytes,
        available_bytes: status.available_bytes,
        damage: status.damage,
    }
}
