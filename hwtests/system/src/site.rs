//! An appliance with an agent, in temporary folders.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::client::connect_from;
use crate::program::{Running, expect, program, run};

/// How long an appliance may take to open its doors.
const START_MAX: Duration = Duration::from_secs(60);

/// How long an appliance may take to bring something about by itself.
const ORDER_MAX: Duration = Duration::from_secs(300);

/// An appliance with an agent that has joined it as `web1`.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    data: PathBuf,
    port: u16,
    /// How many descriptors the appliance may open without asking for more.
    descriptors: Option<u64>,
    server: Option<Running>,
}

impl Site {
    /// An appliance that runs, and an agent that has joined it and may restore.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("appliance");
        Self::start_in(folder, data, None)
    }

    /// The same, with an appliance that may open so many descriptors unless it asks for more.
    pub fn start_with_descriptors(descriptors: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("appliance");
        Self::start_in(folder, data, Some(descriptors))
    }

    /// The same, with the appliance's data in a directory elsewhere.
    pub fn start_on(data: &Path) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, data.to_owned(), None)
    }

    fn start_in(folder: TempDir, data: PathBuf, descriptors: Option<u64>) -> Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        drop(listener);
        let mut site = Self { folder, data, port, descriptors, server: None };
        site.start_server()?;
        let token = site.token("web1")?;
        expect(&mut site.agent(&["join", &token])?, 0)?;
        Ok(site)
    }

    /// A token with which an agent joins as `machine`, and may read the points of its machine.
    pub fn token(&self, machine: &str) -> Result<String> {
        let mut create = self.keepfast(&["token", "create", machine, "--allow-restore"])?;
        Ok(expect(create.env("KEEPFAST_LOG", "warn"), 0)?.trim().to_owned())
    }

    /// One more agent that has joined as `machine`; its data directory, a folder of the site of that name.
    pub fn join(&self, machine: &str) -> Result<PathBuf> {
        let token = self.token(machine)?;
        expect(&mut self.agent_named(machine, &["join", &token])?, 0)?;
        Ok(self.path(machine))
    }

    /// A place in the site's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The port on which the appliance listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The data directory of the appliance.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A command of the operator.
    pub fn keepfast(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("keepfast")?);
        command.args(arguments).env("KEEPFAST_DATA", &self.data);
        Ok(command)
    }

    /// A command of the operator that has to succeed; what it says.
    pub fn operate(&self, arguments: &[&str]) -> Result<String> {
        let said = expect(&mut self.keepfast(arguments)?, 0);
        said.with_context(|| self.log().unwrap_or_default())
    }

    /// A command of the agent.
    pub fn agent(&self, arguments: &[&str]) -> Result<Command> {
        self.agent_named("agent", arguments)
    }

    /// A command of one more agent, whose data is in a folder of the site.
    pub fn agent_named(&self, folder: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("keepfast-agent")?);
        command.args(arguments).env("KEEPFAST_AGENT_DATA", self.path(folder));
        Ok(command)
    }

    /// Has the agent protect a tree as the source `files`.
    pub fn protect(&self, tree: &Path) -> Result<()> {
        let path = tree.to_str().context("the path is text")?;
        expect(&mut self.agent(&["source", "add", "files", path])?, 0).map(drop)
    }

    /// The ids of all points of `web1/files`, oldest first.
    pub fn points(&self) -> Result<Vec<String>> {
        let json = expect(&mut self.keepfast(&["points", "web1/files", "--json"])?, 0)?;
        let rows: Vec<serde_json::Value> = serde_json::from_str(&json)?;
        let id = |row: &serde_json::Value| row["point"].as_str().map(str::to_owned);
        rows.iter().map(|row| id(row).context("a point has an id")).collect()
    }

    /// Restores a moment of `web1/files`; where the tree that was at `tree` lies then.
    pub fn restore(&self, when: &str, tree: &Path) -> Result<PathBuf> {
        let (restored, output) = self.try_restore(when, tree)?;
        ensure!(output.status.success(), "restore {when}: {output:?}");
        Ok(restored)
    }

    /// The same, however it ends; also how it ended.
    pub fn try_restore(&self, when: &str, tree: &Path) -> Result<(PathBuf, Output)> {
        let out = self.path("out");
        if out.exists() {
            std::fs::remove_dir_all(&out)?;
        }
        let place = format!("web1/files@{when}");
        let to = out.to_str().context("the path is text")?;
        let output = run(&mut self.keepfast(&["restore", &place, "--to", to])?)?;
        Ok((out.join(tree.strip_prefix("/").unwrap_or(tree)), output))
    }

    /// Reads and checks the whole pool, and counts its references anew; fails if anything is damaged or wrong.
    pub fn verify(&self) -> Result<()> {
        expect(&mut self.keepfast(&["pool", "verify"])?, 0)?;
        self.audit()
    }

    /// Counts all references of the pool anew; fails if any is counted wrong.
    pub fn audit(&self) -> Result<()> {
        let said = self.operate(&["pool", "audit"])?;
        ensure!(said.ends_with("; 0 wrong\n"), "{said}");
        Ok(())
    }

    /// Stops the appliance as its operator does, with an audit before: nobody can ask for one afterwards.
    pub fn audit_and_stop(&mut self) -> Result<()> {
        self.audit()?;
        self.stop_server()
    }

    /// Starts the appliance and waits until it answers.
    pub fn start_server(&mut self) -> Result<()> {
        self.start_server_within(&[])
    }

    /// Starts the appliance as the command of another one, such as `unshare --time`, and waits until it answers.
    pub fn start_server_within(&mut self, outer: &[&str]) -> Result<()> {
        let address = format!("127.0.0.1:{}", self.port);
        let log = std::fs::File::options().create(true).append(true).open(self.path("appliance.log"))?;
        let serve = self.keepfast(&["serve", "--listen", &address])?;
        let limit = self.descriptors.map(|descriptors| format!("--nofile={descriptors}:"));
        let limit = limit.iter().flat_map(|limit| ["prlimit", limit]);
        let mut command = within(&limit.chain(outer.iter().copied()).collect::<Vec<_>>(), serve);
        command.stdout(log.try_clone()?).stderr(log);
        let server = self.server.insert(Running::start_as_it_is(&mut command)?);
        let begun = Instant::now();
        let socket = self.data.join("keepfast.sock");
        // From an address of its own: the log holds back what an address does again within seconds.
        let is_open = || UnixStream::connect(&socket).is_ok() && connect_from(self.port, [255, 0, 1]).is_ok();
        while !is_open() {
            if server.ended()?.is_some() || begun.elapsed() > START_MAX {
                bail!("the appliance did not start:\n{}", self.log()?);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Kills the appliance as a power cut would, but for the kernel's memory.
    pub fn kill_server(&mut self) -> Result<()> {
        self.server.take().map_or(Ok(()), |mut server| server.kill().map(drop))
    }

    /// Stops the appliance as its operator does.
    pub fn stop_server(&mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        server.interrupt()?;
        ensure!(server.wait()?.success(), "the appliance did not stop as it should:\n{}", self.log()?);
        Ok(())
    }

    /// The appliance, which runs.
    pub fn server(&self) -> Result<&Running> {
        self.server.as_ref().context("the appliance does not run")
    }

    /// Everything that the appliance has said.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.path("appliance.log"))?).into_owned())
    }

    /// The recovery key, which the appliance said when it made its pool.
    pub fn recovery_key(&self) -> Result<String> {
        let log = self.log()?;
        let said = log.lines().skip_while(|line| !line.contains("recovery key")).nth(2);
        Ok(said.context("the log has a recovery key")?.trim().to_owned())
    }

    /// Waits until something is so that the appliance brings about by itself; fails with its log after five minutes.
    pub fn wait_until(&self, what: &str, is_so: impl FnMut() -> bool) -> Result<()> {
        self.wait_within(ORDER_MAX, what, is_so)
    }

    /// The same, within some time.
    pub fn wait_within(&self, most: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
        let begun = Instant::now();
        while !is_so() {
            ensure!(begun.elapsed() < most, "{what}: not so after {most:?}\n{}", self.log()?);
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Waits until the log has all of these words behind each other in a line; fails after ten seconds.
    pub fn wait_for_line(&self, words: &[&str]) -> Result<String> {
        let begun = Instant::now();
        loop {
            let log = self.log()?;
            let has = |line: &&str| {
                words
                    .iter()
                    .try_fold(*line, |rest, word| rest.split_once(word).map(|(_, rest)| rest))
                    .is_some()
            };
            if let Some(line) = log.lines().find(has) {
                return Ok(line.to_owned());
            }
            if begun.elapsed() > Duration::from_secs(10) {
                bail!("no line of the log has {words:?}:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A figure of the appliance's process as /proc tells it, in bytes: `VmRSS`, or `VmHWM` for the most so far.
    pub fn memory_bytes(&self, field: &str) -> Result<u64> {
        let id = self.server.as_ref().context("the appliance runs")?.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let figure = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kib =
            figure.and_then(|figure| figure.trim().strip_suffix("kB")).context("the kernel knows it")?;
        Ok(kib.trim().parse::<u64>()? << 10)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && self.server.as_mut().is_some_and(|server| matches!(server.ended(), Ok(None)))
        {
            let audit = self.audit();
            assert!(audit.is_ok(), "at the end of the test: {audit:?}");
        }
    }
}

/// A command behind others, each of which changes something about itself and becomes the next one.
fn within(outer: &[&str], command: Command) -> Command {
    let [program, arguments @ ..] = outer else { return command };
    let mut outer = Command::new(program);
    outer.args(arguments).arg(command.get_program()).args(command.get_args());
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}
