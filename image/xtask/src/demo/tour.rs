//! The tour itself: every command that it runs is shown as it can be typed in the folder of the demo.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::stage::Stage;
use crate::keepfast::{Appliance, Mount, Programs};
use crate::process::{Interruption, command, run};
use crate::terminal;

const MACHINE: &str = "demo";
const SOURCE: &str = "docs";
/// Where points are mounted.
const MOUNTED: &str = "mounted";
/// Lines of output that are shown.
const LINES_MAX: usize = 12;

/// What stays up after the tour; dropped in this order.
pub(crate) struct Running {
    mount: Mount,
    appliance: Appliance,
}

impl Running {
    /// Whether a part of it ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        self.mount.ended() || self.appliance.ended()
    }
}

struct Guide<'a> {
    programs: &'a Programs,
    stage: &'a Stage,
    interruption: &'a Interruption,
}

/// Gives the tour.
pub(crate) fn give(programs: &Programs, stage: &Stage, interruption: &Interruption) -> Result<Running> {
    let guide = Guide { programs, stage, interruption };
    let appliance = guide.start()?;
    guide.join()?;
    guide.protect()?;
    guide.change()?;
    let points = guide.list()?;
    let mount = guide.browse(&points)?;
    guide.compare(&points)?;
    guide.restore(&points)?;
    Ok(Running { mount, appliance })
}

/// Says what can be tried while everything is up.
pub(crate) fn suggest(programs: &Programs, stage: &Stage) {
    let folder = stage.folder().display();
    heading("Your turn, in another terminal");
    let lines = [
        format!("cd {folder}"),
        format!("export PATH={}:$PATH KEEPFAST_DATA={folder}/appliance", programs.folder().display()),
        format!("ls {MOUNTED}/{MACHINE}/{SOURCE}/points"),
        format!("ls {MOUNTED}/{MACHINE}/{SOURCE}/at/1m-ago{folder}/documents"),
        "echo more >> documents/keepfast/letter.txt".to_owned(),
        format!("keepfast-agent --data agent backup {SOURCE}"),
        "keepfast points".to_owned(),
        format!("keepfast cat {MACHINE}/{SOURCE}@latest:{}", stage.letter().display()),
        format!(
            "diff {{documents,{MOUNTED}/{MACHINE}/{SOURCE}/at/1m-ago{folder}/documents}}/keepfast/letter.txt"
        ),
        format!("keepfast-agent --data agent restore {SOURCE}@latest --to elsewhere"),
        "keepfast pool verify".to_owned(),
        "keepfast --help".to_owned(),
    ];
    for line in lines {
        println!("    {}", terminal::command(&line));
    }
    println!("\nCtrl-C ends the demo, stops everything and removes the folder.");
}

fn heading(text: &str) {
    println!("{}", terminal::strong(text));
}

fn show(line: &str) {
    println!("  {} {}", terminal::faint("$"), terminal::command(line));
}

impl Guide<'_> {
    fn start(&self) -> Result<Appliance> {
        heading("An appliance with its pool in a folder");
        let appliance = Appliance::start(self.programs, self.stage.folder(), "appliance", self.interruption)?;
        show(&format!("keepfast serve --data appliance --listen {} &", appliance.address()));
        println!();
        Ok(appliance)
    }

    fn join(&self) -> Result<()> {
        heading("A machine joins with a token that is good for one time");
        let said =
            self.run("keepfast", &["token", "create", MACHINE, "--allow-restore", "--data", "appliance"])?;
        let token = said.split_whitespace().find(|word| word.starts_with("kf1-"));
        let token = token.with_context(|| format!("no token in {said:?}"))?.to_owned();
        let shown = format!("{}...", token.get(..24).unwrap_or(&token));
        self.run_as(
            "keepfast-agent",
            &["--data", "agent", "join", &token],
            &["--data", "agent", "join", &shown],
        )?;
        println!();
        Ok(())
    }

    fn protect(&self) -> Result<()> {
        heading("Real files are protected");
        let documents = self.stage.documents().display().to_string();
        self.run("keepfast-agent", &["--data", "agent", "source", "add", SOURCE, &documents])?;
        self.backup()?;
        println!();
        Ok(())
    }

    fn backup(&self) -> Result<()> {
        let started = std::time::Instant::now();
        self.run("keepfast-agent", &["--data", "agent", "backup", "--plain", SOURCE])?;
        println!("    {}", terminal::faint(&format!("after {}", terminal::span(started.elapsed()))));
        Ok(())
    }

    fn change(&self) -> Result<()> {
        heading("Some files change, and a second point is made");
        for change in self.stage.change()? {
            println!("    {change}");
        }
        self.backup()?;
        println!();
        Ok(())
    }

    fn list(&self) -> Result<[String; 2]> {
        heading("There are two points, each of them complete");
        self.run("keepfast", &["points", "--data", "appliance"])?;
        println!();
        let listed = self.points()?;
        let [first, second] = listed.as_slice() else {
            bail!("two points were made, {} are shown", listed.len())
        };
        Ok([first.clone(), second.clone()])
    }

    fn browse(&self, points: &[String; 2]) -> Result<Mount> {
        heading("Both are folders, which any program can read");
        show(&format!("keepfast mount {MOUNTED} --data appliance &"));
        let folder = self.stage.folder();
        let mut mount = self.programs.command("keepfast", &["mount", MOUNTED, "--data", "appliance"], folder);
        let log = fs::File::create(folder.join("mount.log")).context("make a log")?;
        mount.stdout(log.try_clone().context("open the log twice")?).stderr(log);
        let mount = Mount::start(&mut mount, &folder.join(MOUNTED), self.interruption)?;
        let letter = self.stage.letter();
        for (point, text) in points.iter().zip(self.stage.letter_texts()) {
            let shown = inside(&format!("{MOUNTED}/{MACHINE}/{SOURCE}/points/{point}"), &letter);
            self.run(
                "ls",
                &["-l", "--time-style=long-iso", &shown.with_file_name("").display().to_string()],
            )?;
            ensure!(
                self.run("cat", &[&shown.display().to_string()])? == text,
                "{point} shows another letter"
            );
        }
        println!();
        Ok(mount)
    }

    /// The ids of all points, oldest first.
    fn points(&self) -> Result<Vec<String>> {
        let arguments = ["points", "--json", "--data", "appliance"];
        let mut command = self.programs.command("keepfast", &arguments, self.stage.folder());
        let finished = run(&mut command, self.interruption)?;
        let rows: Vec<serde_json::Value> =
            serde_json::from_str(&finished.output).context("read the points")?;
        let id = |row: &serde_json::Value| row.get("point").and_then(|id| id.as_str()).map(str::to_owned);
        rows.iter().map(|row| id(row).context("a point has no id")).collect()
    }

    fn compare(&self, [first, second]: &[String; 2]) -> Result<()> {
        heading("What differs between them");
        let (before, after) = (format!("{MACHINE}/{SOURCE}@{first}"), format!("{MACHINE}/{SOURCE}@{second}"));
        let said = self.run("keepfast", &["diff", &before, &after, "--data", "appliance"])?;
        ensure!(said.contains("letter.txt"), "the diff does not name the letter");
        println!();
        Ok(())
    }

    fn restore(&self, [first, _]: &[String; 2]) -> Result<()> {
        heading("The letter as it was");
        let letter = self.stage.letter();
        let (point, path) = (format!("{MACHINE}/{SOURCE}@{first}"), letter.display().to_string());
        self.run(
            "keepfast",
            &["restore", &point, "--to", "restored", "--path", &path, "--data", "appliance"],
        )?;
        let place = inside("restored", &letter);
        show(&format!("cat {}", place.display()));
        let text =
            fs::read_to_string(self.stage.folder().join(&place)).context("read the restored letter")?;
        println!("{}\n", terminal::indented(&text, LINES_MAX));
        ensure!(text == self.stage.letter_texts()[0], "the restored letter is not the first one");
        Ok(())
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.run_as(program, arguments, arguments)
    }

    /// Runs a command and shows it with other arguments than it gets.
    fn run_as(&self, program: &str, arguments: &[&str], shown: &[&str]) -> Result<String> {
        show(&format!("{program} {}", shown.join(" ")));
        let mut command = if program.starts_with("keepfast") {
            self.programs.command(program, arguments, self.stage.folder())
        } else {
            let mut command = command(program, arguments);
            command.current_dir(self.stage.folder());
            command
        };
        let finished = run(&mut command, self.interruption)?;
        ensure!(
            finished.status.success(),
            "{program} ended with {}: {}",
            finished.status,
            finished.complaints.trim()
        );
        if !finished.output.trim().is_empty() {
            println!("{}", terminal::indented(&finished.output, LINES_MAX));
        }
        Ok(finished.output)
    }
}

/// Where an absolute path lies in a point or a restore that begins at `folder`.
fn inside(folder: &str, path: &Path) -> PathBuf {
    Path::new(folder).join(path.strip_prefix("/").unwrap_or(path))
}
