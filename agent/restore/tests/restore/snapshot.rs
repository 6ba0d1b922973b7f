//! Everything that can be seen of a tree, to compare trees; and asking for restores.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::archive::Archive;
use restore::{Outcome, Overwrite, Progress, Request, RestoreError, restore};

use crate::archive::{POINT, name_of};

/// What can be seen of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) modified: (i64, i64),
    pub(crate) size: u64,
    pub(crate) rdev: u64,
    pub(crate) content: Vec<u8>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path with the same inode.
    pub(crate) first_name: Option<PathBuf>,
}

pub(crate) type Snapshot = BTreeMap<PathBuf, Seen>;

/// Sees a tree, the directory itself included as an empty path.
pub(crate) fn snapshot(root: &Path) -> Snapshot {
    let mut snapshot = Snapshot::new();
    see(root, Path::new(""), &mut snapshot, &mut HashMap::new());
    snapshot
}

/// The same without the directory itself.
pub(crate) fn snapshot_below(root: &Path) -> Snapshot {
    let mut below = snapshot(root);
    below.remove(Path::new(""));
    below
}

fn see(root: &Path, path: &Path, snapshot: &mut Snapshot, names: &mut HashMap<u64, PathBuf>) {
    let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(path) };
    let metadata = full.symlink_metadata().unwrap();
    let file_type = metadata.file_type();
    let content = match () {
        () if file_type.is_file() => blake3::hash(&std::fs::read(&full).unwrap()).as_bytes().to_vec(),
        () if file_type.is_symlink() => std::fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec(),
        () => Vec::new(),
    };
    let first_name =
        (!file_type.is_dir()).then(|| names.entry(metadata.ino()).or_insert_with(|| path.to_owned()).clone());
    let seen = Seen {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        size: if file_type.is_dir() { 0 } else { metadata.len() },
        rdev: metadata.rdev(),
        content,
        xattrs: xattrs(&full),
        first_name,
    };
    snapshot.insert(path.to_owned(), seen);
    if file_type.is_dir() {
        let mut paths: Vec<_> =
            std::fs::read_dir(&full).unwrap().map(|e| path.join(e.unwrap().file_name())).collect();
        paths.sort();
        for path in paths {
            see(root, &path, snapshot, names);
        }
    }
}

pub(crate) fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let names = list[..length].split(|b| *b == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 65_536];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(length);
        value
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}

/// Compares trees path by path, so that a difference can be read.
pub(crate) fn assert_same(found: &Snapshot, expected: &Snapshot) {
    for (path, seen) in expected {
        assert_eq!(found.get(path), Some(seen), "{}", path.display());
    }
    let extra: Vec<_> = found.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(extra.is_empty(), "there is more: {extra:?}");
}

/// Counts what it hears.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) files_total: AtomicU64,
    pub(crate) bytes_total: AtomicU64,
    pub(crate) files: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) problems: AtomicU64,
}

impl Progress for Heard {
    fn total(&self, files: u64, bytes: u64) {
        self.files_total.store(files, Ordering::Relaxed);
        self.bytes_total.store(bytes, Ordering::Relaxed);
    }

    fn advance(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn problem(&self, _: &[u8], _: &str) {
        self.problems.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request for everything, with owners.
pub(crate) fn request<'a>(archive: &'a dyn Archive, target: &Path) -> Request<'a> {
    Request {
        archive,
        point: POINT,
        target: target.to_owned(),
        paths: Vec::new(),
        overwrite: Overwrite::Refuse,
        owners: true,
        workers: 2,
        memory_bytes: 8 << 20,
        delete_extra: false,
        naming: None,
    }
}

/// The same with a check of names, replacing what differs.
pub(crate) fn replacing<'a>(archive: &'a dyn Archive, target: &Path) -> Request<'a> {
    Request { overwrite: Overwrite::Differing, naming: Some(&name_of), ..request(archive, target) }
}

pub(crate) fn run(request: &Request<'_>) -> Result<Outcome, RestoreError> {
    restore(request, &Heard::default(), &AtomicBool::new(false))
}

/// Runs a restore that has no problems.
pub(crate) fn run_clean(request: &Request<'_>) -> Outcome {
    let outcome = run(request).unwrap();
    assert_eq!(outcome.problems, [], "no problems are expected");
    assert_eq!(outcome.problems_count, 0);
    outcome
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs something that owns a folder and has no further rights, whoever runs the test.
pub(crate) fn without_privileges<T: Send>(folder: &Path, action: impl FnOnce() -> T + Send) -> T {
    if !is_root() {
        return action();
    }
    let nobody = 65_534;
    std::os::unix::fs::chown(folder, Some(nobody), Some(nobody)).unwrap();
    // Threads have users of their own on Linux, and pass them on to the threads that they start.
    let user = rustix::process::Uid::from_raw(nobody);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            action()
        });
        thread.join().unwrap()
    })
}
