//! Arrows point one way: what the manifests say is compared with the table, and the table with the documents.
//!
//! Three rules: an arrow between our crates is in the table; what must be absent is absent, also through others;
//! no crate turns on a feature of another one of ours (planted bugs are features, and cargo unites features).

use std::collections::BTreeMap;

use super::files::Files;
use super::{Finding, finding};
use crate::arrows::{self, Arrows};
use crate::metadata::{Metadata, Package};

const PAGE: &str = "docs/ARCHITECTURE.md";

/// Checks every member of the workspace, and the page that shows the table.
pub(crate) fn check(metadata: &Metadata, files: &Files) -> Vec<Finding> {
    let allowed = arrows::allowed();
    let table: BTreeMap<&str, &Arrows> = allowed.iter().map(|row| (row.name.as_str(), row)).collect();
    let mut found = Vec::new();
    for package in metadata.members() {
        found.extend(check_arrows(metadata, package, table.get(package.name.as_str()).copied()));
        found.extend(check_absent(metadata, package));
    }
    for name in table.keys().filter(|name| !metadata.members().any(|package| package.name == **name)) {
        found.push(finding(PAGE, None, "arrows", format!("{name} is in the table and not in the workspace")));
    }
    if arrows::parse(files.text(PAGE).unwrap_or("")) != allowed {
        found.push(finding(PAGE, None, "arrows", "its table is not that of image/xtask/src/arrows.rs"));
    }
    found
}

fn check_arrows(metadata: &Metadata, package: &Package, row: Option<&Arrows>) -> Vec<Finding> {
    let path = manifest_path(metadata, package);
    let Some(row) = row else {
        return vec![finding(
            &path,
            None,
            "arrows",
            format!("{} is not in the table of arrows", package.name),
        )];
    };
    let mut found = Vec::new();
    for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
        let name = &dependency.name;
        let for_tests = dependency.kind.as_deref() == Some("dev");
        let allowed = row.uses.contains(name) || (for_tests && row.tests.contains(name));
        if !allowed {
            let place = if for_tests { " in tests" } else { "" };
            found.push(finding(&path, None, "arrows", format!("{} may not use {name}{place}", package.name)));
        }
        for feature in &dependency.features {
            let text = format!("turns on {feature:?} of {name}, and so in every program built beside it");
            found.push(finding(&path, None, "features", text));
        }
    }
    found
}

fn check_absent(metadata: &Metadata, package: &Package) -> Vec<Finding> {
    let rules = arrows::ABSENT.iter().filter(|(ours, _, _)| ours.contains(&package.name.as_str()));
    let mut found = Vec::new();
    for (_, absent, why) in rules {
        let closure = metadata.closure(package);
        for name in absent.iter().filter(|name| closure.contains(**name)) {
            let path = manifest_path(metadata, package);
            found.push(finding(&path, None, "absent", format!("contains {name}: {why}")));
        }
    }
    found
}

fn manifest_path(metadata: &Metadata, package: &Package) -> String {
    let path = package.manifest_path.strip_prefix(&metadata.workspace_root).unwrap_or(&package.manifest_path);
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn dependency(name: &str, kind: Option<&str>, features: &[&str]) -> Value {
        json!({"name": name, "kind": kind, "features": features, "path": format!("/top/{name}")})
    }

    fn texts(name: &str, dependencies: &[Value], reaches: &[&str]) -> Vec<String> {
        let packages: Vec<Value> = [name]
            .iter()
            .chain(reaches)
            .map(|package| {
                let own: &[Value] = if *package == name { dependencies } else { &[] };
                json!({"id": package, "name": package, "manifest_path": format!("/top/{package}/Cargo.toml"),
                       "dependencies": own, "features": {}})
            })
            .collect();
        // Every package reaches the next one, so that what is found may be several steps away.
        let chain: Vec<&str> = [name].iter().chain(reaches).copied().collect();
        let nodes: Vec<Value> = chain
            .iter()
            .enumerate()
            .map(|(index, id)| {
                let next =
                    chain.get(index + 1).map(|next| json!({"pkg": next, "dep_kinds": [{"kind": null}]}));
                json!({"id": id, "deps": next.into_iter().collect::<Vec<_>>()})
            })
            .collect();
        let all = json!({"packages": packages, "workspace_members": [name], "target_directory": "/top/target",
                         "workspace_root": "/top", "resolve": {"nodes": nodes}});
        let metadata = Metadata::parse(all.to_string().as_bytes()).unwrap();
        let found = check(&metadata, &Files::made_of(&[]));
        found.into_iter().filter(|finding| finding.path != PAGE).map(|finding| finding.text).collect()
    }

    #[test]
    fn each_rule_fires_on_a_bad_sample() {
        assert_eq!(texts("tree", &[dependency("pool", None, &[])], &[]), ["tree may not use pool"]);
        assert_eq!(
            texts("tree", &[dependency("host", Some("dev"), &[])], &[]),
            ["tree may not use host in tests"]
        );
        assert_eq!(texts("pond", &[], &[]), ["pond is not in the table of arrows"]);
        assert_eq!(
            texts("pool", &[dependency("chunk", None, &["planted-bugs"])], &[]),
            ["turns on \"planted-bugs\" of chunk, and so in every program built beside it"]
        );
        assert_eq!(
            texts("tree", &[], &["somebody", "tokio"]),
            ["contains tokio: the storage core has no sockets, threads, logs or files of its own"]
        );
    }

    #[test]
    fn allowed_arrows_pass() {
        assert_eq!(
            texts("pool", &[dependency("chunk", None, &[]), dependency("tree", Some("dev"), &[])], &[]),
            [""; 0]
        );
        assert_eq!(texts("server", &[], &["tokio"]), [""; 0]);
    }

    #[test]
    fn a_table_without_its_page_or_its_crates_is_found() {
        let empty = json!({"packages": [], "workspace_members": [], "target_directory": "/t", "workspace_root": "/t",
                           "resolve": {"nodes": []}});
        let metadata = Metadata::parse(empty.to_string().as_bytes()).unwrap();
        let texts: Vec<String> = check(&metadata, &Files::made_of(&[])).into_iter().map(|f| f.text).collect();
        assert!(texts.contains(&"model is in the table and not in the workspace".to_owned()));
        assert!(texts.contains(&"its table is not that of image/xtask/src/arrows.rs".to_owned()));
    }
}
