//! The table of allowed arrows between crates of the workspace; docs/ARCHITECTURE.md shows the same table to people.
//!
//! In the order in which the crates can be read: a crate uses only crates above it. What the storage core must
//! never contain, not even through somebody else's crate, stands below.

/// What one crate may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Arrows {
    /// The crate.
    pub(crate) name: String,
    /// What it may use.
    pub(crate) uses: Vec<String>,
    /// What its tests may use besides.
    pub(crate) tests: Vec<String>,
}

/// Crate, what it may use, what its tests may use besides.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    ("model", &[], &[]),
    ("medium", &["model"], &[]),
    ("chunk", &["model"], &[]),
    ("tree", &["model"], &[]),
    ("wire", &["model"], &[]),
    ("retention", &["model"], &[]),
    ("drives", &["model", "medium"], &[]),
    ("pool", &["model", "medium", "chunk", "tree"], &["drives"]),
    ("journal", &["model", "chunk", "tree", "pool"], &[]),
    ("simulator", &["model", "medium", "chunk", "tree", "drives", "pool", "journal"], &["retention"]),
    ("host", &["model", "medium"], &[]),
    ("hardware", &[], &[]),
    ("restore", &["model"], &[]),
    ("capture", &["model", "chunk"], &[]),
    ("link", &["model", "chunk", "wire"], &[]),
    ("terminal", &["model", "restore"], &[]),
    ("daemon", &["model", "chunk", "wire", "capture", "restore", "link", "terminal"], &[]),
    ("view", &["model"], &[]),
    ("fuse", &["model", "view"], &[]),
    ("mount", &["model", "link", "terminal", "view", "fuse"], &[]),
    (
        "server",
        &[
            "model",
            "medium",
            "chunk",
            "tree",
            "drives",
            "pool",
            "journal",
            "retention",
            "wire",
            "host",
            "hardware",
            "link",
            "terminal",
            "fuse",
        ],
        &[],
    ),
    ("models", &[], &[]),
    ("system", &["model", "chunk", "wire"], &["hardware"]),
    ("throughput", &["model", "chunk", "tree", "pool", "host"], &[]),
    ("xtask", &[], &[]),
];

/// Crates of others that must not be part of some of ours, and why.
pub(crate) const ABSENT: &[(&[&str], &[&str], &str)] = &[
    (
        &["model", "medium", "chunk", "tree", "wire", "retention", "drives", "pool", "journal", "simulator"],
        &["tokio", "hyper", "rustls", "fuser", "clap", "rand", "tracing", "rustix"],
        "the storage core has no sockets, threads, logs or files of its own",
    ),
    (&["host", "restore", "capture"], &["tokio", "hyper"], "tokio lives in server, link and terminal"),
    (&["view", "restore", "capture", "link", "host"], &["fuser"], "only fuse knows FUSE"),
];

/// The table.
pub(crate) fn allowed() -> Vec<Arrows> {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    TABLE
        .iter()
        .map(|(name, uses, tests)| Arrows {
            name: (*name).to_owned(),
            uses: owned(uses),
            tests: owned(tests),
        })
        .collect()
}

/// Reads the table of docs/ARCHITECTURE.md: the rows below the line with its three titles.
pub(crate) fn parse(markdown: &str) -> Vec<Arrows> {
    markdown
        .lines()
        .skip_while(|line| *line != "| crate | may use | in tests also |")
        .skip(2)
        .map_while(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .filter_map(|row| {
            let mut cells = row.split('|').map(names_in_backticks);
            let name = cells.next()?.pop()?;
            Some(Arrows { name, uses: cells.next()?, tests: cells.next()? })
        })
        .collect()
}

fn names_in_backticks(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ARCHITECTURE.md");
        assert_eq!(parse(&std::fs::read_to_string(path).unwrap()), allowed());
    }

    #[test]
    fn a_crate_uses_only_crates_above_it() {
        let mut above: Vec<String> = Vec::new();
        for row in allowed() {
            for used in row.uses.iter().chain(&row.tests) {
                assert!(above.contains(used), "{} uses {used}, which is not above it", row.name);
            }
            above.push(row.name);
        }
    }

    #[test]
    fn a_table_is_read_up_to_its_end() {
        let text = "x\n| crate | may use | in tests also |\n|---|---|---|\n| `a` | | |\n| `b` | `a`, `c` | `d` |\n\n| `e` | | |\n";
        let row = |name: &str, uses: &[&str], tests: &[&str]| Arrows {
            name: name.into(),
            uses: uses.iter().map(|&name| name.into()).collect(),
            tests: tests.iter().map(|&name| name.into()).collect(),
        };
        assert_eq!(parse(text), [row("a", &[], &[]), row("b", &["a", "c"], &["d"])]);
        assert_eq!(parse("no table"), []);
    }
}
