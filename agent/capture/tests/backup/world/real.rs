//! The tree that really is, read in the plainest way.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use model::Time;
use model::item::{Attributes, FileKind};

/// A file of any kind.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) attributes: Attributes,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) content: Vec<u8>,
    /// Names of it; of a directory 1.
    /// The first path of the same inode.
    pub(crate) first: PathBuf,
}

pub(crate) type Files = BTreeMap<PathBuf, File>;

impl File {
    /// Whether both are the same, but for whether one is marked as an image.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let plain = |attributes: &Attributes| Attributes { image: false, ..attributes.clone() };
        plain(&self.attributes) == plain(&other.attributes)
            && self.xattrs == other.xattrs
            && self.content == other.content
            && self.first == other.first
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = self.content.get(..16).unwrap_or(&self.content);
        write!(
            f,
            "{:?} {:?} {} bytes {start:?} first {:?}",
            self.attributes,
            self.xattrs,
            self.content.len(),
            self.first
        )
    }
}

/// Everything from a path on.
pub(crate) fn files(path: &Path) -> Files {
    let mut files = Files::new();
    collect(path, path.to_owned(), &mut files, &mut HashMap::new());
    files
}

/// Collects what is reached by `path` and is shown as `shown`: paths longer than the kernel takes are no obstacle.
fn collect(path: &Path, shown: PathBuf, files: &mut Files, firsts: &mut HashMap<(u64, u64), PathBuf>) {
    let found = path.symlink_metadata().unwrap();
    let kind = found.file_type();
    let (content, target, kind) = if kind.is_file() {
        (std::fs::read(path).unwrap(), Vec::new(), FileKind::File)
    } else if kind.is_symlink() {
        let target = std::fs::read_link(path).unwrap().into_os_string().into_vec();
        (Vec::new(), target, FileKind::Symlink)
    } else {
        let kind = match kind {
            kind if kind.is_dir() => FileKind::Directory,
            kind if kind.is_fifo() => FileKind::Fifo,
            kind if kind.is_socket() => FileKind::Socket,
            kind if kind.is_char_device() => FileKind::CharacterDevice,
            _ => FileKind::BlockDevice,
        };
        (Vec::new(), Vec::new(), kind)
    };
    let is_directory = kind == FileKind::Directory;
    let first = firsts.entry((found.dev(), found.ino())).or_insert_with(|| shown.clone()).clone();
    let attributes = Attributes {
        kind,
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
        modified: Time::from_parts(found.mtime(), u32::try_from(found.mtime_nsec()).unwrap()),
        changed: Time::from_parts(found.ctime(), u32::try_from(found.ctime_nsec()).unwrap()),
        rdev: found.rdev(),
        target,
        image: false,
    };
    files.insert(shown.clone(), File { attributes, xattrs: xattrs(path), content, first });
    if is_directory {
        let open = std::fs::File::open(path).unwrap();
        let place = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        let mut below: Vec<OsString> =
            std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        below.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        below.iter().for_each(|name| collect(&place.join(name), shown.join(name), files, firsts));
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65_536];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    found
}
