//! Starting the real programs for tests: an appliance, an agent, and what they leave behind.
//!
//! Programs are looked for in `KEEPFAST_BIN_DIR`, else beside the test. Everything started is stopped when its value
//! goes, and every folder is a temporary one.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// How long an appliance may take to open its doors.
const START_MAX: Duration = Duration::from_secs(60);

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
    let output = run(command)?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() != Some(code) {
        bail!("{command:?} ended with {} instead of {code}\n{out}{err}", output.status);
    }
    Ok(out.into_owned())
}

/// An appliance with an agent, in a temporary folder.
pub struct Site {
    folder: TempDir,
    port: u16,
    server: Option<Child>,
}

impl Site {
    /// An appliance that runs, and an agent that has joined it and may restore.
    pub fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        drop(listener);
        let mut site = Self { folder: tempfile::tempdir()?, port, server: None };
        site.start_server()?;
        let token = expect(
            site.keepfast(&["token", "create", "web1", "--allow-restore"])?.env("KEEPFAST_LOG", "warn"),
            0,
        )?;
        expect(&mut site.agent(&["join", token.trim()])?, 0)?;
        Ok(site)
    }

    /// A place in the site's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command of the operator.
    pub fn keepfast(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("keepfast")?);
        command.args(arguments).env("KEEPFAST_DATA", self.path("appliance"));
        Ok(command)
    }

    /// A command of the agent.
    pub fn agent(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("keepfast-agent")?);
        command.args(arguments).env("KEEPFAST_AGENT_DATA", self.path("agent"));
        Ok(command)
    }

    /// Starts the appliance and waits until it answers.
    pub fn start_server(&mut self) -> Result<()> {
        let address = format!("127.0.0.1:{}", self.port);
        let log = std::fs::File::options().create(true).append(true).open(self.path("appliance.log"))?;
        let mut command = self.keepfast(&["serve", "--listen", &address])?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.server = Some(command.spawn().context("start the appliance")?);
        let begun = Instant::now();
        while std::net::TcpStream::connect(&address).is_err() {
            let ended = self.server.as_mut().and_then(|server| server.try_wait().ok().flatten());
            if ended.is_some() || begun.elapsed() > START_MAX {
                bail!(
                    "the appliance did not start:\n{}",
                    std::fs::read_to_string(self.path("appliance.log"))?
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills the appliance as a power cut would, but for the kernel's memory.
    pub fn kill_server(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill().context("kill the appliance")?;
            server.wait()?;
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Nothing is left to do about an appliance that cannot be killed.
        let _ = self.kill_server();
    }
}
