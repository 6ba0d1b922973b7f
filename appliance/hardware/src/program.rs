//! Programs of the system: run with bounded output and time, and with the package named that has one which is missing.
//!
//! A program that hangs on a dying disk cannot be killed before the kernel gives up; then it is left behind and its
//! outcome is not waited for.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::HardwareError;
use crate::printable::printable;

/// Most output that is read.
const OUTPUT_MAX: u64 = 1 << 20;
/// How often it is looked whether a program has ended.
const PAUSE: Duration = Duration::from_millis(5);
/// How long what it said is waited for after its end.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// A program that is known here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// The package of Debian that has it.
    pub(crate) package: &'static str,
    /// How long it may take.
    pub(crate) time_max: Duration,
    /// What its failure means for the disk.
    pub(crate) consequence: &'static str,
}

/// Says what is on a device.
pub(crate) const BLKID: Program = Program {
    name: "blkid",
    package: "util-linux",
    time_max: Duration::from_secs(60),
    consequence: "what is on the disk is not known, so it is left as it is",
};

/// Writes a partition table.
pub(crate) const SFDISK: Program = Program {
    name: "sfdisk",
    package: "fdisk",
    time_max: Duration::from_secs(120),
    consequence: "the disk may have no partition table; prepare it again, and if that fails, too, use another disk",
};

/// Tells the kernel which partitions a disk has.
pub(crate) const PARTX: Program = Program {
    name: "partx",
    package: "util-linux",
    time_max: Duration::from_secs(60),
    consequence: "the kernel does not show the partitions of the disk; restart the machine",
};

/// Makes an XFS.
pub(crate) const MKFS: Program = Program {
    name: "mkfs.xfs",
    package: "xfsprogs",
    time_max: Duration::from_secs(1800),
    consequence: "the disk is partitioned and has no filesystem; prepare it again, and if that fails, too, use another disk",
};

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Program {
    /// Whether it is installed.
    pub(crate) fn find(self) -> Result<(), HardwareError> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let has = |folder: &std::path::Path| folder.join(self.name).is_file();
        // Programs for disks are often outside of the path of who is not logged in as root.
        let is_there = std::env::split_paths(&paths).any(|folder| has(&folder))
            || has("/usr/sbin".as_ref())
            || has("/sbin".as_ref());
        let Self { name: program, package, .. } = self;
        if is_there { Ok(()) } else { Err(HardwareError::NoProgram { program, package }) }
    }

    /// The arguments as somebody would type them.
    pub(crate) fn line(self, arguments: &[String]) -> String {
        std::iter::once(self.name).chain(arguments.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    }

    /// Runs it and gives what it says, if it ends well.
    pub(crate) fn run(self, arguments: &[String], input: &str) -> Result<Vec<u8>, HardwareError> {
        let ended = self.run_to_any_end(arguments, input)?;
        if ended.code == Some(0) { Ok(ended.out) } else { Err(self.failed(arguments, &ended)) }
    }

    /// The error for an end that is not a good one.
    pub(crate) fn failed(self, arguments: &[String], ended: &Ended) -> HardwareError {
        let last = ended.err.lines().rev().find(|line| !line.trim().is_empty());
        let said = match (last, ended.code) {
            (Some(line), _) => printable(line.as_bytes()),
            (None, Some(code)) => format!("it ended with {code}"),
            (None, None) => "a signal ended it".to_owned(),
        };
        HardwareError::Program { command: self.line(arguments), said, consequence: self.consequence }
    }

    /// Runs it, however it ends.
    pub(crate) fn run_to_any_end(self, arguments: &[String], input: &str) -> Result<Ended, HardwareError> {
        self.find()?;
        let failed = |source| HardwareError::Io { doing: "run", path: self.name.into(), source };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [path.as_os_str(), ":/usr/sbin:/sbin".as_ref()].join(std::ffi::OsStr::new(""));
        let mut child = Command::new(self.name)
            .args(arguments)
            .env("PATH", path)
            // What they say is read by us, and shown as it is.
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends without reading says why.
            let _ = stdin.write_all(input.as_bytes());
        }
        let (out, err) = (read_in_background(child.stdout.take()), read_in_background(child.stderr.take()));
        let deadline = Instant::now() + self.time_max;
        let code = loop {
            match child.try_wait().map_err(failed)? {
                Some(status) => break status.code(),
                None if Instant::now() > deadline => return Err(self.late(arguments, child)),
                None => std::thread::sleep(PAUSE),
            }
        };
        // Something that it started may hold the pipe.
        let rest = |output: Receiver<Vec<u8>>| output.recv_timeout(DRAIN_MAX).unwrap_or_default();
        Ok(Ended { code, out: rest(out), err: String::from_utf8_lossy(&rest(err)).into_owned() })
    }

    fn late(self, arguments: &[String], mut child: Child) -> HardwareError {
        // It ends when the kernel lets it.
        let _ = child.kill();
        let (seconds, consequence) = (self.time_max.as_secs(), self.consequence);
        HardwareError::Late { command: self.line(arguments), seconds, consequence }
    }
}

/// Reads an output to its end, and keeps as much of it as there is room for.
fn read_in_background(output: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    if let Some(mut output) = output {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // What could be read is what there is.
            let _ = output.by_ref().take(OUTPUT_MAX).read_to_end(&mut bytes);
            let _ = std::io::copy(&mut output, &mut std::io::sink());
            let _ = sender.send(bytes);
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(time_max: Duration) -> Program {
        Program { name: "sh", package: "dash", time_max, consequence: "nothing was lost" }
    }

    fn arguments(script: &str) -> Vec<String> {
        vec!["-c".to_owned(), script.to_owned()]
    }

    #[test]
    fn output_and_time_are_bounded_and_failures_say_what_they_mean() {
        let shell = shell(Duration::from_secs(20));
        let read = shell.run(&arguments("cat; echo more"), "some ").unwrap();
        assert_eq!(read, b"some more\n");
        let much = shell.run(&arguments("head -c 5000000 /dev/zero"), "").unwrap();
        assert_eq!(much.len() as u64, OUTPUT_MAX);
        let failed = shell.run(&arguments("echo first >&2; echo 'no medium' >&2; exit 3"), "").unwrap_err();
        assert!(failed.to_string().ends_with(": no medium; nothing was lost"), "{failed}");
        let silent = shell.run(&arguments("exit 3"), "").unwrap_err();
        assert!(silent.to_string().contains("it ended with 3"), "{silent}");
    }

    #[test]
    fn a_program_that_hangs_is_left_behind_and_a_missing_one_is_named_with_its_package() {
        let begun = Instant::now();
        let late = shell(Duration::from_millis(200)).run(&arguments("exec sleep 30"), "").unwrap_err();
        assert!(matches!(late, HardwareError::Late { .. }) && begun.elapsed() < Duration::from_secs(10));
        let missing = Program { name: "mkfs.no-such", package: "no-such-progs", ..MKFS };
        let missing = missing.run(&[], "").unwrap_err();
        assert!(missing.to_string().contains("install the package no-such-progs"), "{missing}");
    }
}
