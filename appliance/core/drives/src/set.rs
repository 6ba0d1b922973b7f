//! The set of drives: what it knows, and the order in which its locks are taken.
//!
//! Locks, outermost first: `work` (one step at a time), `names` (changes of names, one at a time), the node of a file
//! (changes of its bytes), `state`. Reading bytes takes none of the first three.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use medium::{Clock, Demand, DiskError, Entropy, Operation};
use model::SegmentNumber;

use crate::member::Member;
use crate::node::Node;
use crate::parity::Group;
use crate::superblock::{MemberState, SetRecord};
use crate::work::Work;
use crate::{DriveUuid, EpochId, PoolUuid};

/// Time and randomness, as the set is handed them.
#[derive(Clone)]
pub struct World {
    /// For what is said about when.
    pub clock: Arc<dyn Clock>,
    /// For identities.
    pub entropy: Arc<dyn Entropy>,
}

/// Several drives as one [`medium::Disk`].
pub struct DriveSet {
    pub(crate) shared: Arc<Shared>,
}

/// What a set and its open files share.
pub(crate) struct Shared {
    pub(crate) pool: PoolUuid,
    pub(crate) world: World,
    /// Held while names change.
    pub(crate) names: Mutex<()>,
    pub(crate) state: Mutex<State>,
    /// Held during a step.
    pub(crate) work: Mutex<Work>,
}

/// Where a segment is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segment {
    /// Members with a whole copy, by their place in the list.
    pub(crate) holders: BTreeSet<usize>,
    /// Copies may differ in what was not synced.
    pub(crate) uneven: bool,
    /// The group that it is in, and its slot there.
    pub(crate) group: Option<(u64, usize)>,
    /// Ranges that no copy gives.
    pub(crate) unreadable: Vec<Range<u64>>,
}

/// What is known of the members and of what they hold.
pub(crate) struct State {
    pub(crate) record: SetRecord,
    /// The drives, by their place in the record's list.
    pub(crate) members: Vec<Option<Arc<Member>>>,
    pub(crate) segments: BTreeMap<SegmentNumber, Segment>,
    pub(crate) groups: BTreeMap<u64, Group>,
    /// Groups whose parity was made of bytes that were not right.
    pub(crate) suspect: BTreeSet<u64>,
    /// How segments are wanted kept that are to be kept otherwise than the rest.
    pub(crate) asked: BTreeMap<SegmentNumber, Demand>,
    /// All that is in there, since the set was opened.
    pub(crate) knows_asked: bool,
    /// The group that is being given up because its segments are to be kept otherwise.
    pub(crate) converting: Option<u64>,
    /// Open files by their paths.
    pub(crate) nodes: BTreeMap<String, Weak<Node>>,
    /// Files whose copies may differ after a crash, by their names in the directory of marks.
    pub(crate) marked: BTreeSet<String>,
    /// Segments that were made or removed since the directory was synced.
    pub(crate) unsynced_names: BTreeSet<SegmentNumber>,
    /// A member came back, and what it held is not all compared.
    pub(crate) aside: bool,
    /// Files that were let go of by a writer, and whose marks may go.
    pub(crate) closed: BTreeSet<String>,
    /// Other files than segments whose copies may differ.
    pub(crate) uneven: BTreeSet<String>,
}

impl State {
    pub(crate) fn new(record: SetRecord) -> Self {
        Self {
            members: record.members.iter().map(|_| None).collect(),
            record,
            segments: BTreeMap::new(),
            groups: BTreeMap::new(),
            suspect: BTreeSet::new(),
            asked: BTreeMap::new(),
            knows_asked: false,
            converting: None,
            nodes: BTreeMap::new(),
            marked: BTreeSet::new(),
            unsynced_names: BTreeSet::new(),
            closed: BTreeSet::new(),
            aside: false,
            uneven: BTreeSet::new(),
        }
    }

    /// Members that are read and written.
    pub(crate) fn serving(&self) -> Vec<Arc<Member>> {
        self.members.iter().flatten().filter(|member| member.serves()).cloned().collect()
    }

    /// Those of them that are in one of these places.
    pub(crate) fn serving_of(&self, places: &BTreeSet<usize>) -> Vec<Arc<Member>> {
        let mut members = self.serving();
        members.retain(|member| places.contains(&member.index));
        members
    }

    /// Those that are a home of the catalog.
    pub(crate) fn homes(&self) -> Vec<Arc<Member>> {
        let mut members = self.serving();
        members.retain(|member| self.record.members.get(member.index).is_some_and(|entry| entry.catalog));
        members
    }

    /// Those that may be given something more to hold.
    pub(crate) fn staying(&self) -> Vec<Arc<Member>> {
        let mut members = self.serving();
        members.retain(|member| self.entry_state(member.index) == Some(MemberState::InService));
        members
    }

    /// Those that are given something to hold: those that stay, or, if there is none, those that are to be emptied.
    pub(crate) fn taking(&self) -> Vec<Arc<Member>> {
        let staying = self.staying();
        if staying.is_empty() { self.serving() } else { staying }
    }

    pub(crate) fn entry_state(&self, index: usize) -> Option<MemberState> {
        self.record.members.get(index).map(|entry| entry.state)
    }

    /// Whether there may be copies that know nothing of what is changed: on a member that is out, or set aside on one that
    /// came back.
    pub(crate) fn notes_changes(&self) -> bool {
        self.aside || self.somebody_is_out()
    }

    /// Whether a member may come back.
    pub(crate) fn somebody_is_out(&self) -> bool {
        self.record.members.iter().any(|entry| entry.state == MemberState::Out)
    }

    /// Strikes a member out of everything that is known; the caller writes that down.
    pub(crate) fn take_out(&mut self, index: usize) {
        self.record.set_state(index, MemberState::Out);
        if let Some(member) = self.members.get_mut(index).and_then(Option::take) {
            member.let_go();
        }
        for segment in self.segments.values_mut() {
            segment.holders.remove(&index);
        }
        for group in self.groups.values_mut() {
            group.files.values_mut().for_each(|members| {
                members.remove(&index);
            });
            group
                .leaving
                .values_mut()
                .filter(|member| **member == Some(index))
                .for_each(|member| *member = None);
        }
    }

    /// Strikes a segment out that is gone.
    pub(crate) fn forget(&mut self, number: SegmentNumber) {
        self.segments.remove(&number);
        self.asked.remove(&number);
    }

    /// The open file at a path.
    pub(crate) fn node(&self, path: &str) -> Option<Arc<Node>> {
        self.nodes.get(path)?.upgrade()
    }

    /// The place of a drive in the list of members.
    pub(crate) fn index_of(&self, drive: DriveUuid) -> Option<usize> {
        self.record.members.iter().position(|entry| entry.drive == drive)
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    pub(crate) fn draw_epoch(&self) -> EpochId {
        EpochId::draw(&*self.world.entropy)
    }
}

impl fmt::Debug for DriveSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state();
        f.debug_struct("DriveSet").field("epoch", &state.record.epoch()).finish_non_exhaustive()
    }
}

/// A lock whose holder panicked guards values that are whole between any two statements.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error of a file of which nothing is left.
pub(crate) fn no_copy(operation: Operation, path: &str) -> DiskError {
    let source = std::io::Error::other("no drive that holds it is in service");
    DiskError::failed(operation, path, source)
}
