//! Plans of whole histories, compared with files that people can read: `testdata/plans`.
//!
//! A file holds a history, a line of dashes, and the plan that it leads to. `KEEPFAST_RECORD=1` writes the plans anew;
//! what changed is then to be read, not only committed.

mod history;

use std::fmt::Write;
use std::path::Path;

use history::History;
use retention::{Keep, plan};

const RULE: &str = "--------\n";

/// A plan as its file has it: the sentences, then every fold in order, then every point that stays.
fn shown(history: &History) -> String {
    let History { state, policies, bounds, now, names } = history;
    let plan = plan(state, policies, bounds, now);
    let mut text = String::new();
    for sentence in plan.in_words(&|source| names[&source].clone()) {
        writeln!(text, "{sentence}").expect("a string takes every byte");
    }
    text.push('\n');
    for fold in &plan.folds {
        writeln!(text, "fold {} {} {:?}", names[&fold.source], fold.number, fold.reason)
            .expect("a string takes every byte");
    }
    for kept in &plan.keeps {
        let reasons: Vec<String> = kept.reasons.iter().map(reason).collect();
        writeln!(text, "keep {} {} {}", names[&kept.source], kept.number, reasons.join(" "))
            .expect("a string takes every byte");
    }
    text
}

fn reason(keep: &Keep) -> String {
    match keep {
        Keep::Rung(period) => format!("{}:{period}", period.rung().word()),
        Keep::FloorAge { left } => format!("FloorAge:{}h", left.as_secs() / 3600),
        other => format!("{other:?}"),
    }
}

#[test]
fn every_history_leads_to_its_plan() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/plans");
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 12, "the cases are gone");
    let mut different = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let (input, expected) = text.split_once(RULE).unwrap_or((&text, ""));
        let found = shown(&history::read(input));
        if found != expected {
            record(&path, &format!("{input}{RULE}{found}"));
            different.push(format!("{}:\n{found}", path.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[expect(clippy::disallowed_methods, reason = "writes a case anew when it is asked to")]
fn record(path: &Path, text: &str) {
    if std::env::var_os("KEEPFAST_RECORD").is_some() {
        std::fs::write(path, text).expect("write a case");
    }
}
