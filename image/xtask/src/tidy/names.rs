//! Rules about names and words: what lies at the top, what files are called, and what no text of ours says.

use super::files::Files;
use super::{Finding, finding};

/// What may lie at the top besides dotted files and licences.
const TOP: &[&str] =
    &["Cargo.toml", "Cargo.lock", "README.md", "appliance", "agent", "fs-mount", "image", "hwtests", "docs"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "shared"];

/// Marks of work that somebody meant to finish.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Places that only some developer's machine has.
const OUTSIDE: &[&str] = &[concat!("../sha", "red"), concat!("/wo", "rk/")];

/// Checks paths, then texts.
pub(crate) fn check(files: &Files) -> Vec<Finding> {
    let mut found = check_top(files);
    found.extend(files.paths().filter_map(check_name));
    for (path, text) in files.texts("").filter(|(path, _)| *path != "Cargo.lock") {
        for (line, number) in text.lines().zip(1..) {
            found.extend(check_line(path, line, number));
        }
    }
    found
}

fn check_top(files: &Files) -> Vec<Finding> {
    let mut tops: Vec<&str> = files.paths().filter_map(|path| path.split('/').next()).collect();
    tops.dedup();
    tops.into_iter()
        .filter(|top| !TOP.contains(top) && !top.starts_with('.') && !top.starts_with("LICENSE"))
        .map(|top| finding(top, None, "top", "does not belong at the top"))
        .collect()
}

fn check_name(path: &str) -> Option<Finding> {
    let empty = path.split('/').find(|name| EMPTY_NAMES.contains(&name.split('.').next().unwrap_or(name)))?;
    Some(finding(path, None, "names", format!("{empty:?} says nothing about what is inside")))
}

fn check_line(path: &str, line: &str, number: usize) -> Vec<Finding> {
    let unfinished = UNFINISHED
        .iter()
        .filter(|mark| has_word(line, mark))
        .map(|mark| finding(path, number, "unfinished", format!("{mark}: finish it, or open an issue")));
    let outside = OUTSIDE
        .iter()
        .filter(|place| starts_path(line, place))
        .map(|place| finding(path, number, "outside", format!("{place} is not part of the project")));
    unfinished.chain(outside).collect()
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let before = line.get(..start).unwrap_or("");
        let after = line.get(start + word.len()..).unwrap_or("");
        !before.ends_with(is_name) && !after.starts_with(is_name)
    })
}

fn starts_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(start, _)| {
        let before = line.get(..start).unwrap_or("");
        !before.ends_with(|character| is_name(character) || matches!(character, '-' | '.' | '}' | '/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        check(&Files::made_of(&[(path, text)])).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn each_rule_fires_on_a_bad_sample() {
        assert_eq!(rules("rust-toolchain.toml", ""), ["top"]);
        assert_eq!(rules("scripts/x.sh", ""), ["top"]);
        assert_eq!(rules("agent/capture/src/utils.rs", ""), ["names"]);
        assert_eq!(rules("agent/capture/tests/common/mod.rs", ""), ["names"]);
        assert_eq!(rules("docs/x.md", concat!("a TO", "DO b")), ["unfinished"]);
        assert_eq!(rules("docs/x.md", concat!("see ../sha", "red/design.md")), ["outside"]);
        assert_eq!(rules("docs/x.md", concat!("see `/wo", "rk/main`")), ["outside"]);
    }

    #[test]
    fn good_names_and_words_pass() {
        let good = ["README.md", "LICENSE-MIT", ".ci/run", "agent/capture/src/shared_pages.rs"];
        for path in good {
            assert_eq!(rules(path, concat!("mktemp XX", "XXXX; net", "/wo", "rk/a")), [""; 0], "{path}");
        }
    }
}
