//! Rules about manifests and lint files: every crate takes the workspace's lints, every copy of the bans is equal.

use toml::Table;

use super::files::Files;
use super::{Finding, finding};

/// The bans for everything that is not the storage core.
const OUTER_BANS: &str = ".clippy.toml";
/// The bans for the storage core. The nearest file counts alone, so this one repeats the outer bans.
const CORE_BANS: &str = "appliance/core/.clippy.toml";

/// Checks manifests, then lint files.
pub(crate) fn check(files: &Files) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        files.texts("/Cargo.toml").filter_map(|(path, text)| check_manifest(path, text)).collect();
    found.extend(check_bans(files));
    found
}

fn check_manifest(path: &str, text: &str) -> Option<Finding> {
    let manifest: Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return Some(finding(path, None, "manifest", format!("not TOML: {error}"))),
    };
    let lints = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    (lints != Some(true)).then(|| finding(path, None, "lints", "[lints] workspace = true is missing"))
}

fn check_bans(files: &Files) -> Vec<Finding> {
    let Some(core) = files.text(CORE_BANS) else {
        return vec![finding(CORE_BANS, None, "bans", "is missing")];
    };
    let copies = files
        .texts(".clippy.toml")
        .filter(|(path, text)| *path != OUTER_BANS && *text != core)
        .map(|(path, _)| finding(path, None, "bans", format!("differs from {CORE_BANS}")));
    let outer = files.text(OUTER_BANS).unwrap_or("").lines();
    let repeated = outer
        .filter(|line| line.trim_start().starts_with("{ path") && !core.lines().any(|other| other == *line))
        .map(|line| finding(CORE_BANS, None, "bans", format!("does not repeat {}", line.trim())));
    copies.chain(repeated).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAN: &str = "disallowed-methods = [\n    { path = \"a\", reason = \"b\" },\n]\n";

    fn rules(files: &[(&str, &str)]) -> Vec<&'static str> {
        check(&Files::made_of(files)).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn each_rule_fires_on_a_bad_sample() {
        let core = (CORE_BANS, BAN);
        assert_eq!(rules(&[core, ("a/Cargo.toml", "[package]\nname = \"a\"\n")]), ["lints"]);
        assert_eq!(rules(&[core, ("a/Cargo.toml", "[lints]\nworkspace = false\n")]), ["lints"]);
        assert_eq!(rules(&[core, ("a/Cargo.toml", "[lints\n")]), ["manifest"]);
        assert_eq!(rules(&[core, ("fs-mount/view/.clippy.toml", "")]), ["bans"]);
        assert_eq!(rules(&[(OUTER_BANS, BAN), (CORE_BANS, "")]), ["bans"]);
        assert_eq!(rules(&[(OUTER_BANS, "")]), ["bans"]);
    }

    #[test]
    fn equal_copies_and_the_workspace_manifest_pass() {
        let good = [
            ("Cargo.toml", "[workspace]\n"),
            ("a/Cargo.toml", "[lints]\nworkspace = true\n"),
            (OUTER_BANS, BAN),
            (CORE_BANS, BAN),
            ("fs-mount/view/.clippy.toml", BAN),
        ];
        assert_eq!(rules(&good), [""; 0]);
    }
}
