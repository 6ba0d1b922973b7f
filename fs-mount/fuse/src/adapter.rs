//! Requests of the kernel, one function each.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use fuser::{
    Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use tracing::{debug, warn};
use view::{Directory, Listed, OpenFile, View, ViewError, Whence};

use crate::convert::{attributes, duration, errno, file_type, unknown};
use crate::handles::Handles;

/// `.` and `..` come first in every listing.
const DOTS: [&str; 2] = [".", ".."];

/// A view behind `/dev/fuse`.
pub(crate) struct Adapter {
    view: View,
    files: Handles<OpenFile>,
    directories: Handles<Directory>,
    /// The kernel checks ACLs; it does so only where it checks modes.
    checks: bool,
}

impl Adapter {
    pub(crate) fn new(view: View, checks: bool) -> Self {
        Self { view, files: Handles::new(), directories: Handles::new(), checks }
    }
}

/// Logs what went wrong with the data, and gives its number.
fn failed(what: &'static str, number: u64, error: &ViewError) -> Errno {
    match error {
        ViewError::Archive(cause) => warn!(what, node = number, %cause, "cannot be read"),
        other => debug!(what, node = number, cause = %other, "refused"),
    }
    errno(error)
}

/// Answers a question for a list or value of bytes: its length, or all of it if there is room.
fn reply_bytes(reply: ReplyXattr, size: u32, bytes: &[u8]) {
    match u32::try_from(bytes.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(bytes),
        _ => reply.error(Errno::ERANGE),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let mut wanted = vec![
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
        ];
        if self.checks {
            wanted.push(InitFlags::FUSE_POSIX_ACL);
        }
        for flag in wanted {
            if config.add_capabilities(flag).is_err() {
                debug!(?flag, "this kernel cannot do it");
            }
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.view.lookup(parent.0, name.as_bytes()) {
            Ok(entry) => {
                let lasting = duration(entry.lasting);
                reply.entry(&lasting, &attributes(&entry.attributes), Generation(0));
            }
            Err(error) => reply.error(failed("lookup", parent.0, &error)),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.view.attributes(ino.0) {
            Ok(entry) => reply.attr(&duration(entry.lasting), &attributes(&entry.attributes)),
            Err(error) => reply.error(failed("attributes", ino.0, &error)),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.view.target(ino.0) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(failed("link", ino.0, &error)),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.view.open_file(ino.0) {
            Ok(file) => reply.opened(self.files.add(file), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(failed("open", ino.0, &error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(file) = self.files.get(fh) else { return reply.error(Errno::EBADF) };
        match file.read(&self.view, offset, u64::from(size)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(failed("read", ino.0, &error)),
        }
    }

    fn lseek(&self, _: &Request, ino: INodeNo, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        let whence = match whence {
            SEEK_DATA => Whence::Data,
            SEEK_HOLE => Whence::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Some(file) = self.files.get(fh) else { return reply.error(Errno::EBADF) };
        let Ok(offset) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        match file.seek(&self.view, offset, whence) {
            Ok(found) => match i64::try_from(found) {
                Ok(found) => reply.offset(found),
                Err(_) => reply.error(Errno::EOVERFLOW),
            },
            Err(error) => reply.error(failed("seek", ino.0, &error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Nothing was written; told so once, the kernel does not ask again.
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        // What a program asks to find out whether this is a terminal.
        reply.error(Errno::ENOTTY);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.files.close(fh);
        reply.ok();
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.view.open_directory(ino.0) {
            Ok(directory) => reply.opened(self.directories.add(directory), FopenFlags::empty()),
            Err(error) => reply.error(failed("open directory", ino.0, &error)),
        }
    }

    fn readdir(&self, _: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut add = |listed: &Listed, next: u64| {
            let name = OsStr::from_bytes(&listed.name);
            Ok(reply.add(INodeNo(listed.number), next, file_type(listed.kind), name))
        };
        match self.list(ino, fh, offset, &mut add) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let mut add = |listed: &Listed, next: u64| {
            let (lasting, attributes) = match self.view.attributes(listed.number) {
                Ok(entry) => (duration(entry.lasting), attributes(&entry.attributes)),
                // The name is listed; whoever asks for more asks again, and hears what is wrong.
                Err(error) => {
                    failed("attributes", listed.number, &error);
                    (Duration::ZERO, unknown(listed.number, listed.kind))
                }
            };
            let name = OsStr::from_bytes(&listed.name);
            let number = INodeNo(listed.number);
            Ok(reply.add(number, next, name, &lasting, &attributes, Generation(0)))
        };
        match self.list(ino, fh, offset, &mut add) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.directories.close(fh);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, 0, 0, 4096, 255, 4096);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.view.attribute(ino.0, name.as_bytes()) {
            Ok(value) => reply_bytes(reply, size, &value),
            Err(error) => reply.error(failed("attribute", ino.0, &error)),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        match self.view.attribute_names(ino.0) {
            Ok(names) => {
                let mut list = Vec::new();
                for name in names {
                    list.extend_from_slice(&name);
                    list.push(0);
                }
                reply_bytes(reply, size, &list);
            }
            Err(error) => reply.error(failed("attributes", ino.0, &error)),
        }
    }
}

impl Adapter {
    /// Hands over the entries from an offset on until `add` says that there is no more room. Offset 0 is `.`, 1 is `..`.
    fn list(
        &self,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        add: &mut dyn FnMut(&Listed, u64) -> Result<bool, Errno>,
    ) -> Result<(), Errno> {
        let directory = self.directories.get(fh).ok_or(Errno::EBADF)?;
        let dots = DOTS.len() as u64;
        for (at, name) in (0..).zip(DOTS).skip(usize::try_from(offset).unwrap_or(DOTS.len())) {
            let kind = model::item::FileKind::Directory;
            let listed = Listed { number: ino.0, name: name.into(), kind };
            if add(&listed, at + 1)? {
                return Ok(());
            }
        }
        let mut position = offset.saturating_sub(dots);
        loop {
            let entries = match self.view.read_directory(&directory, position) {
                Ok(entries) => entries,
                // What was found so far comes first.
                Err(_) if position + dots > offset => return Ok(()),
                Err(error) => return Err(failed("read directory", ino.0, &error)),
            };
            if entries.is_empty() {
                return Ok(());
            }
            for listed in entries {
                position += 1;
                if add(&listed, position + dots)? {
                    return Ok(());
                }
            }
        }
    }
}
