//! Adding machines, sources, settings and points.

use model::record::{Exception, Label, Machine, Point, Source, Totals, TreeRoot, fit_exceptions};
use model::{DomainId, MachineId, SequenceNumber, SourceId, Time};
use tree::Root;

use crate::PoolError;
use crate::pool::Pool;
use crate::record::Record;
use crate::{notes, placing, reclaim};

/// Longest record, in bytes: one frame holds it, and the mark of its commit besides.
const RECORD_LENGTH_MAX: usize = 7 << 19;

/// Whether a setting is one that the pool itself makes.
#[must_use]
pub fn is_reserved(key: &str) -> bool {
    [notes::RESERVED, placing::RESERVED, reclaim::RESERVED].iter().any(|prefix| key.starts_with(prefix))
}

/// Refuses records that no frame would hold; nothing has been written then.
pub(crate) fn check_lengths(records: &[Record]) -> Result<(), PoolError> {
    for record in records {
        let length = minicbor::to_vec(record).map_err(|e| PoolError::Refused(e.to_string()))?.len();
        if length > RECORD_LENGTH_MAX {
            let most = RECORD_LENGTH_MAX;
            return Err(PoolError::Refused(format!("a record of {length} bytes is longer than {most}")));
        }
    }
    Ok(())
}

/// What a new point is made of.
#[derive(Clone, Debug)]
pub struct NewPoint {
    /// Of which source.
    pub source: SourceId,
    /// The last operation that it holds.
    pub sequence: SequenceNumber,
    /// When the agent began to read.
    pub started: Time,
    /// When it was done.
    pub finished: Time,
    /// Its tree.
    pub root: Root,
    /// Its figures.
    pub totals: Totals,
    /// What is not as it should be; the point lists as much of it as a record holds.
    pub exceptions: Vec<Exception>,
    /// How many exceptions there were.
    pub exceptions_count: u64,
}

impl Pool {
    /// The machine of this name; made if there is none, with chunk names of its own if wanted.
    pub fn add_machine(&mut self, label: &Label, own_domain: bool) -> Result<Machine, PoolError> {
        let (known, id) = self.shared().registry(|r| (r.machine(label).cloned(), r.next_machine()));
        if let Some(machine) = known {
            return Ok(machine);
        }
        let domain = if own_domain { DomainId(id.0) } else { DomainId(0) };
        let added = self.shared().world.clock.now();
        let machine = Machine { id, label: label.clone(), domain, added, agent: None };
        self.commit(vec![Record::Machine(machine.clone())])?;
        Ok(machine)
    }

    /// The source of this name; made if there is none.
    pub fn add_source(&mut self, machine: MachineId, label: &Label) -> Result<Source, PoolError> {
        let (known, id) = self.shared().registry(|r| (r.source(machine, label).cloned(), r.next_source()));
        if let Some(source) = known {
            return Ok(source);
        }
        if !self.shared().registry(|r| r.machines.contains_key(&machine)) {
            return Err(PoolError::Missing(format!("machine {machine}")));
        }
        let added = self.shared().world.clock.now();
        let source = Source { id, machine, label: label.clone(), added };
        self.commit(vec![Record::Source(source.clone())])?;
        Ok(source)
    }

    /// Sets or removes a setting.
    ///
    /// # Errors
    /// Also a key that the pool keeps for itself.
    pub fn set_setting(&mut self, key: &str, value: Option<Vec<u8>>) -> Result<(), PoolError> {
        if is_reserved(key) {
            return Err(PoolError::Refused(format!("the setting '{key}' is one that the pool itself makes")));
        }
        self.commit(vec![Record::Setting { key: key.to_owned(), value }])
    }

    /// Makes a point; durable when this returns.
    pub fn commit_point(&mut self, new: NewPoint) -> Result<Point, PoolError> {
        let (number, id) = {
            let state = self.shared().state();
            let base = new.finished.folder_name();
            let taken = |id: &str| state.registry.points_of(new.source).rev().any(|point| point.id == id);
            let again = (2u64..).map(|n| format!("{base}-{n}"));
            let id = std::iter::once(base.clone()).chain(again).find(|id| !taken(id));
            (state.registry.next_point(new.source), id.unwrap_or(base))
        };
        let mut continuity = vec![0; 16];
        self.shared().world.entropy.fill(&mut continuity);
        let mut exceptions = new.exceptions;
        let exceptions_count = new.exceptions_count.max(exceptions.len() as u64);
        fit_exceptions(&mut exceptions);
        let root = TreeRoot { page: new.root.name(), height: new.root.height(), items: new.root.items() };
        let mut point = Point {
            source: new.source,
            number,
            id,
            sequence: new.sequence,
            started: new.started,
            finished: new.finished,
            received: self.shared().world.clock.now(),
            root,
            totals: new.totals,
            exceptions,
            exceptions_count,
            continuity,
            witnessed: self.shared().witnessed(),
        };
        self.commit(vec![Record::Point(Box::new(point.clone()))])?;
        point.exceptions = Vec::new();
        Ok(point)
    }
}
