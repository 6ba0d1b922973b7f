//! Programs that we start: every one of them ends before we do.
//!
//! Each runs in a process group of its own, so Ctrl-C reaches us alone and we decide in which order things stop. A
//! [`Service`] that is dropped is asked to end, and killed if it does not. Should we be killed ourselves, the kernel
//! tells our children (the parent-death signal, through `setpriv`). What we start is started from the main thread,
//! because that signal follows the thread and not the process.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::system;

/// How long a program may take to end when it is asked to.
const STOP_TIME_MAX: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Whether somebody wants us to stop.
#[derive(Clone)]
pub(crate) struct Interruption(Arc<AtomicBool>);

/// Somebody pressed Ctrl-C or asked us to end.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Interruption {
    /// From here on, Ctrl-C and polite signals only raise a flag.
    pub(crate) fn catch() -> Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("listen for signals")?;
        }
        Ok(Self(flag))
    }

    /// Ends with [`Interrupted`] if the flag is up.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Interrupted.into()) } else { Ok(()) }
    }

    /// Waits until the flag is up or `ended` says so.
    pub(crate) fn wait(&self, mut ended: impl FnMut() -> bool) {
        while self.check().is_ok() && !ended() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What a finished program did.
pub(crate) struct Finished {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// How long it took.
    pub(crate) wall: Duration,
    /// What it said on standard output, if that was kept.
    pub(crate) output: String,
    /// What it said on standard error, if that was kept.
    pub(crate) complaints: String,
}

/// A program that runs beside us until it is dropped.
pub(crate) struct Service {
    name: String,
    child: Child,
}

/// A command line in its own process group that dies with us.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = if system::program_present("setpriv") {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--", program]);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    command
}

/// Runs a command to its end and keeps what it says.
pub(crate) fn run(command: &mut Command, interruption: &Interruption) -> Result<Finished> {
    interruption.check()?;
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut service = Service::start("command", command)?;
    let output = read_all(service.child.stdout.take());
    let complaints = read_all(service.child.stderr.take());
    let status = service.end(interruption)?;
    let wall = started.elapsed();
    let text = |reader: std::thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
    };
    Ok(Finished { status, wall, output: text(output), complaints: text(complaints) })
}

/// Runs a command to its end; what it says goes where `command` says.
pub(crate) fn run_through(command: &mut Command, interruption: &Interruption) -> Result<Finished> {
    interruption.check()?;
    let started = Instant::now();
    let status = Service::start("command", command)?.end(interruption)?;
    let wall = started.elapsed();
    Ok(Finished { status, wall, output: String::new(), complaints: String::new() })
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that breaks ends early; the exit code of its program tells whether that was wrong.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

impl Service {
    /// Starts a command made by [`command`].
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until `ready` holds.
    pub(crate) fn ready(
        &mut self,
        interruption: &Interruption,
        limit: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let started = Instant::now();
        while !ready() {
            interruption.check()?;
            if self.ended() {
                bail!("{} ended before it was ready", self.name);
            }
            if started.elapsed() > limit {
                bail!("{} was not ready after {} s", self.name, limit.as_secs());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn end(&mut self, interruption: &Interruption) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait().with_context(|| format!("wait for {}", self.name))? {
                return Ok(status);
            }
            interruption.check()?;
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Asks it to end and waits; kills it if it does not.
    pub(crate) fn stop(&mut self) {
        if self.ended() {
            return;
        }
        self.signal(Signal::TERM);
        let asked = Instant::now();
        while !self.ended() && asked.elapsed() < STOP_TIME_MAX {
            std::thread::sleep(LOOK_AGAIN);
        }
        if !self.ended() {
            eprintln!("{} did not end in {} s and was killed", self.name, STOP_TIME_MAX.as_secs());
            self.signal(Signal::KILL);
            // Only a process stuck in the kernel survives this; there is nothing left to do about it.
            let _ = self.child.wait();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended in this moment, which is what we want.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Interruption {
        Interruption(Arc::new(AtomicBool::new(false)))
    }

    fn shell(script: &str) -> Command {
        command("sh", &["-c", script])
    }

    #[test]
    fn both_streams_and_the_exit_code_are_kept() {
        let done = run(&mut shell("echo out; echo err >&2; exit 3"), &calm()).unwrap();
        assert_eq!(
            (done.output.as_str(), done.complaints.as_str(), done.status.code()),
            ("out\n", "err\n", Some(3))
        );
    }

    #[test]
    fn an_interruption_ends_a_command_and_its_children() {
        let flag = calm();
        let other = flag.clone();
        let raise = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            other.0.store(true, Ordering::Relaxed);
        });
        let started = Instant::now();
        let error = run(&mut shell("sleep 60 & sleep 60"), &flag).err().unwrap();
        raise.join().unwrap();
        assert!(error.is::<Interrupted>());
        assert!(started.elapsed() < STOP_TIME_MAX);
    }

    #[test]
    fn a_dropped_service_is_gone() {
        let service = Service::start("sleeper", &mut shell("exec sleep 60")).unwrap();
        let folder = format!("/proc/{}", service.id());
        assert!(std::path::Path::new(&folder).exists());
        drop(service);
        assert!(!std::path::Path::new(&folder).exists());
    }

    #[test]
    fn a_service_that_ends_early_is_not_waited_for() {
        let mut service = Service::start("short", &mut shell("exit 1")).unwrap();
        let error = service.ready(&calm(), Duration::from_secs(30), || false).unwrap_err();
        assert!(error.to_string().contains("ended before it was ready"));
    }
}
