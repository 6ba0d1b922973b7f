//! A source keeps itself within its quota, at nobody else's cost, and a forecast says what can be told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use system::{Site, differences, expect, noise, run};

/// Adds a source of one file to the agent.
fn source(site: &Site, name: &str) -> PathBuf {
    let tree = site.path(name);
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("same"), noise(0, 3 << 20)).unwrap();
    expect(&mut site.agent(&["source", "add", name, tree.to_str().unwrap()]).unwrap(), 0).unwrap();
    tree
}

/// Backs a tree up after its file has got other content; the exit code, and what was said.
fn back_up(site: &Site, tree: &Path, number: u64) -> (Option<i32>, String) {
    fs::write(tree.join("file"), noise(number, 8 << 20)).unwrap();
    let name = tree.file_name().unwrap().to_str().unwrap();
    let output = run(&mut site.agent(&["backup", name]).unwrap()).unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// How many points a source has.
fn points(site: &Site, name: &str) -> usize {
    site.operate(&["points", &format!("web1/{name}")]).unwrap().lines().count()
}

#[test]
fn a_source_keeps_within_its_quota_and_others_notice_nothing() {
    let site = Site::start().unwrap();
    let (small, large) = (source(&site, "small"), source(&site, "large"));
    for number in 1..=6 {
        assert_eq!(back_up(&site, &small, number).0, Some(0));
        assert_eq!(back_up(&site, &large, 100 + number).0, Some(0));
    }
    assert_eq!((points(&site, "small"), points(&site, "large")), (6, 6));
    // What both have counts for neither: eight MiB for each point, and three of them fit.
    let quota = |rules: &[&str]| {
        site.operate(&[&["retention", "set", "web1/small"], rules].concat()).unwrap();
    };
    quota(&["quota=30MiB", "floor-points=1", "floor-age=0s"]);
    site.wait_until("points go for the quota", || points(&site, "small") <= 3).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((points(&site, "small"), points(&site, "large")), (3, 6), "and no more of them than needed");

    quota(&["quota=30MiB", "floor-points=2", "floor-age=30d"]);
    let number = std::cell::Cell::new(10);
    let next = || {
        number.set(number.get() + 1);
        back_up(&site, &small, number.get())
    };
    site.wait_until("what the floor leaves no room for is refused", || next().0 != Some(0)).unwrap();
    let (code, words) = next();
    assert_eq!(code, Some(1));
    for expected in ["web1/small holds ", "its quota is 30 MiB", "under the floor", "raise the quota to "] {
        assert!(words.contains(expected), "{words}");
    }
    let kept = points(&site, "small");
    assert!(kept >= 3, "nothing under the floor went");
    assert_eq!(back_up(&site, &large, 200).0, Some(0), "others are not concerned");

    quota(&["quota=200MiB", "floor-points=1", "floor-age=0s"]);
    site.wait_until("it recovers by itself", || back_up(&site, &small, 300).0 == Some(0)).unwrap();
    let restored = site.path("restored");
    let arguments = ["restore", "web1/small", "--to", restored.to_str().unwrap()];
    site.operate(&arguments).unwrap();
    let below = restored.join(small.strip_prefix("/").unwrap());
    assert_eq!(differences(&small, &below).unwrap(), "");
    site.verify().unwrap();
}

#[test]
fn a_forecast_says_what_it_cannot_tell_yet_and_what_a_newcomer_would_cost() {
    let mut site = Site::start().unwrap();
    let tree = source(&site, "files");
    assert_eq!(back_up(&site, &tree, 1).0, Some(0));
    assert_eq!(back_up(&site, &tree, 2).0, Some(0));
    let unknown = "web1/files: nothing can be told yet of its 2 points, because two that are a day apart are needed; it can be with the first point after 23 h";
    site.wait_until("points are counted", || site.operate(&["forecast"]).unwrap().starts_with(unknown))
        .unwrap();
    site.operate(&["retention", "bounds", "capacity=1GiB"]).unwrap();
    let check = |site: &Site| {
        let words = site.operate(&["forecast", "--admit", "2GiB", "--change", "10MiB/day"]).unwrap();
        assert!(words.contains("\nWhen the pool is full cannot be told yet.\n"), "{words}");
        assert!(
            words.contains("The newcomer is refused: its floor takes 2 GiB, all others take "),
            "{words}"
        );
        let json = site.operate(&["forecast", "--admit", "100MiB", "--json"]).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["admission"]["fits"], true, "{json}");
        assert_eq!(json["sources"][0]["source"], "web1/files");
        assert!(json["sources"][0]["known_in_seconds"].as_u64().unwrap() > 80_000, "{json}");
        assert_eq!(json["full"], serde_json::Value::Null);
    };
    check(&site);
    site.audit_and_stop().unwrap();
    check(&site);
}

#[test]
fn a_newcomer_that_cannot_fit_is_refused_before_anything_of_others_goes() {
    let site = Site::start().unwrap();
    let (home, big) = (source(&site, "home"), source(&site, "big"));
    for number in 1..=6 {
        assert_eq!(back_up(&site, &home, number).0, Some(0));
    }
    site.operate(&["retention", "set", "web1/home", "floor-points=2", "floor-age=0s"]).unwrap();
    site.operate(&["retention", "bounds", "capacity=100MiB", "high=90%", "low=80%"]).unwrap();
    // Of the 90 MiB that there may be the others have 51, and need 19 of them.
    for number in 0..10 {
        fs::write(big.join(number.to_string()), noise(1000 + number, 10 << 20)).unwrap();
    }
    let stored = |site: &Site| {
        let status = site.operate(&["pool", "status", "--json"]).unwrap();
        serde_json::from_str::<serde_json::Value>(&status).unwrap()["segment_bytes"].as_u64().unwrap() >> 20
    };
    site.wait_until("room is looked at", || (50..60).contains(&stored(&site))).unwrap();
    let refused = || {
        let (code, words) = back_up(&site, &big, 2000);
        assert_eq!(code, Some(1), "{words}");
        for expected in [
            "web1/big is refused: it is 111 MiB, its floor takes ",
            " are lacking (",
            "The pool may hold 90 MiB",
            "2 points of web1/home (2 of the floor's newest points, 1 newest complete, 1 newest of all)",
            "add a drive or raise the capacity",
        ] {
            assert!(words.contains(expected), "{words}");
        }
    };
    refused();
    assert!(stored(&site) <= 92, "{} MiB: not above its high-water mark", stored(&site));
    refused();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((points(&site, "home"), points(&site, "big")), (6, 0), "nothing of others went");
    assert!(stored(&site) <= 92, "{} MiB", stored(&site));

    // One that fits takes the room of what may go.
    let small = source(&site, "small");
    fs::write(small.join("more"), noise(3000, 40 << 20)).unwrap();
    let (code, words) = back_up(&site, &small, 3001);
    assert_eq!(code, Some(0), "its floor has room beside that of the others: {words}");
    site.wait_until("points of others go for it", || points(&site, "home") < 6).unwrap();
    assert!(points(&site, "home") >= 2);

    site.operate(&["retention", "bounds", "capacity=400MiB"]).unwrap();
    site.wait_until("it is taken when there is room", || back_up(&site, &big, 2001).0 == Some(0)).unwrap();
    assert_eq!(points(&site, "big"), 1);
    site.verify().unwrap();
}
