//! The steps of `cargo xtask test`, in the order in which they run: what is quick and often wrong comes first.

use std::fs::File;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::metadata::{Metadata, cargo};
use crate::process::{Interruption, command, run_through};
use crate::{sim, system};

/// The feature that plants bugs for the simulator to find.
const PLANTED: &str = "planted-bugs";

/// One check.
pub(crate) struct Step {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) work: Work,
}

/// What a step does.
pub(crate) enum Work {
    /// Makes sure that the system packages are there.
    Packages,
    /// Runs the house rules in this process.
    Tidy,
    /// Runs a program.
    Command(Line),
}

/// A command line with what it needs to know.
pub(crate) struct Line {
    program: String,
    arguments: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

impl Step {
    /// Whether its name contains one of these words; without words every step counts.
    pub(crate) fn is_one_of(&self, words: &[String]) -> bool {
        words.is_empty() || words.iter().any(|word| self.name.contains(word.as_str()))
    }
}

impl Line {
    /// Runs it, with all it says in `log`; whether it went well.
    pub(crate) fn run(&self, log: File, interruption: &Interruption) -> Result<bool> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut command = command(&self.program, &arguments);
        command.stdout(log.try_clone().context("open the log twice")?).stderr(Stdio::from(log));
        command.envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())));
        Ok(run_through(&mut command, interruption)?.status.success())
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }
}

/// Every step. Real machines are tested last: when something simpler is wrong, they only say so later.
pub(crate) fn all(metadata: &Metadata) -> Vec<Step> {
    let nextest = system::program_present("cargo-nextest");
    let planted = planted(metadata);
    let mut steps = vec![
        Step { name: "system packages", work: Work::Packages },
        step("format", cargo_line("fmt --all --check")),
        Step { name: "tidy", work: Work::Tidy },
        step("clippy", cargo_line("clippy --workspace --all-targets -- -D warnings")),
        step("clippy planted bugs", cargo_line(&format!("clippy --all-targets {planted} -- -D warnings"))),
    ];
    if system::program_present("cargo-deny") {
        let checks = "deny --config .deny.toml --log-level error check bans licenses sources";
        steps.push(step("licences", cargo_line(checks)));
    }
    steps.extend([
        step("build", cargo_line("build --workspace --bins --tests --examples")),
        step("tests", tests(nextest, "--workspace", "not package(system)", "--workspace --exclude system")),
        step("planted bugs", tests(nextest, &planted, "all()", &planted)),
        step("examples in docs", cargo_line("test --workspace --doc")),
        step("docs", cargo_line("doc --workspace --no-deps").with("RUSTDOCFLAGS", "-D warnings")),
        step(
            "real programs",
            tests(nextest, "--workspace", "package(system)", "--package system -- --test-threads=1")
                .with("KEEPFAST_BIN_DIR", metadata.programs().display().to_string()),
        ),
    ]);
    let program = metadata.programs().join("simulator");
    if metadata.members().any(|package| package.makes("simulator")) {
        let arguments = sim::arguments(sim::SEED, sim::POINTS).to_vec();
        let line = Line { program: program.display().to_string(), arguments, variables: Vec::new() };
        steps.push(step("simulator", line));
    }
    steps
}

fn step(name: &'static str, line: Line) -> Step {
    Step { name, work: Work::Command(line) }
}

fn cargo_line(arguments: &str) -> Line {
    let arguments = arguments.split_whitespace().map(str::to_owned).collect();
    Line { program: cargo().to_string_lossy().into_owned(), arguments, variables: Vec::new() }
}

/// Tests through nextest if it is installed, which keeps to the groups of .config/nextest.toml.
fn tests(nextest: bool, packages: &str, filter: &str, without: &str) -> Line {
    if !nextest {
        return cargo_line(&format!("test --lib --bins --tests {without}"));
    }
    let mut line = cargo_line(&format!(
        "nextest run {packages} --no-fail-fast --status-level fail --final-status-level fail"
    ));
    line.arguments.extend(["-E".to_owned(), filter.to_owned()]);
    line
}

/// The packages that can be built with planted bugs, with that switched on.
fn planted(metadata: &Metadata) -> String {
    let packages: Vec<&str> = metadata
        .members()
        .filter(|package| package.features.contains_key(PLANTED))
        .map(|package| package.name.as_str())
        .collect();
    let flags = packages.iter().map(|name| format!("--package {name} --features {name}/{PLANTED}"));
    flags.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata() -> Metadata {
        let package = |name: &str, features: serde_json::Value| {
            json!({"id": name, "name": name, "manifest_path": format!("/top/{name}/Cargo.toml"), "dependencies": [],
                   "features": features})
        };
        let all = json!({"packages": [package("chunk", json!({"planted-bugs": []})), package("tree", json!({}))],
                         "workspace_members": ["chunk", "tree"], "target_directory": "/t", "workspace_root": "/top",
                         "resolve": {"nodes": []}});
        Metadata::parse(all.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn planted_bugs_are_built_only_where_they_exist() {
        assert_eq!(planted(&metadata()), "--package chunk --features chunk/planted-bugs");
        for step in all(&metadata()) {
            if let Work::Command(line) = step.work {
                let workspace = line.arguments.iter().any(|argument| argument == "--workspace");
                let features = line.arguments.iter().any(|argument| argument == "--features");
                assert!(!(workspace && features), "{} would plant bugs in programs", step.name);
            }
        }
    }

    #[test]
    fn without_nextest_the_same_tests_run() {
        let arguments =
            |nextest| tests(nextest, "--workspace", "not package(a)", "--workspace --exclude a").arguments;
        assert_eq!(arguments(false), ["test", "--lib", "--bins", "--tests", "--workspace", "--exclude", "a"]);
        assert!(arguments(true).ends_with(&["-E".to_owned(), "not package(a)".to_owned()]));
    }

    #[test]
    fn steps_are_chosen_by_words() {
        let step = Step { name: "real programs", work: Work::Tidy };
        assert!(step.is_one_of(&[]) && step.is_one_of(&["x".into(), "real".into()]));
        assert!(!step.is_one_of(&["x".into()]));
    }
}
