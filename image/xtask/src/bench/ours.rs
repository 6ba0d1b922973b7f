//! Keepfast as a contender: an appliance of its own in every round, an agent that joins it over TLS.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::contender::{Contender, Place, Session, inside};
use super::cost::{self, Cost, Step};
use super::mounted;
use crate::keepfast::{Appliance, Programs};
use crate::process::{Interruption, run};

const LABEL: &str = "bench";
/// After that long room has not come back.
const FREE_TIME_MAX: Duration = Duration::from_secs(300);

/// The programs that were built.
pub(crate) struct Ours<'a> {
    programs: &'a Programs,
}

impl<'a> Ours<'a> {
    /// Takes part with these programs.
    pub(crate) const fn new(programs: &'a Programs) -> Self {
        Self { programs }
    }

    fn run(
        &self,
        program: &str,
        arguments: &[&str],
        folder: &Path,
        interruption: &Interruption,
    ) -> Result<String> {
        let finished = run(&mut self.programs.command(program, arguments, folder), interruption)?;
        ensure!(
            finished.status.success(),
            "{program} {}: {}",
            arguments.join(" "),
            finished.complaints.trim()
        );
        Ok(finished.output)
    }
}

impl Ours<'_> {
    /// Lets all points go but the newest, and waits until no more is stored than it has.
    fn forget(&self, place: &Place, interruption: &Interruption) -> Result<Cost> {
        let (source, before) = (format!("{LABEL}/{LABEL}"), cost::room(&place.repository)?);
        let keep = ["last=1", "floor-points=1", "floor-age=0s", "--data", "data"];
        let arguments: Vec<&str> = ["retention", "set", &source].into_iter().chain(keep).collect();
        let started = Instant::now();
        self.run("keepfast", &arguments, &place.repository, interruption)?;
        loop {
            let stored_bytes = cost::room(&place.repository)?;
            // All of it is new in the newest point, and there is nothing to be gained by compression.
            if stored_bytes < before.saturating_sub(place.bytes / 20 * 19) {
                return Ok(Cost { wall: started.elapsed(), stored_bytes, ..Cost::default() });
            }
            ensure!(
                started.elapsed() < FREE_TIME_MAX,
                "room does not come back: {stored_bytes} of {before} bytes"
            );
            interruption.check()?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Contender for Ours<'_> {
    fn name(&self) -> &str {
        "keepfast"
    }

    fn prepare(&self, place: &Place, interruption: &Interruption) -> Result<Session> {
        let appliance = Appliance::start(self.programs, &place.repository, "data", interruption)?;
        let create = ["token", "create", LABEL, "--allow-restore", "--data", "data"];
        let said = self.run("keepfast", &create, &place.repository, interruption)?;
        let token =
            said.split_whitespace().find(|word| word.starts_with("kf1-")).context("no token was printed")?;
        let source = place.source.display().to_string();
        self.run("keepfast-agent", &["--data", "agent", "join", token], &place.state, interruption)?;
        let add = ["--data", "agent", "source", "add", LABEL, &source];
        self.run("keepfast-agent", &add, &place.state, interruption)?;
        Ok(Session(Some(appliance)))
    }

    fn carry_out(
        &self,
        step: Step,
        session: &mut Session,
        place: &Place,
        interruption: &Interruption,
    ) -> Result<Option<Cost>> {
        let appliance = session.0.as_ref().context("the appliance was not started")?;
        let agent = self.programs.path("keepfast-agent");
        let measure = |arguments: &[&str]| {
            let here = |command: &mut std::process::Command| {
                command.current_dir(&place.state);
            };
            cost::measure(&agent, arguments, here, Some(appliance.id()), interruption)
        };
        match step {
            Step::First | Step::Unchanged | Step::Changed => {
                let mut cost = measure(&["--data", "agent", "backup", LABEL])?;
                cost.stored_bytes = cost::room(&place.repository)?;
                Ok(Some(cost))
            }
            Step::Restore => {
                let (point, output) = (format!("{LABEL}@latest"), place.output.display().to_string());
                measure(&["--data", "agent", "restore", &point, "--to", &output]).map(Some)
            }
            Step::OneFile | Step::Stream => {
                let mount = ["mount", &place.mount.display().to_string(), "--data", "data"];
                let mut mount = self.programs.command("keepfast", &mount, &place.repository);
                let point = place.mount.join(LABEL).join(LABEL).join("latest");
                if step == Step::OneFile {
                    let file = inside(&point, &place.file);
                    return mounted::read(&mut mount, place, &file, interruption).map(Some);
                }
                mounted::stream(&mut mount, place, &inside(&point, &place.source), interruption).map(Some)
            }
            Step::Forget => self.forget(place, interruption).map(Some),
        }
    }

    fn restored(&self, place: &Place) -> PathBuf {
        inside(&place.output, &place.source)
    }
}
