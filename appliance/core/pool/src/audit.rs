//! Counting everything anew from the trees, and comparing it with what the catalog says. They agree exactly, or there
//! is an error in this program or damage that nobody has noticed.
//!
//! Memory does not grow with the pool: names are counted range by range, and the trees are walked for each range.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use medium::Demand;
use model::archive::PointKey;
use model::item::{Extent, Item};
use model::{Name, SegmentNumber, SourceId};
use tree::{Birth, ItemTree, Root};

use crate::PoolError;
use crate::archive::tree_error;
use crate::catalog::{Entry, Holders, Use};
use crate::counting::Counted;
use crate::placing::demand_of;
use crate::pool::Pool;
use crate::state::Shared;

/// Names that are counted at a time.
const NAMES_MAX: u64 = 4 << 20;
/// Births that are counted at a time.
const BIRTHS_MAX: usize = 50_000;
/// Most lines of what is wrong.
const WRONG_MAX: usize = 1000;

/// What a recount found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Points that were counted.
    pub points: u64,
    /// Chunks that were compared.
    pub chunks: u64,
    /// Pages that were compared.
    pub pages: u64,
    /// Segments whose figures were compared.
    pub segments: u64,
    /// Where the catalog says something else, in words.
    pub wrong: Vec<String>,
    /// How often it does.
    pub wrong_count: u64,
}

impl Audit {
    fn expect<T: PartialEq + std::fmt::Display>(
        &mut self,
        what: impl FnOnce() -> String,
        stated: &T,
        found: &T,
    ) {
        if stated == found {
            return;
        }
        self.wrong_count += 1;
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(format!("{}: the catalog says {stated}, the trees say {found}", what()));
        }
    }
}

/// References to a name, whose they are, and how these want it kept.
#[derive(Default)]
struct Found {
    references: u64,
    holders: Holders,
    demand: Demand,
}

/// What was found by name, of chunks and of pages.
type Counts = [HashMap<Name, Found>; 2];

/// Sums over what is live, as it was found.
#[derive(Default)]
struct Sums {
    segments: BTreeMap<SegmentNumber, u64>,
    sources: BTreeMap<SourceId, u64>,
    demands: BTreeMap<SegmentNumber, Demand>,
}

impl Pool {
    /// Counts everything that is left to count, then all of it anew.
    ///
    /// # Errors
    /// A page that cannot be read.
    pub fn audit(&mut self) -> Result<Audit, PoolError> {
        while self.count(BIRTHS_MAX)? == Counted::More {}
        // Points that a read failed of are tried again.
        for _ in 0..2 {
            while self.place(BIRTHS_MAX)? == Counted::More {}
        }
        self.commit(Vec::new())?;
        self.flush_catalog()?;
        let shared = Arc::clone(self.shared());
        let rows = rows(&shared)?;
        let mut audit = Audit { points: rows.values().map(|row| row.len() as u64).sum(), ..Audit::default() };
        let entries = {
            let state = shared.state();
            state.catalog()?.chunk_count()? + state.catalog()?.page_count()?
        };
        let passes = u16::try_from(entries.div_ceil(NAMES_MAX).max(1)).unwrap_or(u16::MAX);
        let mut sums = Sums::default();
        for pass in 0..passes {
            let range = Range::of(pass, passes);
            let counts = count_rows(&shared, &rows, range)?;
            compare(&shared, range, counts, &mut sums, &mut audit)?;
        }
        let segments: Vec<(SegmentNumber, Use)> = shared.state().catalog()?.segments()?;
        for (segment, used) in segments {
            audit.segments += 1;
            let found = sums.segments.remove(&segment).unwrap_or(0);
            audit.expect(|| format!("bytes that are in use of segment {segment}"), &used.live, &found);
        }
        for (segment, found) in sums.segments {
            audit.expect(|| format!("bytes that are in use of segment {segment}"), &0, &found);
        }
        let demands = shared.state().catalog()?.demands()?;
        for (segment, found) in sums.demands {
            let stated = demands.get(&segment).copied().unwrap_or_default();
            let what = || format!("segment {segment} is kept as is wanted by all who have something in it");
            audit.expect(what, &stated.covers(found), &true);
        }
        let mut stated = shared.sources_in_use()?;
        stated.retain(|_, used| used.own_bytes > 0);
        let all: BTreeSet<SourceId> = stated.keys().chain(sums.sources.keys()).copied().collect();
        for source in all {
            let stated = stated.get(&source).map_or(0, |used| used.own_bytes);
            let found = sums.sources.get(&source).copied().unwrap_or(0);
            audit.expect(|| format!("bytes that only source {source} holds"), &stated, &found);
        }
        Ok(audit)
    }
}

/// Names by their first two bytes.
#[derive(Clone, Copy)]
struct Range {
    first: u32,
    end: u32,
}

impl Range {
    fn of(pass: u16, passes: u16) -> Self {
        let bound = |pass: u32| (pass << 16) / u32::from(passes);
        Self { first: bound(u32::from(pass)), end: bound(u32::from(pass) + 1) }
    }

    fn has(self, name: &Name) -> bool {
        let head = u32::from(name.0[0]) << 8 | u32::from(name.0[1]);
        (self.first..self.end).contains(&head)
    }

    fn start(self) -> Name {
        let mut name = [0; Name::LENGTH];
        let [_, _, high, low] = self.first.to_be_bytes();
        name[..2].copy_from_slice(&[high, low]);
        Name(name)
    }
}

/// The trees of the counted points of each source, oldest first.
fn rows(shared: &Shared) -> Result<BTreeMap<SourceId, Vec<Root>>, PoolError> {
    let state = shared.state();
    let mut rows: BTreeMap<SourceId, Vec<Root>> = BTreeMap::new();
    for PointKey { source, number } in &state.counted {
        rows.entry(*source).or_default().push(state.root_in_row(*source, Some(*number))?);
    }
    Ok(rows)
}

fn count_rows(
    shared: &Arc<Shared>,
    rows: &BTreeMap<SourceId, Vec<Root>>,
    range: Range,
) -> Result<Counts, PoolError> {
    let mut counts = Counts::default();
    for (source, row) in rows {
        let demand = shared.registry(|registry| demand_of(registry, *source));
        let mut before = Root::EMPTY;
        for after in row {
            for birth in ItemTree::default().births(Arc::clone(shared), &before, after) {
                let (kind, name) = match birth.map_err(tree_error)? {
                    Birth::Page(name) => (1, name),
                    Birth::Item(_, Item::Extent(Extent::Chunk { name, .. })) => (0, name),
                    Birth::Item(..) => continue,
                };
                if range.has(&name) {
                    let found = counts[kind].entry(name).or_default();
                    found.references += 1;
                    if kind == 0 {
                        found.holders.add(*source, 1);
                        found.demand.join(demand);
                    }
                }
            }
            before = *after;
        }
    }
    Ok(counts)
}

/// Compares what was counted with the entries of the catalog, and sums up what is live.
fn compare(
    shared: &Shared,
    range: Range,
    counts: Counts,
    sums: &mut Sums,
    audit: &mut Audit,
) -> Result<(), PoolError> {
    for (kind, mut counts) in counts.into_iter().enumerate() {
        let what = if kind == 0 { "chunk" } else { "page" };
        let mut compared = 0;
        let look = &mut |name: Name, entry: Entry| {
            if !range.has(&name) {
                return ControlFlow::Break(());
            }
            compared += 1;
            let Found { references, holders, demand } = counts.remove(&name).unwrap_or_default();
            audit.expect(
                || format!("references to {what} {name}"),
                &u64::from(entry.references),
                &references,
            );
            audit.expect(|| format!("who holds {what} {name}"), &entry.holders, &holders);
            if let Some((segment, length)) = entry.live() {
                *sums.segments.entry(segment).or_default() += length;
                sums.demands.entry(segment).or_default().join(demand);
            }
            if let Some((source, length)) = entry.own() {
                *sums.sources.entry(source).or_default() += length;
            }
            ControlFlow::Continue(())
        };
        let state = shared.state();
        match kind {
            0 => state.catalog()?.each_chunk(range.start(), look)?,
            _ => state.catalog()?.each_page(range.start(), look)?,
        }
        for (name, found) in counts {
            audit.expect(|| format!("references to {what} {name}"), &0, &found.references);
        }
        *(if kind == 0 { &mut audit.chunks } else { &mut audit.pages }) += compared;
    }
    Ok(())
}
