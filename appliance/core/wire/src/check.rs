//! What CBOR alone does not say of a message: which request may be how long, and which values are possible.
//!
//! The number of a request is read before anything else of it, so that memory is taken only for requests that the
//! peer may make, and only as much as such a request can need.

use minicbor::{Decode, Decoder};
use model::EntryName;
use model::record::{EXCEPTIONS_MAX, Exception, Label, Machine, Point, RestoreGrant};

use crate::WireError;
use crate::drive::DriveOrder;
use crate::frame::BODY_MAX;
use crate::keeping::Order;
use crate::message::{ITEMS_MAX, NAMES_MAX, OPERATIONS_MAX, Reply, Request};

/// Longest text that names a program or a host.
const TEXT_LENGTH_MAX: usize = 255;
/// Longest secret or continuity token.
const SECRET_LENGTH_MAX: usize = 256;
/// Longest key of an item (object, kind, and the longest name), and the byte that says "behind it" when a listing
/// goes on there.
const KEY_LENGTH_MAX: usize = 8 + 1 + 255 + 1;
/// Bytes of a name of a chunk in CBOR.
const NAME_LENGTH: usize = 2 + 32;

/// What a request is, as its number tells without the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Hello,
    Join,
    Backup,
    Read,
    Admin,
}

/// The topic of a request and the longest body that it can need.
pub(crate) fn topic(body: &[u8]) -> Result<(Topic, usize), WireError> {
    let mut decoder = Decoder::new(body);
    let mut number = || -> Result<u32, minicbor::decode::Error> {
        decoder.array()?;
        decoder.u32()
    };
    let number = number().map_err(|source| WireError::Decode { what: "request", source })?;
    let names = NAMES_MAX * NAME_LENGTH + 64;
    Ok(match number {
        0 => (Topic::Hello, 1024),
        1 => (Topic::Join, 1024),
        3 => (Topic::Backup, names),
        6 => (Topic::Backup, BODY_MAX),
        2 | 4 | 5 | 7 => (Topic::Backup, 1024),
        24 | 25 => (Topic::Read, names),
        16..=23 => (Topic::Read, 1024),
        32..=37 => (Topic::Admin, BODY_MAX),
        found => return Err(WireError::UnknownRequest { found }),
    })
}

/// Decodes a message that takes up all of `body`.
pub(crate) fn decode<'b, M: Decode<'b, ()>>(what: &'static str, body: &'b [u8]) -> Result<M, WireError> {
    let mut decoder = Decoder::new(body);
    let message = decoder.decode().map_err(|source| WireError::Decode { what, source })?;
    match body.len() - decoder.position() {
        0 => Ok(message),
        length => Err(WireError::Trailing { what, length }),
    }
}

/// Decodes the exceptions of a backup; memory for more than are allowed is never taken.
pub(crate) fn exceptions<'b, C>(
    decoder: &mut Decoder<'b>,
    context: &mut C,
) -> Result<Vec<Exception>, minicbor::decode::Error> {
    let mut exceptions = Vec::new();
    for exception in decoder.array_iter_with(context)? {
        if exceptions.len() == EXCEPTIONS_MAX {
            return Err(minicbor::decode::Error::message("too many exceptions"));
        }
        exceptions.push(exception?);
    }
    Ok(exceptions)
}

fn at_most(what: &'static str, most: usize, found: usize) -> Result<(), WireError> {
    let (most, found) = (most as u64, found as u64);
    if found <= most { Ok(()) } else { Err(WireError::TooMany { what, most, found }) }
}

fn short(what: &'static str, most: usize, length: usize) -> Result<(), WireError> {
    if length <= most { Ok(()) } else { Err(WireError::Value { what }) }
}

fn label(label: &Label) -> Result<(), WireError> {
    Label::new(label.as_str()).map(drop).map_err(|_| WireError::Value { what: "name of a machine or source" })
}

fn grant(grant: &RestoreGrant) -> Result<(), WireError> {
    match grant {
        RestoreGrant::Machines(machines) => machines.iter().try_for_each(label),
        RestoreGrant::None | RestoreGrant::All => Ok(()),
    }
}

/// Refuses values that a request cannot have.
pub(crate) fn request(request: &Request) -> Result<(), WireError> {
    match request {
        Request::Hello { software, .. } => short("name of a program", TEXT_LENGTH_MAX, software.len()),
        Request::Join { secret, host } => {
            short("secret of a token", SECRET_LENGTH_MAX, secret.len())?;
            short("name of a host", TEXT_LENGTH_MAX, host.len())
        }
        Request::Begin { source, continuity, .. } => {
            short("continuity token", SECRET_LENGTH_MAX, continuity.as_ref().map_or(0, Vec::len))?;
            label(source)
        }
        Request::Have { names, .. } | Request::Chunks { names, .. } | Request::Places { names, .. } => {
            at_most("names", NAMES_MAX, names.len())
        }
        Request::Operations { count: 0, .. } => Err(WireError::Value { what: "count of operations" }),
        Request::Operations { first, .. } if first.0 == 0 => {
            Err(WireError::Value { what: "sequence number of an operation" })
        }
        Request::Operations { count, .. } => at_most("operations", OPERATIONS_MAX, *count as usize),
        Request::Finish { exceptions, exceptions_count, .. } => {
            let listed = exceptions.len() as u64;
            if listed <= *exceptions_count { Ok(()) } else { Err(WireError::Value { what: "exceptions" }) }
        }
        Request::Item { key, .. } => short("key", KEY_LENGTH_MAX, key.len()),
        Request::Items { from, to: at, .. } | Request::ItemAtOrBefore { from, at, .. } => {
            short("key", KEY_LENGTH_MAX, from.len())?;
            short("key", KEY_LENGTH_MAX, at.len())
        }
        Request::Changes { from, .. } => short("key", KEY_LENGTH_MAX, from.len()),
        Request::CreateToken { machine, restore, .. } => {
            label(machine)?;
            grant(restore)
        }
        Request::Revoke { machine } => label(machine),
        Request::Keep { order: Order::SetPolicy { machine, source, .. } } => {
            label(machine)?;
            label(source)
        }
        Request::Drives { order: DriveOrder::SetPlacement { machine, source, .. } } => {
            label(machine)?;
            label(source)
        }
        Request::Data { .. }
        | Request::Abort { .. }
        | Request::Machines
        | Request::Sources
        | Request::Points { .. }
        | Request::Point { .. }
        | Request::Status
        | Request::Verify { .. }
        | Request::Keep { .. }
        | Request::Drives { .. } => Ok(()),
    }
}

fn machine(machine: &Machine) -> Result<(), WireError> {
    label(&machine.label)?;
    let Some(agent) = &machine.agent else { return Ok(()) };
    if agent.key_hash.len() != 32 {
        return Err(WireError::Value { what: "hash of a key" });
    }
    grant(&agent.restore)
}

fn point(point: &Point) -> Result<(), WireError> {
    EntryName::new(point.id.as_bytes()).map(drop).map_err(|_| WireError::Value { what: "id of a point" })
}

/// Refuses values that a reply cannot have.
pub(crate) fn reply(reply: &Reply) -> Result<(), WireError> {
    match reply {
        Reply::Welcome { machine, naming_key, .. } => {
            if naming_key.as_ref().is_some_and(|key| key.len() != 32) {
                return Err(WireError::Value { what: "naming key" });
            }
            machine.iter().try_for_each(label)
        }
        Reply::Joined { machine } => label(machine),
        Reply::Had { bits } => at_most("names", NAMES_MAX, bits.len() * 8),
        Reply::Lacking { names } => at_most("names", NAMES_MAX, names.len()),
        Reply::Machines { machines } => machines.iter().try_for_each(machine),
        Reply::Sources { sources } => sources.iter().try_for_each(|source| label(&source.label)),
        Reply::Points { points, damaged, .. } => {
            at_most("damaged points", points.len(), damaged.as_ref().map_or(0, Vec::len))?;
            points.iter().try_for_each(point)
        }
        Reply::Point { point: one } | Reply::Finished { point: one } => point(one),
        Reply::Items { items, .. } => at_most("items", ITEMS_MAX, items.len()),
        Reply::Changes { changes, .. } => at_most("changes", ITEMS_MAX, changes.len()),
        Reply::Chunks { results } => at_most("chunks", NAMES_MAX, results.len()),
        Reply::Places { places } => at_most("places", NAMES_MAX, places.len()),
        Reply::Begun { .. }
        | Reply::Done
        | Reply::Failed { .. }
        | Reply::Credit { .. }
        | Reply::Durable { .. }
        | Reply::Token { .. }
        | Reply::Status { .. }
        | Reply::Verified { .. }
        | Reply::Kept { .. }
        | Reply::Drives { .. } => Ok(()),
    }
}
