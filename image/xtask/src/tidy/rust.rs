//! Rules about Rust source: heads, sizes, characters, attributes, unfinished work and comments about the past.

use super::files::Files;
use super::scan::Scan;
use super::{Finding, finding, ratchet};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
/// The one crate that may hold unsafe blocks.
const UNSAFE_HOME: &str = "appliance/host/";

/// What a comment says when it tells how the code came to be instead of what it is.
const HISTORY: &[&str] =
    &["no longer", "now uses", "now returns", "previously", "formerly", "used to be", "was changed"];

/// Code that is not meant to stay, or that hides a problem.
const REFUSED: &[(&str, &str)] = &[
    (concat!("to", "do!"), "unfinished"),
    (concat!("unimpl", "emented!"), "unfinished"),
    (concat!("#[ig", "nore"), "a test that does not run"),
    (concat!("#[should_", "panic"), "a test that any panic passes"),
    (concat!("#[al", "low("), "use #[expect(lint, reason)]"),
    (concat!("#![al", "low("), "use #![expect(lint, reason)]"),
];

/// Checks every file of Rust source.
pub(crate) fn check(files: &Files) -> Vec<Finding> {
    files
        .bytes()
        .filter(|(path, _)| path.ends_with(".rs"))
        .flat_map(|(path, bytes)| check_file(path, bytes))
        .collect()
}

fn check_file(path: &str, bytes: &[u8]) -> Vec<Finding> {
    let mut found: Vec<Finding> = bytes
        .split(|byte| *byte == b'\n')
        .zip(1..)
        .filter(|(line, _)| !line.is_ascii())
        .map(|(_, number)| finding(path, number, "ascii", "a character outside of ASCII"))
        .collect();
    let source = String::from_utf8_lossy(bytes);
    if !source.starts_with("//!") {
        found.push(finding(path, 1, "head", "a module starts with //! and what it is"));
    }
    let scan = Scan::new(&source);
    found.extend(check_sizes(path, &scan));
    for (line, number) in scan.code().zip(1..) {
        // A module that several test programs include is used in part by each; no expectation fits them all.
        let part_of_tests = path.contains("/tests/") && line.contains("(dead_code, reason");
        for (refused, why) in REFUSED.iter().filter(|(refused, _)| line.contains(refused) && !part_of_tests) {
            found.push(finding(path, number, "refused", format!("{refused}: {why}")));
        }
        if line.contains("unsafe_code") && !path.starts_with(UNSAFE_HOME) {
            found.push(finding(path, number, "unsafe", format!("unsafe code lives in {UNSAFE_HOME} only")));
        }
    }
    for (line, number) in scan.comments().zip(1..) {
        let line = line.to_lowercase().replace("no longer than", "");
        for word in HISTORY.iter().filter(|word| line.contains(*word)) {
            found.push(finding(
                path,
                number,
                "history",
                format!("{word:?} tells of a change: say what holds"),
            ));
        }
    }
    found
}

fn check_sizes(path: &str, scan: &Scan) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut judge = |what: &str, line: Option<usize>, lines: usize, limit: usize| {
        if let Some(text) = ratchet::judge(ratchet::known(path, what), lines, limit) {
            found.push(finding(path, line, "size", format!("{what}: {text}")));
        }
    };
    let production = scan.production();
    if !is_test(path) {
        judge("file", None, production.iter().filter(|line| **line).count(), FILE_LINES_MAX);
    }
    for function in scan.functions() {
        judge(&function.name, Some(function.line), function.lines, FUNCTION_LINES_MAX);
    }
    found
}

/// Whether a file holds tests only.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("hwtests/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        check(&Files::made_of(&[(path, text)])).into_iter().map(|finding| finding.rule).collect()
    }

    fn rules_for(body: &str) -> Vec<&'static str> {
        rules("a/src/x.rs", &format!("//! Head.\n{body}\n"))
    }

    #[test]
    fn a_clean_file_passes() {
        assert_eq!(rules_for("/// What it does.\nfn a() {}\n"), [""; 0]);
    }

    #[test]
    fn each_rule_fires_on_a_bad_sample() {
        assert_eq!(rules("a/src/x.rs", "fn a() {}\n"), ["head"]);
        assert_eq!(rules_for("// caf\u{e9}"), ["ascii"]);
        assert_eq!(rules_for(concat!("fn a() { to", "do!() }")), ["refused"]);
        assert_eq!(rules_for(concat!("#[ig", "nore = \"slow\"]\nfn a() {}")), ["refused"]);
        assert_eq!(rules_for(concat!("#[al", "low(dead_code)]\nfn a() {}")), ["refused"]);
        assert_eq!(rules_for("#![expect(unsafe_code, reason = \"x\")]"), ["unsafe"]);
        assert_eq!(rules_for("// This no longer waits."), ["history"]);
        assert_eq!(rules_for(&format!("fn a() {{\n{}}}", "x();\n".repeat(69))), ["size"]);
        assert_eq!(rules_for(&"use a;\n".repeat(600)), ["size"]);
    }

    #[test]
    fn limits_are_allowed() {
        assert_eq!(rules_for(&format!("fn a() {{\n{}}}", "x();\n".repeat(68))), [""; 0]);
        assert_eq!(rules_for(&"use a;\n".repeat(598)), [""; 0]);
    }

    #[test]
    fn tests_may_be_long_files_and_words_in_literals_are_free() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "use a;\n".repeat(700));
        assert_eq!(rules_for(&tests), [""; 0]);
        assert_eq!(rules("a/tests/x.rs", &format!("//! Head.\n{}", "use a;\n".repeat(700))), [""; 0]);
        assert_eq!(rules_for("const A: &str = \"no longer\";"), [""; 0]);
        assert_eq!(rules_for("// It waits no longer than a second."), [""; 0]);
        let included = concat!("//! Head.\n#![al", "low(dead_code, reason = \"x\")]\n");
        assert_eq!(rules("a/tests/world/mod.rs", included), [""; 0]);
        assert_eq!(rules("a/src/x.rs", included), ["refused"]);
        assert_eq!(rules("appliance/host/src/x.rs", "//! Head.\n#![expect(unsafe_code)]\n"), [""; 0]);
    }
}
