//! Where figures come from: processor, memory, kernel, filesystem, programs and the day.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::keepfast::Programs;

/// The machine, in words.
#[derive(Serialize)]
pub(crate) struct Machine {
    /// The day.
    pub(crate) date: String,
    /// Processor and memory.
    pub(crate) hardware: String,
    /// Kernel and filesystem.
    pub(crate) system: String,
    /// The versions of all that took part.
    pub(crate) programs: Vec<String>,
}

/// Describes this machine, and the programs behind the names of contenders.
pub(crate) fn describe(folder: &Path, contenders: &[&str], programs: &Programs) -> Machine {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into());
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kibibytes: u64 = memory.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    Machine {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        hardware: format!("{cores} cores of {model}, {} GiB of memory", (kibibytes + (1 << 19)) >> 20),
        system: format!("Linux {}, {}", kernel.trim(), filesystem(&mounts, folder)),
        programs: contenders.iter().map(|name| version(name, programs)).collect(),
    }
}

/// Empties the page cache of what is on the drive already, if we may.
pub(crate) fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let path = "/proc/sys/vm/drop_caches";
    fs::write(path, "1").with_context(|| format!("write {path}"))
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The kind of the filesystem that holds `folder`: the one mounted nearest above it.
fn filesystem(mounts: &str, folder: &Path) -> String {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let above = fields.filter_map(|fields| Some((*fields.get(1)?, *fields.get(2)?)));
    let nearest = above.filter(|(place, _)| folder.starts_with(place)).max_by_key(|(place, _)| place.len());
    nearest.map_or_else(|| "unknown filesystem".into(), |(_, kind)| kind.to_owned())
}

fn version(contender: &str, programs: &Programs) -> String {
    let (program, argument) = match contender {
        "keepfast" => (programs.path("keepfast"), "--version"),
        "tar-zstd" => ("zstd".into(), "--version"),
        "restic" => ("restic".into(), "version"),
        other => (other.to_owned(), "--version"),
    };
    let output =
        Command::new(&program).arg(argument).output().map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or(contender);
    line.trim().trim_matches('*').trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_names_the_filesystem() {
        let mounts = "/dev/a / ext4 rw 0 0\n/dev/b /srv xfs rw 0 0\n/dev/c /srv/backup btrfs rw 0 0\n";
        for (folder, expected) in [("/srv/x", "xfs"), ("/srv/backup/x", "btrfs"), ("/home", "ext4")] {
            assert_eq!(filesystem(mounts, Path::new(folder)), expected);
        }
        assert_eq!(filesystem("", Path::new("/x")), "unknown filesystem");
    }
}
