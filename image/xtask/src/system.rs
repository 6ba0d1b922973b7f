//! The Debian packages that the commands need, each with the file or program that proves its presence.
//!
//! As root, what is missing is installed through apt-get; otherwise the line to run is shown, and the command ends
//! with exit code 2. Nothing is asked and nothing is installed when everything is there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::terminal;

/// What a set of packages is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// Building the programs.
    Build,
    /// The tour.
    Demo,
    /// Every check.
    Test,
    /// The measurements.
    Bench,
}

use Purpose::{Bench, Build, Demo, Test};

#[derive(Debug)]
enum Proof {
    /// A program on the path, or where administrators' programs are.
    Program(&'static str),
    /// A file.
    File(&'static str),
}

#[derive(Debug)]
struct Package {
    name: &'static str,
    proof: Proof,
    purposes: &'static [Purpose],
}

const fn program(name: &'static str, program: &'static str, purposes: &'static [Purpose]) -> Package {
    Package { name, proof: Proof::Program(program), purposes }
}

const PACKAGES: &[Package] = &[
    program("gcc", "gcc", &[Build, Demo, Test, Bench]),
    Package {
        name: "libc6-dev",
        proof: Proof::File("/usr/include/stdio.h"),
        purposes: &[Build, Demo, Test, Bench],
    },
    program("fuse3", "fusermount3", &[Demo, Test, Bench]),
    program("util-linux", "setpriv", &[Demo, Test, Bench]),
    program("mount", "losetup", &[Test]),
    program("e2fsprogs", "mkfs.ext4", &[Test]),
    program("xfsprogs", "xfs_growfs", &[Test]),
    program("btrfs-progs", "mkfs.btrfs", &[Test]),
    program("fdisk", "sfdisk", &[Test]),
    program("perl-base", "perl", &[Test]),
    Package {
        name: "linux-source-6.1",
        proof: Proof::File("/usr/src/linux-source-6.1.tar.xz"),
        purposes: &[Test],
    },
    program("rsync", "rsync", &[Test]),
    program("acl", "getfacl", &[Test]),
    program("attr", "getfattr", &[Test]),
    program("strace", "strace", &[Test]),
    program("xz-utils", "xz", &[Test]),
    program("tar", "tar", &[Test, Bench]),
    program("zstd", "zstd", &[Bench]),
    program("time", "time", &[Bench]),
];

/// Something that this machine lacks, with what to do about it.
#[derive(Debug)]
pub(crate) struct Missing(String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// Makes sure that the packages for `purpose` are there.
///
/// # Errors
/// [`Missing`] when they are not and we may not install them.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    let missing = missing(purpose, &present);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let root = rustix::process::geteuid().is_root();
    if !root || !program_present("apt-get") {
        return Err(Missing(advice(&names, root)).into());
    }
    println!("Installing {}", terminal::strong(&names.join(" ")));
    apt(&["update", "--quiet"])?;
    let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    install.extend(&names);
    apt(&install)?;
    let still = self::missing(purpose, &present);
    ensure!(still.is_empty(), "apt-get installed {names:?}, but this is not there: {still:?}");
    Ok(())
}

/// Makes sure that filesystems can be mounted from a program.
///
/// # Errors
/// [`Missing`] when the kernel's device for it is not there.
pub(crate) fn ensure_fuse() -> Result<()> {
    if Path::new("/dev/fuse").exists() {
        return Ok(());
    }
    let advice = "/dev/fuse is missing: load the module (modprobe fuse), or give the container the device";
    Err(Missing(advice.into()).into())
}

/// Whether a program can be started by its name.
pub(crate) fn program_present(name: &str) -> bool {
    program_path(name).is_some()
}

/// Where a program is.
pub(crate) fn program_path(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/sbin", "/sbin"].into_iter().map(Into::into);
    std::env::split_paths(&path).chain(administrators).map(|folder| folder.join(name)).find(|file| {
        file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    })
}

fn present(proof: &Proof) -> bool {
    match proof {
        Proof::Program(name) => program_present(name),
        Proof::File(path) => Path::new(path).exists(),
    }
}

fn missing(purpose: Purpose, present: &dyn Fn(&Proof) -> bool) -> Vec<&'static Package> {
    PACKAGES
        .iter()
        .filter(|package| package.purposes.contains(&purpose) && !present(&package.proof))
        .collect()
}

fn advice(names: &[&str], root: bool) -> String {
    let sudo = if root { "" } else { "sudo " };
    format!(
        "some system packages are missing; run this, then try again:\n\n    {sudo}apt-get install --yes {}\n",
        names.join(" ")
    )
}

fn apt(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(std::process::Stdio::null())
        .output()
        .context("start apt-get")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "apt-get {}: {}", arguments.join(" "), said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_missing_when_every_proof_is_there() {
        for purpose in [Build, Demo, Test, Bench] {
            assert!(missing(purpose, &|_| true).is_empty());
        }
    }

    #[test]
    fn each_purpose_asks_for_its_own_packages_only() {
        let names =
            |purpose| missing(purpose, &|_| false).iter().map(|package| package.name).collect::<Vec<_>>();
        assert_eq!(names(Build), ["gcc", "libc6-dev"]);
        assert_eq!(names(Demo), ["gcc", "libc6-dev", "fuse3", "util-linux"]);
        assert!(names(Test).contains(&"rsync") && !names(Test).contains(&"time"));
        assert!(names(Bench).contains(&"time") && !names(Bench).contains(&"strace"));
    }

    #[test]
    fn the_advice_is_one_line_to_run() {
        assert!(advice(&["fuse3", "acl"], false).contains("\n    sudo apt-get install --yes fuse3 acl\n"));
        assert!(!advice(&["fuse3"], true).contains("sudo"));
    }

    #[test]
    fn programs_are_found_by_name_and_folders_are_not_programs() {
        assert!(program_present("sh"));
        assert!(!program_present("keepfast-has-no-such-program"));
        assert!(!program_present("."));
    }
}
