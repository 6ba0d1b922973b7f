//! The files of the repository, read once.
//!
//! Everything below the top is here, except what git and cargo keep for themselves. Links are not followed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

/// Every file by its path from the top, with `/` between names.
pub(crate) struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// Reads the repository whose top is `root`.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut waiting = vec![String::new()];
        while let Some(folder) = waiting.pop() {
            let place = root.join(&folder);
            for entry in std::fs::read_dir(&place).with_context(|| format!("list {}", place.display()))? {
                let entry = entry.with_context(|| format!("list {}", place.display()))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if folder.is_empty() && (name == ".git" || name == "target" || name.starts_with("target-")) {
                    continue;
                }
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                let kind = entry.file_type().with_context(|| format!("look at {path}"))?;
                if kind.is_dir() {
                    waiting.push(path);
                } else if kind.is_file() {
                    let bytes = std::fs::read(entry.path()).with_context(|| format!("read {path}"))?;
                    files.insert(path, bytes);
                }
            }
        }
        Ok(Self(files))
    }

    /// Files made up by a test.
    #[cfg(test)]
    pub(crate) fn made_of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect())
    }

    /// Every path.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Every file.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// Every file that is text and whose name ends like this.
    pub(crate) fn texts<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.bytes()
            .filter(move |(path, _)| path.ends_with(ending))
            .filter_map(|(path, bytes)| Some((path, std::str::from_utf8(bytes).ok()?)))
    }

    /// One file, if it is text.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.0.get(path)?).ok()
    }

    /// Whether a file or folder has this path.
    pub(crate) fn holds(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let below = format!("{path}/");
        self.0.contains_key(path)
            || self.0.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_held_and_beginnings_of_names_are_not() {
        let files = Files::made_of(&[("a/b/c.rs", ""), ("a-b", "")]);
        assert!(files.holds("a") && files.holds("a/b/") && files.holds("a/b/c.rs"));
        assert!(!files.holds("a/b/c") && !files.holds("b"));
    }

    #[test]
    fn what_git_and_cargo_keep_is_left_out_at_the_top_only() {
        let top = tempfile::tempdir().unwrap();
        for path in [".git/config", "target/x", "target-mine/x", "docs/target/y", "z"] {
            let place = top.path().join(path);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, "").unwrap();
        }
        let files = Files::read(top.path()).unwrap();
        assert_eq!(files.paths().collect::<Vec<_>>(), ["docs/target/y", "z"]);
    }
}
