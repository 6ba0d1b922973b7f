//! Points that are mounted for a test.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{UnmountFlags, unmount};

use crate::Site;
use crate::program::{Running, program};

/// How long a mount may take to appear, and to go.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A program that shows points on a directory; stopped and unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    running: Running,
    path: PathBuf,
}

impl Site {
    /// `keepfast mount` on a folder of the site.
    pub fn mount(&self, folder: &str) -> Result<Mount> {
        let path = self.path(folder);
        Mount::start(self.keepfast(&["mount"])?.arg(&path), &path)
    }

    /// `keepfast-mount` of the agent whose data is in a folder of the site, on another folder.
    pub fn mount_from_afar(&self, agent: &str, folder: &str) -> Result<Mount> {
        let path = self.path(folder);
        Mount::start(self.mounting(agent)?.arg(&path), &path)
    }

    /// The command `keepfast-mount` of an agent, without a place to mount on.
    pub fn mounting(&self, agent: &str) -> Result<Command> {
        let mut command = Command::new(program("keepfast-mount")?);
        command
            .env("KEEPFAST_AGENT_DATA", self.path(agent))
            .args(["--connect", &format!("127.0.0.1:{}", self.port())]);
        Ok(command)
    }
}

impl Mount {
    /// Starts a command that mounts on `path`, and waits until it has.
    pub fn start(command: &mut Command, path: &Path) -> Result<Self> {
        match std::fs::create_dir(path) {
            // Also a mount whose program is gone.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.with_context(|| format!("make {}", path.display()))?,
        }
        let mut mount = Self { running: Running::start(command)?, path: path.to_owned() };
        let started = Instant::now();
        // What a killed program left mounted is there still.
        while !is_mounted(path)? || is_dead(path) {
            if let Some(status) = mount.running.ended()? {
                bail!("{command:?} ended with {status}");
            }
            ensure!(started.elapsed() < WAIT_MAX, "{command:?} does not mount");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(mount)
    }

    /// A path of the machine in the newest point of `web1/files`.
    #[must_use]
    pub fn latest(&self, tree: &Path) -> PathBuf {
        self.at("latest", tree)
    }

    /// A path of the machine below `web1/files/VIA`.
    #[must_use]
    pub fn at(&self, via: &str, tree: &Path) -> PathBuf {
        let below = tree.strip_prefix("/").unwrap_or(tree);
        self.path.join("web1/files").join(via).join(below)
    }

    /// Interrupts the program; how it has ended. Nothing is mounted then.
    pub fn end(mut self) -> Result<ExitStatus> {
        self.running.interrupt()?;
        self.wait()
    }

    /// Kills the program; what is mounted stays.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.running.kill()
    }

    /// Waits until the program has ended by itself, and checks that nothing is mounted.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.running.wait()?;
        ensure!(!is_mounted(&self.path)?, "{} is still mounted", self.path.display());
        Ok(status)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // What does not succeed was done already.
        let _ = self.running.kill();
        while is_mounted(&self.path).unwrap_or(false) && unmount(&self.path, UnmountFlags::DETACH).is_ok() {}
    }
}

/// Whether the program is gone that has mounted something on a path.
fn is_dead(path: &Path) -> bool {
    // Its attributes may be remembered by the kernel, what is in it is not.
    std::fs::read_dir(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotConnected)
}

/// Whether something is mounted on a path.
pub fn is_mounted(path: &Path) -> Result<bool> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    let path = path.to_str().context("the path is text")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(path)))
}
