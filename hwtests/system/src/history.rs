//! A source that changes from backup to backup, and what each of its points has to restore.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::program::{Running, expect};
use crate::site::Site;
use crate::tree::{Dice, Snapshot, noise};

/// Files that come and go, one for each backup at most.
const FILES: u64 = 12;

/// A changing tree and its points.
#[derive(Debug)]
pub struct History {
    tree: PathBuf,
    dice: Dice,
    kept: BTreeMap<String, Snapshot>,
}

impl History {
    /// A tree in the folder of a site, protected by its agent and backed up once.
    pub fn begin(site: &Site, seed: u64) -> Result<Self> {
        let tree = site.path("files");
        fs::create_dir_all(tree.join("some/where"))?;
        std::os::unix::fs::symlink("some/where", tree.join("link"))?;
        let mut history = Self { tree, dice: Dice::new(seed), kept: BTreeMap::new() };
        site.protect(&history.tree)?;
        history.change()?;
        expect(&mut site.agent(&["backup"])?, 0)?;
        history.settle(site, true)?;
        Ok(history)
    }

    /// Random numbers of this history.
    pub const fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    /// How many points have been acknowledged or found.
    #[must_use]
    pub fn points(&self) -> usize {
        self.kept.len()
    }

    /// Changes the tree: makes or replaces, grows, moves and removes.
    pub fn change(&mut self) -> Result<()> {
        let (number, seed) = (self.dice.below(FILES), self.dice.next());
        let length = usize::try_from(self.dice.below(4 << 20)).context("four megabytes fit")?;
        fs::write(self.tree.join(format!("some/{number}")), noise(seed, length))?;
        fs::write(self.tree.join("some/where/text"), format!("{seed}\n").repeat(length / 100))?;
        for name in 0..self.dice.below(20) {
            fs::write(self.tree.join(format!("some/where/{name}")), format!("{seed} {name}"))?;
        }
        let (from, to) = (self.tree.join("some/3"), self.tree.join(format!("some/where/was-3-{}", seed % 4)));
        if from.exists() {
            fs::rename(from, to)?;
        }
        if let Err(error) = fs::remove_file(self.tree.join(format!("some/{}", self.dice.below(FILES))))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error.into());
        }
        Ok(())
    }

    /// How long an undisturbed backup takes, from the start of the agent to its end.
    pub fn measure(&mut self, site: &Site) -> Result<Duration> {
        let mut all = Vec::new();
        for _ in 0..5 {
            self.change()?;
            let begun = Instant::now();
            expect(&mut site.agent(&["backup"])?, 0)?;
            all.push(begun.elapsed());
            self.settle(site, true)?;
        }
        all.sort_unstable();
        all.get(all.len() / 2).copied().context("some backups were measured")
    }

    /// Changes the tree and starts a backup of it.
    pub fn start_backup(&mut self, site: &Site) -> Result<Running> {
        self.change()?;
        Running::start(&mut site.agent(&["backup"])?)
    }

    /// A random moment between now and `end` from now.
    pub fn moment(&mut self, end: Duration) -> Duration {
        let micros = u64::try_from(end.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.dice.below(micros))
    }

    /// Looks what a backup of the tree as it is has left behind: every point from before, and at most one that is
    /// new, which must be there if the backup was `acknowledged`.
    pub fn settle(&mut self, site: &Site, acknowledged: bool) -> Result<()> {
        self.settle_tries(site, acknowledged, 1)
    }

    /// The same after a backup that was tried so many times, each of which may have made a point.
    pub fn settle_tries(&mut self, site: &Site, acknowledged: bool, tries: usize) -> Result<()> {
        let points = site.points()?;
        for id in self.kept.keys() {
            ensure!(points.contains(id), "point {id} was acknowledged and is gone; there are {points:?}");
        }
        let new: Vec<&String> = points.iter().filter(|id| !self.kept.contains_key(*id)).collect();
        ensure!(new.len() <= tries, "{tries} tries have made the points {new:?}");
        ensure!(!acknowledged || !new.is_empty(), "a backup was acknowledged and made no point");
        for id in new {
            self.kept.insert(id.clone(), Snapshot::of(&self.tree)?);
            self.check(site, id)?;
        }
        Ok(())
    }

    /// Restores a point and compares it with what the tree was.
    fn check(&self, site: &Site, id: &str) -> Result<()> {
        let expected = self.kept.get(id).context("the point is known")?;
        let restored = Snapshot::of(&site.restore(id, &self.tree)?)?;
        let difference = expected.difference(&restored);
        ensure!(difference.is_none(), "point {id} restores {difference:?} differently");
        Ok(())
    }

    /// Restores every point of a pool that may be damaged, as far as it can be: nothing that is there may be wrong,
    /// and what is not there must be told. Whether all of it was there.
    pub fn restore_what_can_be(&self, site: &Site, context: &str) -> Result<bool> {
        let mut whole = true;
        self.restore_each(site, context, |_, _, _, is_whole| whole &= is_whole)?;
        Ok(whole)
    }

    /// The same; `see` is told of each point its id, what it was, what is there again, and whether that is said to be all.
    fn restore_each<'a>(
        &'a self,
        site: &Site,
        context: &str,
        mut see: impl FnMut(&'a str, &'a Snapshot, &Snapshot, bool),
    ) -> Result<()> {
        for (id, expected) in &self.kept {
            let (restored, output) = site.try_restore(id, &self.tree)?;
            let restored = if restored.exists() { Snapshot::of(&restored)? } else { Snapshot::default() };
            let stranger = expected.stranger(&restored);
            ensure!(stranger.is_none(), "{context}: point {id} restores {stranger:?} wrongly");
            match output.status.code() {
                Some(0) => {
                    ensure!(expected.difference(&restored).is_none(), "{context}: point {id} lacks something")
                }
                Some(1 | 3) => ensure!(!output.stderr.is_empty(), "{context}: nothing was said"),
                _ => bail!("{context}: {output:?}"),
            }
            see(id, expected, &restored, output.status.success());
        }
        Ok(())
    }

    /// What does not restore as it was, by point: paths as they are on the machine. What restores is right.
    pub fn lost(&self, site: &Site) -> Result<BTreeMap<String, BTreeSet<PathBuf>>> {
        let mut lost = BTreeMap::new();
        self.restore_each(site, "what is lost", |id, expected, restored, _| {
            let paths = expected.missing_in(restored).map(|path| self.tree.join(path));
            lost.insert(id.to_owned(), paths.collect());
        })?;
        Ok(lost)
    }

    /// Restores and compares every point.
    pub fn check_all(&self, site: &Site) -> Result<()> {
        self.kept.keys().try_for_each(|id| self.check(site, id))
    }

    /// What must be so in the end: a backup finishes, every point restores, and nothing in the pool is damaged.
    pub fn conclude(&mut self, site: &Site) -> Result<()> {
        self.change()?;
        expect(&mut site.agent(&["backup"])?, 0)?;
        self.settle(site, true)?;
        self.check_all(site)?;
        site.verify()
    }
}
