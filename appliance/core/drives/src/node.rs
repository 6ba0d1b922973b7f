//! A file that somebody has open, whatever its name: who has copies of it, and what is not durable yet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use medium::File;

use crate::layout::Class;
use crate::member::Member;
use crate::set::locked;

/// An open file.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) class: Class,
    /// Grows when a copy is added or removed.
    generation: AtomicU64,
    state: Mutex<NodeState>,
}

/// What changes about an open file.
#[derive(Debug, Default)]
pub(crate) struct NodeState {
    pub(crate) path: String,
    /// Who has a whole copy, among them some that are out of service since.
    pub(crate) holders: Vec<Holder>,
    /// Handles that may write.
    pub(crate) writers: u32,
    /// Something was written since the last sync.
    pub(crate) unsynced: bool,
    /// A failure left the copies different.
    pub(crate) uneven: bool,
    /// It has no name any more.
    pub(crate) removed: bool,
    /// A copy that is being made while the file is written.
    pub(crate) growing: Option<Growing>,
}

/// A member with a whole copy.
#[derive(Debug)]
pub(crate) struct Holder {
    member: Arc<Member>,
    /// The generation of the file from which on it has this copy. One that was removed and made again is another file,
    /// and who has the first one open would write to what has no name.
    since: u64,
}

/// A copy that is being made.
#[derive(Clone, Debug)]
pub(crate) struct Growing {
    pub(crate) file: Arc<dyn File>,
}

impl Node {
    pub(crate) fn new(class: Class, path: &str, holders: Vec<Arc<Member>>) -> Arc<Self> {
        let holders = holders.into_iter().map(|member| Holder { member, since: 0 }).collect();
        let state = NodeState { path: path.to_owned(), holders, ..NodeState::default() };
        Arc::new(Self { class, generation: AtomicU64::new(0), state: Mutex::new(state) })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, NodeState> {
        locked(&self.state)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Enters a member that has a whole copy from here on.
    pub(crate) fn add_holder(&self, state: &mut NodeState, member: Arc<Member>) {
        let since = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        state.holders.push(Holder { member, since });
    }

    /// Strikes out a member that has none any more.
    pub(crate) fn remove_holder(&self, state: &mut NodeState, index: usize) {
        state.holders.retain(|holder| holder.member.index != index);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

impl NodeState {
    /// Members in service with a whole copy.
    pub(crate) fn serving(&self) -> Vec<Arc<Member>> {
        let members = self.holders.iter().map(|holder| &holder.member);
        members.filter(|member| member.serves()).cloned().collect()
    }

    /// The generation from which on a member has its copy, if it has one.
    pub(crate) fn since(&self, member: &Arc<Member>) -> Option<u64> {
        self.holders.iter().find(|holder| Arc::ptr_eq(&holder.member, member)).map(|holder| holder.since)
    }
}
