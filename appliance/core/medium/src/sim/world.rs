//! The state behind a simulated disk, and the door that every counted call goes through.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::fault::{Fault, FaultPlan};
use super::file::FileState;
use super::log::{Line, Log};
use super::names::{Names, Node};
use super::random::Random;
use crate::{DiskError, Operation};

/// Bytes of a disk that is given no other capacity.
const CAPACITY_BYTES: u64 = 1 << 30;

/// Everything about a simulated disk.
#[derive(Debug)]
pub(super) struct World {
    pub(super) names: Names,
    pub(super) files: BTreeMap<Node, FileState>,
    pub(super) locks: BTreeSet<Node>,
    pub(super) capacity_bytes: u64,
    pub(super) operations: u64,
    pub(super) reads: u64,
    pub(super) faults: Vec<FaultPlan>,
    pub(super) crashed: bool,
    pub(super) random: Random,
    pub(super) log: Log,
    node_last: u64,
}

/// What a counted call has to do besides its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Do it.
    Proceed,
    /// Fail with EIO.
    Fail,
    /// Put down the first part, then fail with EIO.
    Short,
    /// Put down any sectors, then fail with EIO.
    Torn,
    /// Report success without effect.
    Lie,
}

impl World {
    pub(super) fn new(random: Random) -> Self {
        Self {
            names: Names::default(),
            files: BTreeMap::new(),
            locks: BTreeSet::new(),
            capacity_bytes: CAPACITY_BYTES,
            operations: 0,
            reads: 0,
            faults: Vec::new(),
            crashed: false,
            random,
            log: Log::default(),
            node_last: 0,
        }
    }

    /// The disk of `before` with this content, as after a boot.
    pub(super) fn restarted(
        before: &Self,
        names: Names,
        files: BTreeMap<Node, FileState>,
        random: Random,
    ) -> Self {
        Self {
            names,
            files,
            capacity_bytes: before.capacity_bytes,
            node_last: before.node_last,
            ..Self::new(random)
        }
    }

    /// The same content and pending changes, held by nobody.
    pub(super) fn copied(&self) -> Self {
        let mut files = self.files.clone();
        files.values_mut().for_each(|file| file.handles = 0);
        let names = self.names.clone();
        Self {
            operations: self.operations,
            reads: self.reads,
            ..Self::restarted(self, names, files, self.random.clone())
        }
    }

    /// Counts and logs a change, a sync or a read, and says what becomes of it.
    pub(super) fn begin(
        &mut self,
        operation: Operation,
        path: &Arc<str>,
        range: Option<(u64, u64)>,
    ) -> Result<Verdict, DiskError> {
        self.check_power(operation, path)?;
        let counter = if operation == Operation::Read { &mut self.reads } else { &mut self.operations };
        *counter += 1;
        let number = *counter;
        if operation != Operation::Read {
            self.log.push(Line { number, operation, path: path.clone(), range, outcome: None });
        }
        let Some(index) = self.faults.iter().position(|plan| plan.fits(operation, number, path)) else {
            return Ok(Verdict::Proceed);
        };
        let fault = self.faults[index].fault;
        if !self.faults[index].lasting {
            self.faults.remove(index);
        }
        if operation == Operation::Read {
            self.log.push(Line { number, operation, path: path.clone(), range, outcome: None });
        }
        self.strike(fault, operation, path)
    }

    fn strike(&mut self, fault: Fault, operation: Operation, path: &str) -> Result<Verdict, DiskError> {
        let (outcome, verdict) = match fault {
            Fault::Error => ("fails", Verdict::Fail),
            Fault::ShortWrite => ("is short", Verdict::Short),
            Fault::TornWrite => ("is torn", Verdict::Torn),
            Fault::LyingSync => ("lies", Verdict::Lie),
            Fault::NoSpace => {
                self.log.outcome("finds no space");
                return Err(no_space(operation, path));
            }
            Fault::Crash => {
                self.log.outcome("never happens, the machine has crashed");
                self.crashed = true;
                return Err(DiskError::Crashed { operation, path: path.to_owned() });
            }
        };
        self.log.outcome(outcome);
        Ok(verdict)
    }

    /// Fails once the machine has crashed.
    pub(super) fn check_power(&self, operation: Operation, path: &str) -> Result<(), DiskError> {
        if self.crashed {
            return Err(DiskError::Crashed { operation, path: path.to_owned() });
        }
        Ok(())
    }

    /// A number for a new file or directory.
    pub(super) fn next_node(&mut self) -> Node {
        self.node_last += 1;
        Node(self.node_last)
    }

    /// Forgets files that no name leads to, none will lead to after a crash, and nobody has open.
    pub(super) fn collect(&mut self) {
        let nodes = self.names.nodes();
        self.files.retain(|node, file| file.handles > 0 || nodes.contains(node));
    }

    /// Whether this many more bytes fit.
    pub(super) fn has_room(&self, growth: u64) -> bool {
        let fits = |used: u64| used.saturating_add(growth) <= self.capacity_bytes;
        let all = self.files.values().map(|file| file.live().allocated()).sum();
        growth == 0 || fits(all) || fits(self.used_bytes())
    }

    /// Bytes in use by files that have a name or are open.
    pub(super) fn used_bytes(&self) -> u64 {
        let named: BTreeSet<Node> = self.names.named().collect();
        let used = self.files.iter().filter(|(node, file)| file.handles > 0 || named.contains(node));
        used.map(|(_, file)| file.live().allocated()).sum()
    }
}

/// EIO, with its place.
pub(super) fn io_error(operation: Operation, path: &str) -> DiskError {
    const EIO: i32 = 5;
    DiskError::failed(operation, path, io::Error::from_raw_os_error(EIO))
}

/// ENOSPC, with its place.
pub(super) fn no_space(operation: Operation, path: &str) -> DiskError {
    const ENOSPC: i32 = 28;
    DiskError::failed(operation, path, io::Error::from_raw_os_error(ENOSPC))
}
