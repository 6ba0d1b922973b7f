//! Test data of a format version never changes: what was written by an earlier version must stay readable.
//!
//! Beside `testdata/vN` lies `testdata/vN.b3`, a list as `b3sum` prints it. A file that is changed, gone or not
//! listed is found; listing new ones is done by `cargo xtask tidy --record`, changing a line by nobody.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::files::Files;
use super::{Finding, finding};

const FOLDER: &str = "testdata";
const LIST_ENDING: &str = ".b3";

/// Checks every file below `testdata/vN` of every crate, and every line of the lists.
pub(crate) fn check(files: &Files) -> Vec<Finding> {
    let (listed, mut found) = listed(files);
    let present: BTreeMap<&str, String> = files
        .bytes()
        .filter(|(path, _)| list_of(path).is_some())
        .map(|(path, bytes)| (path, blake3::hash(bytes).to_hex().to_string()))
        .collect();
    for (&path, hash) in &present {
        match listed.get(path) {
            Some(expected) if expected == hash => {}
            Some(_) => found.push(finding(path, None, "fixtures", "was changed; make a new version instead")),
            None => {
                found.push(finding(path, None, "fixtures", "is not listed; see cargo xtask tidy --record"))
            }
        }
    }
    let gone = listed.keys().filter(|path| !present.contains_key(path.as_str()));
    found.extend(gone.map(|path| finding(path, None, "fixtures", "is listed and gone")));
    found
}

/// Adds lines for files that no list has; gives their paths.
pub(crate) fn record(root: &Path) -> Result<Vec<String>> {
    let files = Files::read(root)?;
    let (listed, _) = listed(&files);
    let mut added = Vec::new();
    let mut lists: BTreeMap<String, String> = BTreeMap::new();
    for (path, bytes) in files.bytes().filter(|(path, _)| !listed.contains_key(*path)) {
        let Some((list, name)) = list_of(path) else { continue };
        let text = lists.entry(list.clone()).or_insert_with(|| files.text(&list).unwrap_or("").to_owned());
        text.push_str(&format!("{}  {name}\n", blake3::hash(bytes).to_hex()));
        added.push(path.to_owned());
    }
    for (list, text) in lists {
        std::fs::write(root.join(&list), text).with_context(|| format!("write {list}"))?;
    }
    Ok(added)
}

/// The list that a fixture belongs in, and the name that it has there.
fn list_of(path: &str) -> Option<(String, &str)> {
    let (before, name) = path.split_once(&format!("{FOLDER}/v"))?;
    let (version, file) = name.split_once('/')?;
    let number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    let start = path.len() - file.len() - version.len() - 2;
    let name = path.get(start..)?;
    (number && before.ends_with('/')).then(|| (format!("{before}{FOLDER}/v{version}{LIST_ENDING}"), name))
}

/// Every listed path with its hash, and the lines that cannot be read.
fn listed(files: &Files) -> (BTreeMap<String, String>, Vec<Finding>) {
    let mut listed = BTreeMap::new();
    let mut found = Vec::new();
    for (list, text) in files.texts(LIST_ENDING).filter(|(path, _)| path.contains(&format!("/{FOLDER}/v"))) {
        let folder = list.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (line, number) in text.lines().zip(1..) {
            match line.split_once("  ") {
                Some((hash, name)) if hash.len() == 64 => {
                    if listed.insert(format!("{folder}/{name}"), hash.to_owned()).is_some() {
                        found.push(finding(list, number, "fixtures", "lists a file twice"));
                    }
                }
                _ => found.push(finding(list, number, "fixtures", "is not a line of b3sum")),
            }
        }
    }
    (listed, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(fixture: Option<&str>, list: &str) -> Vec<String> {
        let mut files = vec![("a/testdata/v1.b3", list)];
        files.extend(fixture.map(|text| ("a/testdata/v1/x", text)));
        check(&Files::made_of(&files)).into_iter().map(|finding| finding.text).collect()
    }

    fn line(text: &str) -> String {
        format!("{}  v1/x\n", blake3::hash(text.as_bytes()).to_hex())
    }

    #[test]
    fn each_rule_fires_on_a_bad_sample() {
        assert_eq!(texts(Some("b"), &line("a")), ["was changed; make a new version instead"]);
        assert_eq!(texts(None, &line("a")), ["is listed and gone"]);
        assert_eq!(texts(Some("a"), ""), ["is not listed; see cargo xtask tidy --record"]);
        assert_eq!(texts(Some("a"), &line("a").repeat(2)), ["lists a file twice"]);
        assert_eq!(texts(None, "what\n"), ["is not a line of b3sum"]);
    }

    #[test]
    fn listed_files_pass() {
        assert_eq!(texts(Some("a"), &line("a")), [""; 0]);
    }

    #[test]
    fn recording_adds_and_never_changes() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("a/testdata/v1");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("x"), "a").unwrap();
        assert_eq!(record(top.path()).unwrap(), ["a/testdata/v1/x"]);
        assert_eq!(check(&Files::read(top.path()).unwrap()), []);
        std::fs::write(folder.join("x"), "b").unwrap();
        assert_eq!(record(top.path()).unwrap(), [""; 0]);
        assert_eq!(check(&Files::read(top.path()).unwrap()).len(), 1);
    }
}
