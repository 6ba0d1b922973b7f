//! What decides which points go, by the commands with which people say it: a clock that jumped, holds for reasons of
//! law, a policy that is played forward; and the proof of one point.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use system::{Site, differences, expect, noise, said};

/// A site with a source that has so many points, each with a file of its own.
fn site_with_points(count: u64) -> (Site, PathBuf) {
    let site = Site::start().unwrap();
    let tree = site.path("files");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), noise(0, 1 << 20)).unwrap();
    site.protect(&tree).unwrap();
    for number in 1..=count {
        fs::write(tree.join("file"), noise(number, 1 << 20)).unwrap();
        expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    }
    (site, tree)
}

fn keep_only_the_newest(site: &Site) {
    site.operate(&["retention", "set", "web1/files", "last=1", "floor-points=1", "floor-age=0s"]).unwrap();
}

#[test]
fn while_a_clock_is_not_believed_nothing_goes_and_that_is_said() {
    let (mut site, tree) = site_with_points(3);
    site.stop_server().unwrap();
    // For the appliance two hours have passed; the clock on the wall says that none have.
    let jump = ["unshare", "--time", "--monotonic", "7200", "--boottime", "7200"];
    site.start_server_within(&jump).unwrap();
    keep_only_the_newest(&site);
    let line = site.wait_for_line(&["ERROR", "the clock cannot be believed"]).unwrap();
    assert!(line.contains("confirm"), "{line}");
    let plan = site.operate(&["plan"]).unwrap();
    assert!(plan.contains("Nothing is folded because the clock cannot be believed"), "{plan}");
    assert!(plan.contains("Keep 3 points of web1/files"), "{plan}");
    // Whatever else the appliance does meanwhile, and when it starts again.
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    site.stop_server().unwrap();
    site.start_server_within(&jump).unwrap();
    assert_eq!(site.points().unwrap().len(), 4);
    assert!(site.operate(&["plan"]).unwrap().contains("the clock cannot be believed"));

    site.operate(&["retention", "confirm-clock"]).unwrap();
    site.wait_until("points go", || site.points().unwrap().len() == 1).unwrap();
    assert!(!site.operate(&["plan"]).unwrap().contains("believed"));
    assert_eq!(differences(&tree, &site.restore("latest", &tree).unwrap()).unwrap(), "");
    site.verify().unwrap();
}

#[test]
fn a_point_is_held_for_reasons_of_law_until_exactly_that_is_released() {
    let (site, _) = site_with_points(4);
    let points = site.points().unwrap();
    let places: Vec<String> = points.iter().map(|point| format!("web1/files@{point}")).collect();
    site.operate(&["hold", "--legal", &places[0]]).unwrap();
    site.operate(&["hold", "--legal", &places[1]]).unwrap();
    site.operate(&["hold", &places[1]]).unwrap();
    keep_only_the_newest(&site);
    site.wait_until("what nobody holds goes", || site.points().unwrap().len() == 3).unwrap();
    assert_eq!(site.points().unwrap(), [&points[0], &points[1], &points[3]].map(String::clone));
    let plan = site.operate(&["plan"]).unwrap();
    assert!(plan.contains("legal hold"), "{plan}");
    // An ordinary hold is another thing.
    site.operate(&["hold", "--release", &places[0]]).unwrap();
    site.operate(&["hold", "--legal", "--release", &places[1]]).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    site.wait_until("the one before the newest goes", || !site.points().unwrap().contains(&points[3]))
        .unwrap();
    assert_eq!(site.points().unwrap()[..2], points[..2]);
    site.operate(&["hold", "--legal", "--release", &places[0]]).unwrap();
    site.operate(&["hold", "--release", &places[1]]).unwrap();
    site.wait_until("what is released goes", || site.points().unwrap().len() == 1).unwrap();
    let (_, words) = said(&mut site.keepfast(&["hold", "--legal", &places[0]]).unwrap(), 1).unwrap();
    assert!(words.contains("web1/files"), "{words}");
}

#[test]
fn what_a_policy_would_let_go_is_shown_before_it_holds() {
    let (site, _) = site_with_points(5);
    let points = site.points().unwrap();
    site.operate(&["hold", &format!("web1/files@{}", points[1])]).unwrap();
    let rules = ["web1/files", "last=2", "floor-points=1", "floor-age=0s"];
    let trial = [["plan"].as_slice(), &rules].concat();
    let shown = site.operate(&trial).unwrap();
    assert!(shown.starts_with("Fold 2 points of web1/files ("), "{shown}");
    assert!(shown.contains(": no count of the policy asks for more"), "{shown}");
    let json = site.operate(&[trial.as_slice(), &["--json"]].concat()).unwrap();
    let plan: Value = serde_json::from_str(&json).unwrap();
    let fold = |number| json!({ "source": 1, "number": number, "reason": "counts" });
    assert_eq!((&plan["folds"], &plan["folds_count"]), (&json!([fold(1), fold(3)]), &json!(2)), "{json}");
    // It was a trial: nothing goes by it, now or later.
    assert!(site.operate(&["plan"]).unwrap().starts_with("Nothing is to be folded."));
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    assert_eq!(site.points().unwrap()[..5], points);
    let (_, words) = said(&mut site.keepfast(&["plan", "web1/files", "dayly=2"]).unwrap(), 1).unwrap();
    assert!(words.contains("dayly"), "{words}");
    let (_, words) = said(&mut site.keepfast(&["plan", "web1/nothing", "last=2"]).unwrap(), 1).unwrap();
    assert!(words.contains("nothing"), "{words}");

    site.operate(
        &[["retention", "set"].as_slice(), &["web1/files", "last=3", "floor-points=1", "floor-age=0s"]]
            .concat(),
    )
    .unwrap();
    site.wait_until("what was shown goes", || site.points().unwrap().len() == 4).unwrap();
    let kept = site.points().unwrap();
    assert_eq!(
        kept[..3],
        [&points[1], &points[3], &points[4]].map(String::clone),
        "as was shown, and the newest"
    );
}

/// What a policy comes to, day by day: points and bytes.
fn played(site: &Site, arguments: &[&str]) -> Vec<(u64, u64, u64, u64)> {
    let text = site.operate(&[&["simulate"], arguments, &["--json"]].concat()).unwrap();
    let days: Vec<Value> = serde_json::from_str(&text).unwrap();
    let row = |(at, day): (usize, &Value)| {
        let number = |name: &str| day[name].as_u64().unwrap();
        assert_eq!(number("day"), at as u64 + 1);
        (number("points"), number("bytes"), number("folded"), number("refused"))
    };
    days.iter().enumerate().map(row).collect()
}

#[test]
fn a_policy_is_played_forward_before_anybody_relies_on_it() {
    const GIB: u64 = 1 << 30;
    let site = Site::start().unwrap();
    let sizes = ["--first", "10GiB", "--new", "1GiB", "--replaced", "1GiB", "--backups", "2"];
    let roomy = played(
        &site,
        &[
            ["daily=7", "floor-points=1", "floor-age=0s"].as_slice(),
            &["--days", "60", "--capacity", "1TiB"],
            &sizes,
        ]
        .concat(),
    );
    assert_eq!(roomy.len(), 60);
    let (points, bytes, ..) = roomy[59];
    assert!((7..=9).contains(&points), "{roomy:?}");
    // The newest point holds ten, and each of six days before it what two backups replaced, which is more than one and
    // less than two: part of what the second replaced is of the first.
    assert!((16 * GIB..=22 * GIB).contains(&bytes), "{bytes}");
    assert_eq!(roomy.iter().map(|day| day.3).sum::<u64>(), 0, "nothing is refused");
    let all = 120 - roomy.iter().map(|day| day.2).sum::<u64>();
    assert_eq!(all, points, "each of the 120 points is there or went");
    assert!(roomy[29].1.abs_diff(bytes) <= GIB, "it takes no more after a month");

    let tight = played(
        &site,
        &[["floor-points=1", "floor-age=3d"].as_slice(), &["--days", "60", "--capacity", "14GiB"], &sizes]
            .concat(),
    );
    assert!(tight.iter().all(|day| day.1 <= 14 * GIB), "{tight:?}");
    assert!(tight.iter().map(|day| day.3).sum::<u64>() > 0, "the floor leaves no room for all");

    let table = site.operate(&["simulate", "daily=7", "--days", "10"]).unwrap();
    assert!(table.starts_with("day\tpoints\tholds\tfolded\trefused\n1\t"), "{table}");
    assert_eq!(table.lines().count(), 11);
    let (_, words) = said(&mut site.keepfast(&["simulate", "dayly=7"]).unwrap(), 1).unwrap();
    assert!(words.contains("dayly"), "{words}");
    let (_, words) =
        said(&mut site.keepfast(&["simulate", "daily=7", "--first", "much"]).unwrap(), 1).unwrap();
    assert!(words.contains("--first is a size such as 500GiB, not much"), "{words}");
}

/// Turns bytes in the middle of a file.
fn rot(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs::write(path, bytes).unwrap();
}

#[test]
fn one_point_is_proven_and_another_one_is_not() {
    let (mut site, _) = site_with_points(1);
    let first = site.points().unwrap().remove(0);
    site.stop_server().unwrap();
    let segments =
        fs::read_dir(site.data().join("pool/segments")).unwrap().map(|entry| entry.unwrap().path());
    let of_first = segments.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    site.start_server().unwrap();
    fs::write(site.path("files/file"), noise(2, 1 << 20)).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    let place = format!("web1/files@{first}");
    for place in [&place, "web1/files@latest"] {
        let proof = site.operate(&["pool", "verify", place]).unwrap();
        assert!(
            proof.contains("1 points") && proof.contains("; 0 damaged") || proof.contains(", 0 damaged"),
            "{proof}"
        );
    }
    rot(&of_first);
    let (proof, words) = said(&mut site.keepfast(&["pool", "verify", &place]).unwrap(), 1).unwrap();
    assert!(proof.contains("damaged") && proof.contains("files/file"), "{proof}");
    assert!(words.contains("cannot be restored whole"), "{words}");
    site.operate(&["pool", "verify", "web1/files@latest"]).unwrap();
    let (_, words) =
        said(&mut site.keepfast(&["pool", "verify", "web1/files@2001-01-01T00:00:00Z"]).unwrap(), 1).unwrap();
    assert!(words.contains("web1/files"), "{words}");
    let json = said(&mut site.keepfast(&["pool", "verify", &place, "--json"]).unwrap(), 1).unwrap().0;
    assert!(serde_json::from_str::<Value>(&json).is_ok(), "{json}");
}
