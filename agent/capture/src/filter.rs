//! What a scan leaves out: excluded paths, pseudo filesystems, mounts of Keepfast, caches, the agent itself, and other
//! filesystems where that is asked for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fd::AsFd;

use crate::{BackupError, SourceConfig, mounts};

/// The name of the file that marks a directory as a cache.
pub(crate) const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
/// What the file must begin with.
pub(crate) const CACHE_TAG_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Filesystems that the kernel makes up (`statfs` type): never entered on the way down.
const PSEUDO: [u64; 23] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x1cd1,      // devpts
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0x5a3c_69f0, // apparmorfs
    0x6265_6570, // configfs
    0xcafe_4a11, // bpf
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0x1980_0202, // mqueue
    0x9584_58f6, // hugetlbfs
    0x0187,      // autofs
    0x4249_4e4d, // binfmt_misc
    0x6759_6969, // rpc_pipefs
    0x6e73_6673, // nsfs
    0x6573_5543, // fusectl
    0x5049_4446, // pidfs
];

/// Filesystems whose times another machine's clock sets.
const REMOTE: [u64; 9] = [
    0x6969,      // nfs
    0xfe53_4d42, // smb2
    0xff53_4d42, // cifs
    0x517b,      // smb
    0x00c3_6400, // ceph
    0x0102_1997, // 9p
    0x5346_414f, // afs
    0x6b41_4653, // kafs
    0x0bd0_0bd0, // lustre
];

/// Filesystems that a program serves, disks and other machines' files among them (fuse, fuseblk, virtiofs).
const FUSE: u64 = 0x6573_5546;

/// What is known of the filesystem that a directory lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filesystem {
    /// Its times come from this machine's clock.
    Local,
    /// Its times come from another clock.
    Remote,
    /// Nothing in it outlives the kernel, or it shows what is backed up already.
    Pseudo,
}

impl Filesystem {
    /// The filesystem of an open directory; one that cannot say is taken as remote, which is the careful answer.
    pub(crate) fn of(directory: impl AsFd, device: u64) -> Self {
        #[expect(clippy::cast_sign_loss, reason = "a magic number, whatever its sign")]
        let magic = match rustix::fs::fstatfs(directory) {
            Ok(answer) => answer.f_type as u64 & 0xffff_ffff,
            Err(_) => return Self::Remote,
        };
        match magic {
            // Whose clock stamps its times only the program knows.
            FUSE if mounts::is_ours(device) => Self::Pseudo,
            FUSE => Self::Remote,
            _ if PSEUDO.contains(&magic) => Self::Pseudo,
            _ if REMOTE.contains(&magic) => Self::Remote,
            _ => Self::Local,
        }
    }
}

/// The patterns of a source, and the directories that it never enters.
pub(crate) struct Filter {
    excludes: Option<Gitignore>,
    images: Option<Gitignore>,
    skipped: Vec<(u64, u64)>,
    pub(crate) one_filesystem: bool,
}

impl Filter {
    pub(crate) fn new(config: &SourceConfig) -> Result<Self, BackupError> {
        let identity = |path| rustix::fs::stat(path).ok().map(|found| (found.st_dev, found.st_ino));
        Ok(Self {
            excludes: patterns(&config.excludes)?,
            images: patterns(&config.images)?,
            skipped: config.skipped.iter().filter_map(identity).collect(),
            one_filesystem: config.one_filesystem,
        })
    }

    /// Whether any pattern excludes: asking needs a path, and paths cost.
    pub(crate) const fn excludes_any(&self) -> bool {
        self.excludes.is_some()
    }

    /// Whether the source leaves `path` out.
    pub(crate) fn excludes(&self, path: &[u8], is_directory: bool) -> bool {
        matches(self.excludes.as_ref(), path, is_directory)
    }

    /// Whether any pattern names images.
    pub(crate) const fn images_any(&self) -> bool {
        self.images.is_some()
    }

    /// Whether the file at `path` is cut in fixed blocks.
    pub(crate) fn is_image(&self, path: &[u8]) -> bool {
        matches(self.images.as_ref(), path, false)
    }

    /// Whether the directory is one of the agent's own.
    pub(crate) fn skips(&self, device: u64, inode: u64) -> bool {
        self.skipped.contains(&(device, inode))
    }
}

fn patterns(lines: &[String]) -> Result<Option<Gitignore>, BackupError> {
    let mut builder = GitignoreBuilder::new("/");
    builder.allow_unclosed_class(false);
    for line in lines {
        let wrong = |source| BackupError::Pattern { pattern: line.clone(), source };
        builder.add_line(None, line).map_err(wrong)?;
    }
    let wrong = |source| BackupError::Pattern { pattern: lines.join(" "), source };
    let built = builder.build().map_err(wrong)?;
    Ok((!built.is_empty()).then_some(built))
}

fn matches(patterns: Option<&Gitignore>, path: &[u8], is_directory: bool) -> bool {
    let path = Path::new(OsStr::from_bytes(path));
    patterns.is_some_and(|patterns| patterns.matched(path, is_directory).is_ignore())
}

#[cfg(test)]
mod tests {
    use model::record::Label;

    use super::*;

    fn filter(excludes: &[&str]) -> Result<Filter, BackupError> {
        Filter::new(&SourceConfig {
            label: Label::new("a").unwrap(),
            paths: Vec::new(),
            excludes: excludes.iter().map(|&line| line.to_owned()).collect(),
            one_filesystem: false,
            images: vec!["*.img".to_owned()],
            skipped: Vec::new(),
        })
    }

    #[test]
    fn patterns_are_those_of_gitignore() {
        let filter = filter(&["*.tmp", "/home/*/cache/", "!keep.tmp", "node_modules"]).unwrap();
        for (path, is_directory, expected) in [
            ("/a/b.tmp", false, true),
            ("/a/keep.tmp", false, false),
            ("/home/x/cache", true, true),
            ("/home/x/cache", false, false),
            ("/srv/home/x/cache", true, false),
            ("/srv/node_modules", true, true),
            ("/srv/node", true, false),
        ] {
            assert_eq!(filter.excludes(path.as_bytes(), is_directory), expected, "{path}");
        }
        assert!(filter.excludes(b"/\xff/\xfe.tmp", false), "names need not be text");
        assert!(filter.is_image(b"/vm/disk.img") && !filter.is_image(b"/vm/disk.imgs"));
    }

    #[test]
    fn a_pattern_that_cannot_be_understood_is_refused() {
        assert!(matches!(filter(&["a[b"]), Err(BackupError::Pattern { .. })));
        assert!(!filter(&["# remark", ""]).unwrap().excludes_any());
    }

    #[test]
    fn proc_is_made_up_and_the_root_is_not() {
        let of = |path: &str| {
            let directory = std::fs::File::open(path).unwrap();
            let device = rustix::fs::fstat(&directory).unwrap().st_dev;
            Filesystem::of(directory, device)
        };
        assert_eq!(of("/proc"), Filesystem::Pseudo);
        assert_ne!(of("/"), Filesystem::Pseudo);
    }
}
