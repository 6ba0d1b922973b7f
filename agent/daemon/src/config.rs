//! What the agent is told: `agent.toml` in its data directory. Keys that are unknown are refused.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};
use capture::SourceConfig;
use model::record::Label;
use serde::{Deserialize, Serialize};

/// A version of the file: times are coarser than two changes can be.
pub(crate) type Version = (SystemTime, u64, u64);

/// Everything that the agent is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// What is protected.
    #[serde(default, rename = "source")]
    pub(crate) sources: Vec<Source>,
}

/// One protected thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) paths: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) excludes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) images: Vec<String>,
    #[serde(default)]
    pub(crate) one_filesystem: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) every_minutes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cron: Option<String>,
}

impl Source {
    /// As the scan takes it; the agent's own directory is left out.
    pub(crate) fn scan(&self, data: &Path) -> anyhow::Result<SourceConfig> {
        Ok(SourceConfig {
            label: Label::new(&self.name)?,
            paths: self.paths.clone(),
            excludes: self.excludes.clone(),
            one_filesystem: self.one_filesystem,
            images: self.images.clone(),
            skipped: vec![std::fs::canonicalize(data).unwrap_or_else(|_| data.to_owned())],
        })
    }
}

/// Makes a directory that only its owner may look into, if it is not there: names of what is protected stand in it.
pub(crate) fn make_private(path: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("make {}", path.display()))
}

impl Config {
    fn path(data: &Path) -> PathBuf {
        data.join("agent.toml")
    }

    /// Tells one version of the file from the next: time, inode and size.
    pub(crate) fn version(data: &Path) -> Option<Version> {
        let file = std::fs::metadata(Self::path(data)).ok()?;
        Some((file.modified().ok()?, file.ino(), file.len()))
    }

    /// Reads it; nothing is protected if there is no file.
    pub(crate) fn load(data: &Path) -> anyhow::Result<Self> {
        let path = Self::path(data);
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).with_context(|| format!("{} is wrong", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Writes it whole or not at all.
    pub(crate) fn store(&self, data: &Path) -> anyhow::Result<()> {
        make_private(data)?;
        let (path, new) = (Self::path(data), data.join("agent.toml.new"));
        let mut file = std::fs::File::create(&new).with_context(|| format!("make {}", new.display()))?;
        file.write_all(toml::to_string_pretty(self)?.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        std::fs::File::open(data)?.sync_all()?;
        Ok(())
    }

    /// The sources of these names; all of them without a name.
    pub(crate) fn choose(&self, names: &[String]) -> anyhow::Result<Vec<Source>> {
        if self.sources.is_empty() {
            bail!("nothing is protected yet; `keepfast-agent source add NAME PATH...` says what is");
        }
        if names.is_empty() {
            return Ok(self.sources.clone());
        }
        let find = |name: &String| self.sources.iter().find(|source| source.name == *name).cloned();
        let missing =
            |name: &String| format!("there is no source {name}; `keepfast-agent source list` lists them");
        names.iter().map(|name| find(name).with_context(|| missing(name))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_back_and_unknown_keys_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source {
            name: "home".into(),
            paths: vec!["/home".into()],
            excludes: vec!["*.tmp".into()],
            images: Vec::new(),
            one_filesystem: true,
            every_minutes: Some(5),
            cron: None,
        };
        let config = Config { sources: vec![source] };
        assert_eq!(Config::load(dir.path()).unwrap(), Config::default());
        config.store(dir.path()).unwrap();
        assert_eq!(Config::load(dir.path()).unwrap(), config);
        assert!(config.choose(&["nowhere".into()]).is_err());
        assert_eq!(config.choose(&[]).unwrap(), config.sources);
        std::fs::write(dir.path().join("agent.toml"), "colour = 1").unwrap();
        assert!(format!("{:#}", Config::load(dir.path()).unwrap_err()).contains("colour"));
    }
}
