//! Random changes between backups: each point must be what the folder is.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use proptest::prelude::*;

use crate::world::{World, settle, text, write};

/// One change; the numbers choose among what is there.
#[derive(Clone, Debug)]
enum Mutation {
    Create(usize, u64),
    CreateDirectory(usize),
    Overwrite(usize, u64),
    OverwriteKeepingTimes(usize, u64),
    Append(usize, u64),
    Truncate(usize),
    Replace(usize, u64),
    Remove(usize),
    Rename(usize, usize),
    Swap(usize, usize),
    Link(usize, usize),
    Symlink(usize),
    FileForDirectory(usize),
    Chmod(usize, u32),
    SetXattr(usize, u8),
    RemoveXattr(usize),
    PunchHole(usize),
    CopyDirectory(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = || 0..1000usize;
    prop_oneof![
        4 => (at(), any::<u64>()).prop_map(|(a, n)| Mutation::Create(a, n)),
        3 => at().prop_map(Mutation::CreateDirectory),
        2 => (at(), any::<u64>()).prop_map(|(a, n)| Mutation::Overwrite(a, n)),
        2 => (at(), any::<u64>()).prop_map(|(a, n)| Mutation::OverwriteKeepingTimes(a, n)),
        2 => (at(), any::<u64>()).prop_map(|(a, n)| Mutation::Append(a, n)),
        1 => at().prop_map(Mutation::Truncate),
        2 => (at(), any::<u64>()).prop_map(|(a, n)| Mutation::Replace(a, n)),
        2 => at().prop_map(Mutation::Remove),
        5 => (at(), at()).prop_map(|(a, b)| Mutation::Rename(a, b)),
        3 => (at(), at()).prop_map(|(a, b)| Mutation::Swap(a, b)),
        4 => (at(), at()).prop_map(|(a, b)| Mutation::Link(a, b)),
        1 => at().prop_map(Mutation::Symlink),
        1 => at().prop_map(Mutation::FileForDirectory),
        1 => (at(), 0..0o1000u32).prop_map(|(a, mode)| Mutation::Chmod(a, mode | 0o600)),
        2 => (at(), any::<u8>()).prop_map(|(a, value)| Mutation::SetXattr(a, value)),
        1 => at().prop_map(Mutation::RemoveXattr),
        1 => at().prop_map(Mutation::PunchHole),
        1 => (at(), at()).prop_map(|(a, b)| Mutation::CopyDirectory(a, b)),
    ]
}

struct Folder {
    root: PathBuf,
    made: u64,
}

impl Folder {
    fn all(&self, wanted: impl Fn(&fs::FileType) -> bool) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let mut entries: Vec<_> = fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                }
                if wanted(&kind) {
                    found.push(entry.path());
                }
            }
        }
        found
    }

    fn pick(&self, index: usize, wanted: impl Fn(&fs::FileType) -> bool) -> Option<PathBuf> {
        let all = self.all(wanted);
        (!all.is_empty()).then(|| all[index % all.len()].clone())
    }

    fn file(&self, index: usize) -> Option<PathBuf> {
        self.pick(index, fs::FileType::is_file)
    }

    fn directory(&self, index: usize) -> PathBuf {
        let mut all = self.all(fs::FileType::is_dir);
        all.push(self.root.clone());
        all[index % all.len()].clone()
    }

    /// A name that may or may not be taken: few enough to come back.
    fn name(&mut self, index: usize) -> PathBuf {
        self.made += 1;
        let folder = self.directory(index / 7);
        folder.join(format!("n{}", (index as u64 + self.made) % 12))
    }

    fn apply(&mut self, mutation: &Mutation) -> Option<()> {
        let length = |number: u64| match number % 5 {
            0 => 0,
            1 => 10,
            2 => 5_000,
            3 => 70_000,
            _ => 700_000,
        };
        match *mutation {
            Mutation::Create(at, number) => {
                let path = self.name(at);
                (!path.exists()).then(|| write(&path, &text(number, length(number))))
            }
            Mutation::CreateDirectory(at) => fs::create_dir(self.name(at)).ok(),
            Mutation::Overwrite(at, number) => fs::write(self.file(at)?, text(number, length(number))).ok(),
            Mutation::OverwriteKeepingTimes(at, number) => {
                let path = self.file(at)?;
                let before = path.metadata().ok()?;
                let size = usize::try_from(before.len()).ok()?;
                fs::write(&path, text(number, size)).ok()?;
                let times = fs::FileTimes::new().set_modified(before.modified().ok()?);
                fs::File::options().write(true).open(&path).ok()?.set_times(times).ok()
            }
            Mutation::Append(at, number) => {
                let path = self.file(at)?;
                let mut bytes = fs::read(&path).ok()?;
                bytes.extend(text(number, length(number)));
                fs::write(path, bytes).ok()
            }
            Mutation::Truncate(at) => {
                let file = fs::File::options().write(true).open(self.file(at)?).ok()?;
                file.set_len(file.metadata().ok()?.len() / 2).ok()
            }
            Mutation::Replace(at, number) => {
                let path = self.file(at)?;
                let new = self.root.join("being written");
                write(&new, &text(number, length(number)));
                fs::rename(new, path).ok()
            }
            Mutation::PunchHole(at) => {
                let file = fs::File::options().write(true).open(self.file(at)?).ok()?;
                let half = file.metadata().ok()?.len() / 2;
                file.set_len(half).ok()?;
                file.set_len(half + 1_000_000).ok()
            }
            _ => self.rearrange(mutation),
        }
    }

    /// What changes names and attributes.
    fn rearrange(&mut self, mutation: &Mutation) -> Option<()> {
        match *mutation {
            Mutation::Remove(at) => {
                let path = self.pick(at, |_| true)?;
                if path.is_dir() && !path.is_symlink() {
                    fs::remove_dir_all(path).ok()
                } else {
                    fs::remove_file(path).ok()
                }
            }
            Mutation::Rename(from, to) => fs::rename(self.pick(from, |_| true)?, self.name(to)).ok(),
            Mutation::Swap(a, b) => {
                let (a, b) = (self.pick(a, |_| true)?, self.pick(b, |_| true)?);
                if a.starts_with(&b) || b.starts_with(&a) {
                    return None;
                }
                let between = self.root.join("between");
                fs::rename(&a, &between).ok()?;
                fs::rename(&b, &a).ok()?;
                fs::rename(&between, &b).ok()
            }
            Mutation::Link(from, to) => {
                let from = self.pick(from, |kind| !kind.is_dir())?;
                fs::hard_link(from, self.name(to)).ok()
            }
            Mutation::Symlink(at) => symlink(format!("target {at}"), self.name(at)).ok(),
            Mutation::FileForDirectory(at) => {
                let path = self.pick(at, fs::FileType::is_dir)?;
                fs::remove_dir_all(&path).ok()?;
                fs::write(path, b"was a directory").ok()
            }
            Mutation::Chmod(at, mode) => {
                let path = self.pick(at, |kind| !kind.is_symlink())?;
                let mode = if path.is_dir() { mode | 0o700 } else { mode };
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).ok()
            }
            Mutation::SetXattr(at, value) => {
                let path = self.pick(at, |kind| !kind.is_symlink())?;
                let name = format!("user.x{}", value % 3);
                rustix::fs::setxattr(path, name.as_str(), &[value], rustix::fs::XattrFlags::empty()).ok()
            }
            Mutation::RemoveXattr(at) => {
                let path = self.pick(at, |kind| !kind.is_symlink())?;
                (0..3).find_map(|n| rustix::fs::removexattr(&path, format!("user.x{n}").as_str()).ok())
            }
            Mutation::CopyDirectory(from, to) => {
                let (from, to) = (self.pick(from, fs::FileType::is_dir)?, self.name(to));
                fs::create_dir(&to).ok()?;
                for entry in fs::read_dir(from).ok()?.map(Result::unwrap) {
                    if entry.file_type().unwrap().is_file() {
                        fs::copy(entry.path(), to.join(entry.file_name())).ok()?;
                    }
                }
                Some(())
            }
            _ => None,
        }
    }
}

fn check(rounds: &[(bool, Vec<Mutation>)]) {
    let world = World::new();
    let mut folder = Folder { root: world.tree(), made: 0 };
    for index in 0..12 {
        folder.apply(&Mutation::CreateDirectory(index * 5));
        folder.apply(&Mutation::Create(index * 11, index as u64));
        folder.apply(&Mutation::Link(index * 3, index * 17));
    }
    for (settled, mutations) in rounds {
        if *settled {
            settle();
        }
        world.backup_and_compare();
        for mutation in mutations {
            folder.apply(mutation);
        }
        world.backup_and_compare();
    }
    world.backup_and_compare();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn points_follow_every_change(
        rounds in prop::collection::vec((Just(false), prop::collection::vec(mutation(), 1..30)), 1..6)
    ) {
        check(&rounds);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn points_follow_every_change_of_a_settled_tree(
        rounds in prop::collection::vec((Just(true), prop::collection::vec(mutation(), 1..30)), 2..4)
    ) {
        check(&rounds);
    }
}
