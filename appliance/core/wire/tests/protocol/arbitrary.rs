//! Arbitrary messages and operations, each field over the whole range that the protocol allows.

use model::archive::{ArchiveError, PointKey};
use model::item::{Attributes, FileKind};
use model::operation::{Content, Operation};
use model::record::{
    AgentKey, Exception, ExceptionCause, Label, Machine, Point, RestoreGrant, Source, Totals, TreeRoot,
};
use model::{DomainId, EntryName, ErrorKind, MachineId, Name, ObjectId, SequenceNumber, SourceId, Time};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wire::drive::{DriveAnswer, DriveOrder, DriveRow, Newcomer, Placement};
use wire::keeping::{
    AdmissionFigures, Admit, AuditReport, DriveForecast, Foretold, Hold, Kept, Order, PlannedFold,
    SourceForecast, SourcePolicy, TrialPolicy,
};
use wire::message::{
    ChunkResult, DamagedPoint, PoolStatus, Reply, Request, StoredChange, StoredItem, VerifyReport,
};

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=most)
}

fn text() -> impl Strategy<Value = String> {
    ".{0,40}"
}

pub(crate) fn label() -> impl Strategy<Value = Label> {
    "[a-z0-9\u{6587}][a-z0-9 .\u{4ef6}-]{0,14}[a-z]".prop_map(|text| Label::new(&text).unwrap())
}

pub(crate) fn name() -> impl Strategy<Value = Name> {
    any::<[u8; 32]>().prop_map(Name)
}

fn time() -> impl Strategy<Value = Time> {
    any::<i64>().prop_map(Time)
}

fn point_key() -> impl Strategy<Value = PointKey> {
    any::<(u64, u64)>().prop_map(|(source, number)| PointKey { source: SourceId(source), number })
}

fn error() -> impl Strategy<Value = ArchiveError> {
    let kinds = [
        ErrorKind::Corrupt,
        ErrorKind::Missing,
        ErrorKind::Busy,
        ErrorKind::Full,
        ErrorKind::Refused,
        ErrorKind::Unsupported,
        ErrorKind::Io,
    ];
    (proptest::sample::select(kinds.to_vec()), text())
        .prop_map(|(kind, message)| ArchiveError { kind, message })
}

fn grant() -> impl Strategy<Value = RestoreGrant> {
    prop_oneof![
        Just(RestoreGrant::None),
        Just(RestoreGrant::All),
        vec(label(), 0..4).prop_map(RestoreGrant::Machines)
    ]
}

fn totals() -> impl Strategy<Value = Totals> {
    any::<[u64; 7]>().prop_map(|[files, directories, others, bytes, files_read, bytes_read, bytes_sent]| {
        Totals { files, directories, others, bytes, files_read, bytes_read, bytes_sent }
    })
}

fn exception() -> impl Strategy<Value = Exception> {
    let causes = [
        ExceptionCause::Vanished,
        ExceptionCause::Changed,
        ExceptionCause::Unreadable,
        ExceptionCause::Unsupported,
    ];
    (bytes(60), proptest::sample::select(causes.to_vec()), text())
        .prop_map(|(path, cause, detail)| Exception { path, cause, detail })
}

fn point() -> impl Strategy<Value = Point> {
    let root = (option::of(name()), any::<u8>(), any::<u64>()).prop_map(|(page, height, items)| TreeRoot {
        page,
        height,
        items,
    });
    let times = (time(), time(), time());
    (point_key(), "[0-9TZ-]{1,24}", any::<u64>(), times, root, totals(), vec(exception(), 0..4), bytes(40))
        .prop_map(|(key, id, sequence, times, root, totals, exceptions, continuity)| Point {
            source: key.source,
            number: key.number,
            id,
            sequence: SequenceNumber(sequence),
            started: times.0,
            finished: times.1,
            received: times.2,
            root,
            totals,
            exceptions_count: exceptions.len() as u64,
            exceptions,
            continuity,
            witnessed: None,
        })
}

fn machine() -> impl Strategy<Value = Machine> {
    let agent =
        (any::<[u8; 32]>(), time(), grant(), any::<bool>()).prop_map(|(hash, joined, restore, revoked)| {
            AgentKey { key_hash: hash.to_vec(), joined, restore, revoked }
        });
    (any::<u64>(), label(), any::<u64>(), time(), option::of(agent)).prop_map(
        |(id, label, domain, added, agent)| Machine {
            id: MachineId(id),
            label,
            domain: DomainId(domain),
            added,
            agent,
        },
    )
}

fn finish() -> impl Strategy<Value = Request> {
    (any::<(u64, u64)>(), time(), time(), totals(), vec(exception(), 0..5), any::<u32>()).prop_map(
        |((session, last), started, finished, totals, exceptions, unlisted)| Request::Finish {
            session,
            last: SequenceNumber(last),
            started,
            finished,
            totals,
            exceptions_count: exceptions.len() as u64 + u64::from(unlisted),
            exceptions,
        },
    )
}

/// What belongs to a backup, and the greeting.
fn sending() -> impl Strategy<Value = Request> {
    let session = any::<u64>;
    prop_oneof![
        (any::<u16>(), text()).prop_map(|(version, software)| Request::Hello { version, software }),
        (bytes(16), text()).prop_map(|(secret, host)| Request::Join { secret, host }),
        (label(), option::of(bytes(32)), option::of(any::<u64>()))
            .prop_map(|(source, continuity, size_bytes)| Request::Begin { source, continuity, size_bytes }),
        (session(), vec(name(), 0..40)).prop_map(|(session, names)| Request::Have { session, names }),
        (session(), any::<u64>()).prop_map(|(session, number)| Request::Data { session, number }),
        (session(), 1u64.., 1..=8192u32).prop_map(|(session, first, count)| Request::Operations {
            session,
            first: SequenceNumber(first),
            count
        }),
        finish(),
        session().prop_map(|session| Request::Abort { session }),
    ]
}

fn reading() -> impl Strategy<Value = Request> {
    let key = || bytes(265);
    prop_oneof![
        Just(Request::Machines),
        Just(Request::Sources),
        any::<(u64, u64)>().prop_map(|(source, from)| Request::Points { source: SourceId(source), from }),
        point_key().prop_map(|point| Request::Point { point }),
        (point_key(), key()).prop_map(|(point, key)| Request::Item { point, key }),
        (point_key(), key(), key(), any::<u32>()).prop_map(|(point, from, to, limit)| Request::Items {
            point,
            from,
            to,
            limit
        }),
        (point_key(), key(), key()).prop_map(|(point, from, at)| Request::ItemAtOrBefore { point, from, at }),
        (point_key(), point_key(), key(), any::<u32>())
            .prop_map(|(before, after, from, limit)| Request::Changes { before, after, from, limit }),
        (point_key(), vec(name(), 0..40)).prop_map(|(point, names)| Request::Chunks { point, names }),
        (point_key(), vec(name(), 0..40)).prop_map(|(point, names)| Request::Places { point, names }),
    ]
}

fn administering() -> impl Strategy<Value = Request> {
    prop_oneof![
        (label(), grant(), any::<bool>(), option::of(text())).prop_map(
            |(machine, restore, own_domain, address)| Request::CreateToken {
                machine,
                restore,
                own_domain,
                address
            }
        ),
        label().prop_map(|machine| Request::Revoke { machine }),
        Just(Request::Status),
        option::of(point_key()).prop_map(|point| Request::Verify { point }),
        order().prop_map(|order| Request::Keep { order }),
        drive_order().prop_map(|order| Request::Drives { order }),
    ]
}

fn drive_order() -> impl Strategy<Value = DriveOrder> {
    let newcomer = || {
        (text(), option::of(text()), any::<bool>()).prop_map(|(path, confirmation, force)| Newcomer {
            path,
            confirmation,
            force,
        })
    };
    prop_oneof![
        Just(DriveOrder::List),
        newcomer().prop_map(|newcomer| DriveOrder::Plan { newcomer }),
        (newcomer(), option::of(text())).prop_map(|(newcomer, policy)| DriveOrder::Add { newcomer, policy }),
        text().prop_map(|drive| DriveOrder::Retire { drive }),
        (text(), newcomer()).prop_map(|(drive, newcomer)| DriveOrder::Replace { drive, newcomer }),
        text().prop_map(|path| DriveOrder::Rejoin { path }),
        text().prop_map(|policy| DriveOrder::SetPolicy { policy }),
        (label(), label(), option::of(text()))
            .prop_map(|(machine, source, policy)| { DriveOrder::SetPlacement { machine, source, policy } }),
    ]
}

fn drive_answer() -> impl Strategy<Value = DriveAnswer> {
    let texts = [option::of(text()), option::of(text()), option::of(text())];
    let row = (texts, text(), any::<[Option<u64>; 2]>(), any::<[u64; 5]>()).prop_map(
        |([drive, place, reason], state, bytes, n)| DriveRow {
            drive,
            place,
            state,
            reason,
            capacity_bytes: bytes[0],
            free_bytes: bytes[1],
            segments: n[0],
            segments_at_risk: n[1],
            read_errors: n[2],
            write_errors: n[3],
            mended: n[4],
        },
    );
    let placement = (label(), label(), text()).prop_map(|(machine, source, policy)| Placement {
        machine,
        source,
        policy,
    });
    prop_oneof![
        (text(), vec(row, 0..5), any::<[u64; 2]>(), vec(text(), 0..5), vec(placement, 0..5)).prop_map(
            |(policy, drives, n, lost, placements)| DriveAnswer::Drives {
                policy,
                drives,
                at_risk: n[0],
                lost,
                lost_count: n[1],
                placements,
                is_searching: n[0] % 2 == 1,
            }
        ),
        (text(), text()).prop_map(|(text, what)| DriveAnswer::Plan { text, what }),
        text().prop_map(|sentence| DriveAnswer::Done { sentence }),
    ]
}

fn order() -> impl Strategy<Value = Order> {
    let hold = prop_oneof![Just(Hold::Pin), Just(Hold::Legal)];
    prop_oneof![
        option::of((label(), label(), option::of(text()))).prop_map(|trial| Order::Plan {
            trial: trial.map(|(machine, source, text)| TrialPolicy { machine, source, text }),
        }),
        Just(Order::Policies),
        option::of(text()).prop_map(|text| Order::SetBounds { text }),
        (label(), label(), option::of(text())).prop_map(|(machine, source, text)| Order::SetPolicy {
            machine,
            source,
            text
        }),
        (point_key(), hold, any::<bool>()).prop_map(|(point, hold, is_on)| Order::Hold {
            point,
            hold,
            is_on
        }),
        Just(Order::ConfirmClock),
        Just(Order::Audit),
        option::of((any::<u64>(), option::of(any::<u64>()))).prop_map(|admit| Order::Forecast {
            admit: admit.map(|(size_bytes, new_bytes)| Admit { size_bytes, new_bytes }),
        }),
    ]
}

fn kept() -> impl Strategy<Value = Kept> {
    let fold = (point_key(), text()).prop_map(|(point, reason)| PlannedFold { point, reason });
    let source =
        (label(), label(), text(), any::<bool>()).prop_map(|(machine, source, policy, is_default)| {
            SourcePolicy { machine, source, policy, is_default }
        });
    let report = (any::<[u64; 5]>(), vec(text(), 0..5)).prop_map(|(n, wrong)| AuditReport {
        points: n[0],
        chunks: n[1],
        pages: n[2],
        segments: n[3],
        wrong,
        wrong_count: n[4],
    });
    prop_oneof![
        (vec(text(), 0..5), vec(fold, 0..5), any::<u64>())
            .prop_map(|(lines, folds, folds_count)| Kept::Plan { lines, folds, folds_count }),
        (text(), vec(source, 0..5)).prop_map(|(bounds, sources)| Kept::Policies { bounds, sources }),
        Just(Kept::Done),
        report.prop_map(|report| Kept::Audit { report }),
        (vec(text(), 0..5), foretold()).prop_map(|(lines, foretold)| Kept::Forecast { lines, foretold }),
    ]
}

/// Any request whose values are possible.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    prop_oneof![sending(), reading(), administering()]
}

fn telling() -> impl Strategy<Value = Reply> {
    prop_oneof![
        (any::<u16>(), text(), option::of(label()), option::of(any::<[u8; 32]>())).prop_map(
            |(version, software, machine, key)| Reply::Welcome {
                version,
                software,
                machine,
                naming_key: key.map(Vec::from)
            }
        ),
        label().prop_map(|machine| Reply::Joined { machine }),
        any::<(u64, u64, bool, bool)>().prop_map(|(session, sequence, matched, empty)| Reply::Begun {
            session,
            sequence: SequenceNumber(sequence),
            matched,
            empty
        }),
        bytes(512).prop_map(|bits| Reply::Had { bits }),
        point().prop_map(|point| Reply::Finished { point }),
        vec(name(), 0..40).prop_map(|names| Reply::Lacking { names }),
        Just(Reply::Done),
        (option::of(any::<u64>()), error()).prop_map(|(session, error)| Reply::Failed { session, error }),
        any::<u64>().prop_map(|bytes| Reply::Credit { bytes }),
        any::<(u64, u64)>().prop_map(|(session, number)| Reply::Durable { session, number }),
    ]
}

fn listing() -> impl Strategy<Value = Reply> {
    let source = (any::<u64>(), any::<u64>(), label(), time()).prop_map(|(id, machine, label, added)| {
        Source { id: SourceId(id), machine: MachineId(machine), label, added }
    });
    let item = (bytes(60), bytes(60)).prop_map(|(key, value)| StoredItem { key, value });
    let change = (bytes(60), option::of(bytes(60)), option::of(bytes(60)))
        .prop_map(|(key, before, after)| StoredChange { key, before, after });
    let result = prop_oneof![
        any::<u32>().prop_map(|length| ChunkResult::Bytes { length }),
        error().prop_map(|error| ChunkResult::Failed { error })
    ];
    prop_oneof![
        vec(machine(), 0..4).prop_map(|machines| Reply::Machines { machines }),
        vec(source, 0..4).prop_map(|sources| Reply::Sources { sources }),
        (vec(point(), 0..3), any::<bool>(), any::<bool>()).prop_map(|(points, more, is_marked)| {
            let mark = |point: &Point| DamagedPoint { number: point.number, count: point.number };
            let damaged = is_marked.then(|| points.iter().map(mark).collect());
            Reply::Points { points, more, damaged }
        }),
        point().prop_map(|point| Reply::Point { point }),
        (vec(item, 0..20), any::<bool>()).prop_map(|(items, more)| Reply::Items { items, more }),
        (vec(change, 0..20), any::<bool>()).prop_map(|(changes, more)| Reply::Changes { changes, more }),
        vec(result, 0..20).prop_map(|results| Reply::Chunks { results }),
        vec(any::<u64>(), 0..20).prop_map(|places| Reply::Places { places }),
    ]
}

fn reporting() -> impl Strategy<Value = Reply> {
    let damage = || vec(text(), 0..4);
    let status = (text(), any::<[u64; 10]>(), damage()).prop_map(|(pool, n, damage)| PoolStatus {
        pool,
        commit: n[0],
        machines: n[1],
        sources: n[2],
        points: n[3],
        chunks: n[4],
        chunk_bytes: n[5],
        segments: n[6],
        segment_bytes: n[7],
        capacity_bytes: n[8],
        available_bytes: n[9],
        damage,
    });
    let report = (any::<[u64; 5]>(), damage()).prop_map(|(n, damage)| VerifyReport {
        frames: n[0],
        chunks: n[1],
        points: n[2],
        bytes: n[3],
        damage_count: n[4],
        damage,
    });
    prop_oneof![
        (text(), time()).prop_map(|(text, expires)| Reply::Token { text, expires }),
        status.prop_map(|status| Reply::Status { status }),
        report.prop_map(|report| Reply::Verified { report }),
        kept().prop_map(|answer| Reply::Kept { answer }),
        drive_answer().prop_map(|answer| Reply::Drives { answer }),
    ]
}

/// Any reply whose values are possible.
pub(crate) fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![telling(), listing(), reporting()]
}

fn entry_name() -> impl Strategy<Value = EntryName> {
    vec(any::<u8>(), 1..=30).prop_filter_map("a name of an entry", |bytes| EntryName::new(&bytes).ok())
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let numbers = (1u8..=7, 0..=0o7777u32, any::<u32>(), any::<u32>(), any::<u64>());
    (numbers, time(), time(), bytes(40), any::<bool>()).prop_map(
        |((kind, mode, uid, gid, rdev), modified, changed, target, image)| Attributes {
            kind: FileKind::from_code(kind).unwrap(),
            mode,
            uid,
            gid,
            modified,
            changed,
            rdev,
            target,
            image,
        },
    )
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        (name(), 0..=1u32 << 19, 1..=1u32 << 19).prop_map(|(name, skip, length)| Content::Chunk {
            name,
            skip,
            length
        }),
        (1..=u64::from(u32::MAX)).prop_map(|length| Content::Hole { length })
    ]
}

/// Any operation whose values are possible.
pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let object = || any::<u64>().prop_map(ObjectId);
    let xattr = || vec(any::<u8>(), 1..=20);
    prop_oneof![
        (object(), entry_name(), object(), attributes()).prop_map(|(directory, name, object, attributes)| {
            Operation::Make { directory, name, object, attributes }
        }),
        (object(), entry_name(), object()).prop_map(|(directory, name, object)| Operation::Link {
            directory,
            name,
            object
        }),
        (object(), entry_name()).prop_map(|(directory, name)| Operation::Remove { directory, name }),
        (object(), entry_name(), object(), entry_name()).prop_map(
            |(directory, name, to_directory, to_name)| Operation::Rename {
                directory,
                name,
                to_directory,
                to_name
            }
        ),
        (object(), 0..u64::MAX / 2, content()).prop_map(|(object, offset, content)| Operation::Write {
            object,
            offset,
            content
        }),
        (object(), any::<u64>()).prop_map(|(object, size)| Operation::Truncate { object, size }),
        (object(), attributes())
            .prop_map(|(object, attributes)| Operation::SetAttributes { object, attributes }),
        (object(), xattr(), bytes(60)).prop_map(|(object, name, value)| Operation::SetXattr {
            object,
            name,
            value
        }),
        (object(), xattr()).prop_map(|(object, name)| Operation::RemoveXattr { object, name }),
        (text(), time()).prop_map(|(label, at)| Operation::Mark { label, at }),
    ]
}

fn foretold() -> impl Strategy<Value = Foretold> {
    let source =
        (label(), label(), any::<[u64; 6]>(), option::of(any::<(u64, u16)>()), option::of(any::<u64>()))
            .prop_map(|(machine, source, figures, measured, known_in_seconds)| {
                let [points, used_bytes, oldest_seconds, daily_seconds, measured_seconds, measured_points] =
                    figures;
                SourceForecast {
                    machine,
                    source,
                    points,
                    used_bytes,
                    oldest_seconds,
                    daily_seconds,
                    new_bytes_per_day: measured.map(|measured| measured.0),
                    measured_seconds,
                    measured_points,
                    margin: measured.map(|measured| measured.1),
                    known_in_seconds,
                }
            });
    let admission = any::<(bool, [u64; 4])>().prop_map(|(fits, figures)| {
        let [floor_bytes, others_bytes, room_bytes, lacking_bytes] = figures;
        AdmissionFigures { fits, floor_bytes, others_bytes, room_bytes, lacking_bytes }
    });
    let on = || option::of(time());
    let drive = (option::of(text()), option::of(text()), on())
        .prop_map(|(drive, place, full)| DriveForecast { drive, place, full });
    (vec(source, 0..5), on(), on(), on(), any::<u32>(), option::of(admission), vec(drive, 0..5)).prop_map(
        |(sources, full, full_earliest, full_latest, days, admission, drives)| Foretold {
            sources,
            full,
            full_earliest,
            full_latest,
            days,
            admission,
            drives,
        },
    )
}
