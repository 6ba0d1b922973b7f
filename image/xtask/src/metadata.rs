//! The workspace as cargo sees it: packages, the arrows between them, and where things are built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// What `cargo metadata` says, as far as it is used here.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    /// Every package, ours and others.
    pub(crate) packages: Vec<Package>,
    /// The ids of our own.
    pub(crate) workspace_members: Vec<String>,
    /// Where programs are built.
    pub(crate) target_directory: PathBuf,
    /// The top of the repository.
    pub(crate) workspace_root: PathBuf,
    resolve: Resolve,
}

/// One package.
#[derive(Deserialize)]
pub(crate) struct Package {
    id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its manifest.
    pub(crate) manifest_path: PathBuf,
    /// What it says it needs.
    pub(crate) dependencies: Vec<Dependency>,
    /// Its cargo features.
    pub(crate) features: BTreeMap<String, Vec<String>>,
    /// What is built of it.
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Package {
    /// Whether a program of this name is built of it.
    pub(crate) fn makes(&self, program: &str) -> bool {
        self.targets
            .iter()
            .any(|target| target.name == program && target.kind.iter().any(|kind| kind == "bin"))
    }
}

/// One line of a manifest's dependencies.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    /// The package it names.
    pub(crate) name: String,
    /// `dev`, `build`, or nothing for an ordinary one.
    pub(crate) kind: Option<String>,
    /// The features that it turns on.
    pub(crate) features: Vec<String>,
    /// Where it lies, if it is one of ours.
    pub(crate) path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

impl Metadata {
    /// Asks cargo about the workspace that holds the current directory.
    pub(crate) fn read() -> Result<Self> {
        let output = Command::new(cargo())
            .args(["metadata", "--format-version", "1"])
            .output()
            .context("start cargo metadata")?;
        ensure!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Self::parse(&output.stdout)
    }

    /// Parses the answer.
    pub(crate) fn parse(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).context("read the answer of cargo metadata")
    }

    /// Our own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// Where the programs of the development profile are built.
    pub(crate) fn programs(&self) -> PathBuf {
        self.target_directory.join("debug")
    }

    /// Where commands of this program keep what they write; made if it is new.
    pub(crate) fn scratch(&self, command: &str) -> Result<PathBuf> {
        let folder = self.target_directory.join("xtask").join(command);
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    }

    /// The names of every package that an ordinary build of `package` contains, itself left out.
    pub(crate) fn closure(&self, package: &Package) -> BTreeSet<&str> {
        let names: BTreeMap<&str, &str> =
            self.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
        let nodes: BTreeMap<&str, &Node> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let mut seen = BTreeSet::new();
        let mut waiting = vec![package.id.as_str()];
        while let Some(id) = waiting.pop() {
            let Some(node) = nodes.get(id) else { continue };
            for edge in &node.deps {
                let ordinary = edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
                if ordinary && seen.insert(edge.pkg.as_str()) {
                    waiting.push(&edge.pkg);
                }
            }
        }
        seen.into_iter().filter_map(|id| names.get(id).copied()).collect()
    }
}

/// The cargo that runs us, or the one on the path.
pub(crate) fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
