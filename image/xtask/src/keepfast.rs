//! The real programs, started the way an operator starts them: built for release, run in a folder of their own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::metadata::{self, Metadata};
use crate::process::{Interruption, Service, command, run_through};
use crate::terminal;

/// How long the appliance or a mount may take until it answers.
const READY_TIME_MAX: Duration = Duration::from_secs(60);

/// The programs of Keepfast.
pub(crate) struct Programs(PathBuf);

impl Programs {
    /// Builds them for release; cargo shows how far it is.
    pub(crate) fn build(metadata: &Metadata, interruption: &Interruption) -> Result<Self> {
        let cargo = metadata::cargo();
        let packages = ["--package", "server", "--package", "daemon", "--package", "mount"];
        let mut build = command(&cargo.to_string_lossy(), &["build", "--release", "--quiet", "--bins"]);
        build.args(packages).current_dir(&metadata.workspace_root);
        let finished = run_through(&mut build, interruption)?;
        ensure!(finished.status.success(), "the programs do not build");
        Ok(Self(metadata.target_directory.join("release")))
    }

    /// The folder that they are in.
    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    /// Where one of them is.
    pub(crate) fn path(&self, program: &str) -> String {
        self.0.join(program).display().to_string()
    }

    /// A command line of one of them, in a folder.
    pub(crate) fn command(&self, program: &str, arguments: &[&str], folder: &Path) -> Command {
        let mut command = command(&self.path(program), arguments);
        command.current_dir(folder);
        command
    }
}

/// An appliance that listens until it is dropped.
pub(crate) struct Appliance {
    service: Service,
    address: SocketAddr,
}

impl Appliance {
    /// Starts one whose data lie in `data` below `folder`, on a port of this machine that is free.
    pub(crate) fn start(
        programs: &Programs,
        folder: &Path,
        data: &str,
        interruption: &Interruption,
    ) -> Result<Self> {
        let address = free_address()?;
        let listen = address.to_string();
        let mut serve = programs.command("keepfast", &["serve", "--data", data, "--listen", &listen], folder);
        let log = folder.join(format!("{data}.log"));
        let file = std::fs::File::create(&log).with_context(|| format!("make {}", log.display()))?;
        serve.stdout(file.try_clone().context("open the log twice")?).stderr(Stdio::from(file));
        let mut service = Service::start("keepfast serve", &mut serve)?;
        let answers = || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
        service.ready(interruption, READY_TIME_MAX, answers).with_context(|| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            format!("the appliance did not start; it said:\n{}\n", terminal::indented(&said, 40))
        })?;
        Ok(Self { service, address })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.service.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        self.service.ended()
    }
}

/// A port that nobody uses at this moment.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}

/// A filesystem that a program of ours or of others provides until it is dropped.
pub(crate) struct Mount {
    service: Service,
    folder: PathBuf,
}

impl Mount {
    /// Starts the program and waits until `folder` shows its filesystem.
    pub(crate) fn start(mount: &mut Command, folder: &Path, interruption: &Interruption) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let service = Service::start("the mount", mount)?;
        let mut mount = Self { service, folder: folder.to_owned() };
        let shown = || is_mounted(folder) && std::fs::read_dir(folder).is_ok();
        mount.service.ready(interruption, READY_TIME_MAX, shown)?;
        Ok(mount)
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        self.service.ended()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.service.stop();
        if is_mounted(&self.folder) {
            // Whoever was killed could not unmount. If this fails too, removing the folder reports it.
            let _ = Command::new("fusermount3").args(["-u", "-z"]).arg(&self.folder).status();
        }
    }
}

/// Whether a filesystem begins at `folder`; one whose program died counts.
fn is_mounted(folder: &Path) -> bool {
    let above = folder.parent().map(std::fs::metadata);
    match (std::fs::metadata(folder), above) {
        (Ok(here), Some(Ok(above))) => here.dev() != above.dev(),
        (Err(error), _) => error.kind() == std::io::ErrorKind::NotConnected,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_address_can_be_listened_to() {
        drop(TcpListener::bind(free_address().unwrap()).unwrap());
    }

    #[test]
    fn filesystems_begin_where_the_device_changes() {
        assert!(is_mounted(Path::new("/proc")));
        assert!(!is_mounted(Path::new("/usr/bin")));
        assert!(!is_mounted(Path::new("/keepfast-has-no-such-folder")));
    }
}
