//! A source with a tiny tree, some of which changes every day.

use std::collections::BTreeMap;

use chunk::{BundleLimits, Compressor, Decompressor, Level, VerifiedBuilder};
use medium::sim::Random;
use model::item::{Attributes, Extent, FileKind, Inode, Item, ItemKey};
use model::record::{Source, Totals};
use model::{DomainId, EntryName, Name, ObjectId, SequenceNumber, Time};
use pool::archive::{tree_error, tree_root};
use pool::{NewPoint, Pool, PoolError};
use retention::{Policy, Workload};
use tree::{ItemTree, Root};

/// Bytes of a file, which is one chunk.
pub(crate) const FILE_BYTES: u64 = 2048;

/// What a source is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nature {
    pub(crate) policy: &'static str,
    /// Files that it has.
    pub(crate) files: u64,
    /// Files that change each day; those that are written again and again come first.
    pub(crate) hot: u64,
    /// Files that change each day, of all the others, the one that is oldest first.
    pub(crate) cold: u64,
}

impl Nature {
    pub(crate) fn of(number: u64) -> Self {
        let policy = match number % 5 {
            0 => "daily=30 weekly=12 monthly=12 floor-points=3 floor-age=7d",
            1 => "floor-points=5 floor-age=14d",
            2 => "daily=14 weekly=8 floor-points=2 floor-age=3d",
            3 => "last=60 yearly=all floor-points=3 floor-age=10d",
            _ => "floor-points=3 floor-age=7d quota=160KiB",
        };
        Self { policy, files: 10 + number % 7 * 5, hot: 1 + number % 3, cold: number % 2 }
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::parse(self.policy).expect("a policy")
    }

    /// The same as a model.
    pub(crate) fn workload(&self) -> Workload {
        let changed = self.hot + self.cold;
        Workload {
            first_bytes: self.files * FILE_BYTES,
            points_by_day: vec![1],
            new_bytes: changed * FILE_BYTES,
            replaced_bytes: changed * FILE_BYTES,
            young_share: u16::try_from(self.hot * 1000 / changed).expect("thousandths"),
        }
    }
}

/// A source and what its newest point has.
pub(crate) struct Sender {
    pub(crate) source: Source,
    pub(crate) nature: Nature,
    domain: DomainId,
    /// The point that is acknowledged last, and its tree.
    pub(crate) newest: u64,
    root: Root,
    next_cold: u64,
}

impl Sender {
    pub(crate) fn new(source: Source, domain: DomainId) -> Self {
        let nature = Nature::of(source.id.0);
        Self { source, nature, domain, newest: 0, root: Root::EMPTY, next_cold: 0 }
    }

    /// Sends what changed as a point.
    pub(crate) fn send(&mut self, pool: &mut Pool, random: &mut Random) -> Result<(), PoolError> {
        let naming = pool.shared().keys().naming(self.domain);
        let mut changed: Vec<u64> = (0..self.nature.hot).collect();
        let cold = self.nature.files - self.nature.hot;
        changed.extend((0..self.nature.cold).map(|at| self.nature.hot + (self.next_cold + at) % cold));
        let is_first = self.newest == 0;
        if is_first {
            changed = (0..self.nature.files).collect();
        }
        let mut builder = VerifiedBuilder::new(BundleLimits::default());
        let mut items = BTreeMap::new();
        if is_first {
            items.insert(ItemKey::inode(ObjectId::ROOT), inode(FileKind::Directory, 0));
        }
        for file in changed {
            let mut bytes = vec![0; usize::try_from(FILE_BYTES).expect("few")];
            random.fill(&mut bytes);
            let name = builder.push(&naming, &bytes)?;
            items.extend(file_items(file, name));
        }
        let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
        let bundle = builder.finish(&mut compressor, &mut decompressor, Level::default())?;
        pool.put_bundle(&pool.shared().begin_session(), self.source.machine, self.source.id, bundle)?;
        let items = items.into_iter().map(|(key, item)| (key, Some(item)));
        let root = ItemTree::default().apply(pool, &self.root, items).map_err(tree_error)?.root;
        let now = pool.shared().clock().now();
        let point = pool.commit_point(NewPoint {
            source: self.source.id,
            sequence: SequenceNumber(self.newest + 1),
            started: Time(1),
            finished: now,
            root,
            totals: Totals::default(),
            exceptions: Vec::new(),
            exceptions_count: 0,
        })?;
        (self.newest, self.root) = (point.number, root);
        self.next_cold += self.nature.cold;
        Ok(())
    }

    /// After a crash: goes on from the newest point that there is. Whether there is one more than was acknowledged.
    pub(crate) fn resume(&mut self, pool: &Pool) -> bool {
        let newest =
            pool.shared().registry(|registry| registry.points_of(self.source.id).next_back().cloned());
        let number = newest.as_ref().map_or(0, |point| point.number);
        assert!((self.newest..=self.newest + 1).contains(&number), "point {number} after {}", self.newest);
        let is_more = number > self.newest;
        if let Some(point) = newest.filter(|_| is_more) {
            (self.newest, self.root) = (number, tree_root(&point).expect("a root"));
            self.next_cold += self.nature.cold;
        }
        is_more
    }
}

fn inode(kind: FileKind, size: u64) -> Item {
    Item::Inode(Inode { attributes: Attributes::new(kind, 0o644), size, stored: size, links: 1 })
}

fn file_items(file: u64, name: Name) -> [(ItemKey, Item); 3] {
    let object = ObjectId(ObjectId::ROOT.0 + 1 + file);
    let entry = EntryName::new(format!("file {file}").as_bytes()).expect("a name");
    let length = u32::try_from(FILE_BYTES).expect("a chunk");
    [
        (ItemKey::entry(ObjectId::ROOT, entry), Item::Entry(object, FileKind::File)),
        (ItemKey::inode(object), inode(FileKind::File, FILE_BYTES)),
        (ItemKey::extent(object, 0), Item::Extent(Extent::Chunk { name, skip: 0, length })),
    ]
}
