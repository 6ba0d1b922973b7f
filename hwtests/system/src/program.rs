//! Programs: ours, looked for in `KEEPFAST_BIN_DIR` or else beside the test, and those of the system.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A program of the project.
pub fn program(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("KEEPFAST_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let test = std::env::current_exe()?;
            test.parent().and_then(Path::parent).context("the test has no folder")?.to_owned()
        }
    };
    let path = folder.join(name);
    if path.is_file() {
        Ok(path)
    } else {
        bail!("{} is not built; `cargo build --workspace` does", path.display())
    }
}

/// Runs a command to its end; its output, whatever its exit code.
pub fn run(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))
}

/// Runs a command that must end with an exit code; its standard output.
pub fn expect(command: &mut Command, code: i32) -> Result<String> {
    said(command, code).map(|(out, _)| out)
}

/// Runs a command that must end with an exit code; its standard output and its standard error.
pub fn said(command: &mut Command, code: i32) -> Result<(String, String)> {
    let output = run(command)?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() != Some(code) {
        bail!("{command:?} ended with {} instead of {code}\n{out}{err}", output.status);
    }
    Ok((out.into_owned(), err.into_owned()))
}

/// A process that was started; killed when dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts a command that says nothing.
    pub fn start(command: &mut Command) -> Result<Self> {
        Self::start_as_it_is(command.stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// Starts a command whose output is arranged already.
    pub fn start_as_it_is(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Self(child))
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.0.try_wait().context("look for a process")
    }

    /// Waits until it ends.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.0.wait().context("wait for a process")
    }

    /// Kills it if it runs (SIGKILL), and says how it has ended.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.0.kill().context("kill a process")?;
        self.wait()
    }

    /// Interrupts it as Ctrl-C does.
    pub fn interrupt(&self) -> Result<()> {
        self.signal(Signal::INT)
    }

    /// Stops it where it is; [`Self::thaw`] lets it go on. What its threads were asking of the kernel is over then.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        while !self.is_stopped()? {
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Whether none of its threads runs; also if it has ended.
    fn is_stopped(&self) -> Result<bool> {
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.id()))? {
            // One that is gone runs no more.
            let status = std::fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            let state = status.lines().find_map(|line| line.strip_prefix("State:"));
            if state.is_some_and(|state| !state.trim().starts_with(['T', 'Z', 'X'])) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(id.context("a process has an id")?, signal).context("send a signal to a process")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A process that has ended cannot be killed, and need not.
        let _ = self.kill();
    }
}
