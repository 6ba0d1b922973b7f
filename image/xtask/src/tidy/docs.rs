//! Every path that a document names exists.
//!
//! Looked at are the pages of docs/, README.md, and FORMAT.md and PROTOCOL.md beside the crates: what stands in
//! backticks and looks like a path of the repository, and where links lead.

use super::files::Files;
use super::{Finding, finding};

/// Folders of a crate: a page beside the crate may name them from there.
const CRATE_FOLDERS: &[&str] = &["src", "tests", "testdata", "benches"];

/// Checks every page; a change log tells of files that are gone.
pub(crate) fn check(files: &Files) -> Vec<Finding> {
    let pages = files.texts(".md").filter(|(path, _)| {
        let page = path.rsplit('/').next().unwrap_or(path);
        path.starts_with("docs/") || matches!(page, "README.md" | "FORMAT.md" | "PROTOCOL.md")
    });
    pages
        .flat_map(|(path, text)| {
            let named = named_paths(files, path, text);
            named
                .into_iter()
                .filter(|(name, _)| !exists(files, path, name))
                .map(move |(name, line)| finding(path, line, "docs", format!("{name} does not exist")))
        })
        .collect()
}

/// What a page names, with the lines.
fn named_paths(files: &Files, page: &str, text: &str) -> Vec<(String, usize)> {
    let mut named = Vec::new();
    let mut in_block = false;
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        if in_block {
            continue;
        }
        let quoted = line.split('`').skip(1).step_by(2);
        named.extend(quoted.filter(|name| is_path(files, page, name)).map(|name| (name.to_owned(), number)));
        let links = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        named.extend(
            links
                .filter(|link| !link.is_empty() && !link.contains("://"))
                .map(|link| (link.to_owned(), number)),
        );
    }
    named
}

/// Whether something in backticks is meant as a path of the repository.
fn is_path(files: &Files, page: &str, name: &str) -> bool {
    let plain = |character: char| character.is_ascii_alphanumeric() || "._-/".contains(character);
    if name.is_empty() || !name.chars().all(plain) || name.starts_with('/') {
        return false;
    }
    if is_source_name(name) {
        return true;
    }
    let Some((first, rest)) = name.split_once('/') else { return false };
    let beside_crate = !page.starts_with("docs/") && page.contains('/');
    (files.holds(first) && !rest.is_empty()) || (beside_crate && CRATE_FOLDERS.contains(&first))
}

fn is_source_name(name: &str) -> bool {
    [".rs", ".md", ".toml"].iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
}

/// Whether a name leads somewhere: from the top, from the page, or, for a bare file name, anywhere.
fn exists(files: &Files, page: &str, name: &str) -> bool {
    let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
    let bare = !name.contains('/') && files.paths().any(|path| path.rsplit('/').next() == Some(name));
    bare || files.holds(name) || resolve(folder, name).is_some_and(|path| files.holds(&path))
}

/// `name` as seen from `folder`, if that lies in the repository.
fn resolve(folder: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(page: &str, text: &str) -> Vec<String> {
        let files = Files::made_of(&[
            (page, text),
            ("appliance/core/chunk/testdata/v1/x", ""),
            ("appliance/core/chunk/src/lib.rs", ""),
            ("docs/GLOSSARY.md", ""),
            (".ci/run", ""),
        ]);
        check(&files).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_path_that_is_gone_is_found() {
        assert_eq!(missing("docs/A.md", "see `appliance/core/pond`"), ["appliance/core/pond does not exist"]);
        assert_eq!(missing("README.md", "[x](docs/NONE.md#y)"), ["docs/NONE.md does not exist"]);
        assert_eq!(
            missing("appliance/core/chunk/FORMAT.md", "`testdata/v2`"),
            ["testdata/v2 does not exist"]
        );
        assert_eq!(missing("docs/A.md", "`nothing.rs`"), ["nothing.rs does not exist"]);
    }

    #[test]
    fn paths_that_exist_and_words_with_a_slash_pass() {
        let text = "`appliance/core/chunk/src/lib.rs` `appliance/core/` `lib.rs` `.ci/run` `keepfast/1` `/etc/fstab`\n\
                    [a](GLOSSARY.md) [b](https://keepfast.example/x) [c](#here) `docs/decisions/NNNN-*.md`\n\
                    ```\n`appliance/none`\n```\n";
        assert_eq!(missing("docs/A.md", text), [""; 0]);
        assert_eq!(missing("appliance/core/chunk/FORMAT.md", "`testdata/v1` `src/lib.rs`"), [""; 0]);
        assert_eq!(missing("docs/decisions/0001-a.md", "[up](../GLOSSARY.md)"), [""; 0]);
    }

    #[test]
    fn a_link_that_leaves_the_repository_leads_nowhere() {
        assert_eq!(missing("docs/A.md", "[x](../../up)"), ["../../up does not exist"]);
    }
}
