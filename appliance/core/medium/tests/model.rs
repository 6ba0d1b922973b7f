//! The simulated disk against a model that is too simple to be wrong: for every sector, length and name,
//! the set of values that it had since its last sync. After a crash each must hold one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use medium::sim::{Random, SimDisk, Survival};
use medium::{Access, Disk, File};
use proptest::prelude::*;

const SECTOR: usize = 512;
const PATHS: [&str; 4] = ["a", "b", "d/a", "d/b"];

#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Write { path: usize, sector: usize, count: usize },
    Length { path: usize, sectors: usize },
    Sync(usize),
    Rename(usize, usize),
    Remove(usize),
    SyncDirectory(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let path = || 0..PATHS.len();
    prop_oneof![
        4 => path().prop_map(Step::Create),
        8 => (path(), 0..6_usize, 1..4_usize)
            .prop_map(|(path, sector, count)| Step::Write { path, sector, count }),
        2 => (path(), 0..6_usize).prop_map(|(path, sectors)| Step::Length { path, sectors }),
        4 => path().prop_map(Step::Sync),
        3 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => path().prop_map(Step::Remove),
        3 => any::<bool>().prop_map(Step::SyncDirectory),
    ]
}

/// A file: a tag for each sector as the program sees it, and what a crash may leave.
#[derive(Clone, Default)]
struct Model {
    live: Vec<u8>,
    durable: Vec<u8>,
    possible: BTreeMap<usize, BTreeSet<u8>>,
    lengths: BTreeSet<usize>,
}

impl Model {
    fn new() -> Self {
        Self { lengths: [0].into(), ..Self::default() }
    }

    /// After a change: the present state is possible, and absence reads as zeros.
    fn note(&mut self) {
        self.lengths.insert(self.live.len());
        for sector in 0..16 {
            let tag = self.live.get(sector).copied().unwrap_or(0);
            self.possible.entry(sector).or_default().insert(tag);
        }
    }

    fn sync(&mut self) {
        self.durable = self.live.clone();
        (self.possible, self.lengths) = Default::default();
        self.note();
    }

    /// Why the bytes cannot be what a crash left, if they cannot.
    fn objection(&self, bytes: &[u8]) -> Option<String> {
        if !bytes.len().is_multiple_of(SECTOR) || !self.lengths.contains(&(bytes.len() / SECTOR)) {
            return Some(format!("length {} is none of {:?}", bytes.len(), self.lengths));
        }
        bytes.chunks(SECTOR).enumerate().find_map(|(sector, bytes)| {
            let possible = self.possible.get(&sector).cloned().unwrap_or_default();
            // What was on the platter before shows only where no byte was durable and a write was lost.
            let stale = sector >= self.durable.len() && possible.iter().any(|tag| *tag != 0);
            let whole = bytes.iter().all(|b| *b == bytes[0]) && possible.contains(&bytes[0]);
            (!whole && !stale).then(|| format!("sector {sector} holds {} of {possible:?}", bytes[0]))
        })
    }
}

/// The disk and the model side by side.
struct Pair {
    disk: SimDisk,
    files: Vec<Model>,
    names: BTreeMap<usize, usize>,
    /// For each path, every file it led to since its directory was synced.
    possible: BTreeMap<usize, BTreeSet<Option<usize>>>,
    tag: u8,
}

impl Pair {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        disk.make_directory("d").expect("no fault is planned");
        disk.sync_directory("").expect("no fault is planned");
        let mut pair =
            Self { disk, files: Vec::new(), names: BTreeMap::new(), possible: BTreeMap::new(), tag: 0 };
        pair.note();
        pair
    }

    fn note(&mut self) {
        for path in 0..PATHS.len() {
            self.possible.entry(path).or_default().insert(self.names.get(&path).copied());
        }
    }

    /// The open file and its model, if the path leads to one.
    fn file(&mut self, path: usize) -> Option<(Arc<dyn File>, &mut Model)> {
        let opened = self.disk.open(PATHS[path], Access::ReadWrite);
        let node = self.names.get(&path);
        assert_eq!(opened.is_ok(), node.is_some(), "{}", PATHS[path]);
        Some((opened.ok()?, &mut self.files[*node?]))
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Create(path) => {
                let created = self.disk.create(PATHS[path]).is_ok();
                assert_eq!(created, !self.names.contains_key(&path));
                if created {
                    self.names.insert(path, self.files.len());
                    self.files.push(Model::new());
                }
            }
            Step::Write { path, sector, count } => {
                self.tag = self.tag % 250 + 1;
                let tag = self.tag;
                if let Some((file, model)) = self.file(path) {
                    file.write_at((sector * SECTOR) as u64, &vec![tag; count * SECTOR])
                        .expect("no fault is planned");
                    model.live.resize(model.live.len().max(sector + count), 0);
                    model.live[sector..sector + count].fill(tag);
                    model.note();
                }
            }
            Step::Length { path, sectors } => {
                if let Some((file, model)) = self.file(path) {
                    file.set_length((sectors * SECTOR) as u64).expect("no fault is planned");
                    model.live.resize(sectors, 0);
                    model.note();
                }
            }
            Step::Sync(path) => {
                if let Some((file, model)) = self.file(path) {
                    file.sync_data().expect("no fault is planned");
                    model.sync();
                }
            }
            Step::Rename(from, to) => {
                let renamed = self.disk.rename(PATHS[from], PATHS[to]).is_ok();
                assert_eq!(renamed, self.names.contains_key(&from));
                if let Some(node) = self.names.remove(&from) {
                    self.names.insert(to, node);
                }
            }
            Step::Remove(path) => {
                assert_eq!(self.disk.remove(PATHS[path]).is_ok(), self.names.remove(&path).is_some());
            }
            Step::SyncDirectory(nested) => {
                self.disk.sync_directory(if nested { "d" } else { "" }).expect("no fault is planned");
                for path in (0..PATHS.len()).filter(|path| PATHS[*path].starts_with("d/") == nested) {
                    self.possible.remove(&path);
                }
            }
        }
        self.note();
    }

    /// Checks what is left after a crash of this kind.
    fn check(&self, survival: Survival, seed: u64) -> Result<(), TestCaseError> {
        let image = self.disk.image(survival, &mut Random::new(seed)).files();
        for (path, name) in PATHS.iter().enumerate() {
            let found = image.get(*name);
            let objections: Vec<String> = self.possible[&path]
                .iter()
                .filter_map(|node| match (node, found) {
                    (None, None) => None,
                    (Some(node), Some(bytes)) => self.files[*node].objection(bytes),
                    (Some(_), None) => Some("is lost".into()),
                    (None, Some(_)) => Some("should not be there".into()),
                })
                .collect();
            prop_assert!(
                objections.len() < self.possible[&path].len(),
                "{survival:?} seed {seed}: {name}: {objections:?}\n{}",
                self.disk.log().join("\n")
            );
        }
        Ok(())
    }

    fn live(&self) -> BTreeMap<String, Vec<u8>> {
        let bytes = |node: usize| self.files[node].live.iter().flat_map(|tag| [*tag; SECTOR]).collect();
        self.names.iter().map(|(path, node)| (PATHS[*path].to_owned(), bytes(*node))).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_leaves_only_what_was_possible(
        steps in prop::collection::vec(step(), 1..40),
        seed in any::<u64>(),
    ) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.apply(step);
            prop_assert_eq!(pair.disk.files(), pair.live());
        }
        for survival in Survival::ALL {
            for more in 0..4 {
                pair.check(survival, seed.wrapping_add(more))?;
            }
        }
        let everything = pair.disk.image(Survival::Everything, &mut Random::new(seed));
        prop_assert_eq!(everything.files(), pair.live());
    }

    #[test]
    fn what_was_synced_survives_exactly(
        steps in prop::collection::vec(step(), 1..40),
        seed in any::<u64>(),
    ) {
        let mut pair = Pair::new();
        steps.iter().for_each(|step| pair.apply(step));
        for path in 0..PATHS.len() {
            pair.apply(&Step::Sync(path));
        }
        pair.apply(&Step::SyncDirectory(true));
        pair.apply(&Step::SyncDirectory(false));
        for survival in Survival::ALL {
            let image = pair.disk.image(survival, &mut Random::new(seed));
            prop_assert_eq!(image.files(), pair.live(), "{:?}", survival);
        }
    }
}
