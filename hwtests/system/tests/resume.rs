//! Backups that are broken off go on where they were; backups of what cannot be read say so.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use system::{Proxy, Running, Site, Snapshot, differences, expect, noise, program, said};

const MIB: u64 = 1 << 20;
/// What the appliance makes durable at a time while a backup runs.
const DURABLE: u64 = 256 * MIB;
/// What a backup may send beyond the data: names, operations, framing, and what was under way at a break.
const SLACK: u64 = 48 * MIB;

#[test]
fn what_was_durable_is_not_sent_again_after_a_break() {
    let site = Site::start().unwrap();
    let proxy = Proxy::start(site.port()).unwrap();
    let address = format!("127.0.0.1:{}", proxy.port());
    let mut create = site.keepfast(&["token", "create", "far", "--address", &address]).unwrap();
    let token = expect(create.env("KEEPFAST_LOG", "warn"), 0).unwrap();
    expect(&mut site.agent_named("far", &["join", token.trim()]).unwrap(), 0).unwrap();
    let tree = site.path("files");
    fs::create_dir(&tree).unwrap();
    let data = 600 * MIB;
    for number in 0..data / MIB / 2 {
        fs::write(tree.join(number.to_string()), noise(number, 2 << 20)).unwrap();
    }
    let add = ["source", "add", "files", tree.to_str().unwrap()];
    expect(&mut site.agent_named("far", &add).unwrap(), 0).unwrap();

    // The line breaks: the same agent connects again by itself. Then somebody interrupts it.
    let begin = proxy.upward_bytes();
    proxy.cut_at(begin + DURABLE + 44 * MIB);
    let mut backup = Running::start(&mut site.agent_named("far", &["backup"]).unwrap()).unwrap();
    let begun = Instant::now();
    while proxy.upward_bytes() < begin + 2 * DURABLE + 68 * MIB {
        assert!(backup.ended().unwrap().is_none() && begun.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(5));
    }
    backup.interrupt().unwrap();
    assert_eq!(backup.wait().unwrap().code(), Some(1));
    let none = expect(&mut site.keepfast(&["points", "--json"]).unwrap(), 0).unwrap();
    assert_eq!(none.trim(), "[]");

    expect(&mut site.agent_named("far", &["backup"]).unwrap(), 0).unwrap();
    let sent = proxy.upward_bytes() - begin;
    // 44 MiB were sent and not durable at the first break, 24 MiB at the second.
    assert!(sent < data + 68 * MIB + 2 * SLACK, "{} MiB were sent for {} MiB", sent / MIB, data / MIB);
    let out = site.path("out");
    expect(&mut site.keepfast(&["restore", "far/files@latest", "--to", out.to_str().unwrap()]).unwrap(), 0)
        .unwrap();
    assert_eq!(differences(&tree, &out.join(tree.strip_prefix("/").unwrap())).unwrap(), "");
}

/// The agent as a user who may not read everything, with its data in `folder`.
fn as_nobody(site: &Site, arguments: &[&str]) -> Command {
    let copied = site.path("keepfast-agent");
    if !copied.exists() {
        // Where the programs are built, nobody else may be able to go.
        fs::copy(program("keepfast-agent").unwrap(), &copied).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copied).args(arguments);
    command.env("KEEPFAST_AGENT_DATA", site.path("nobody"));
    command
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_cannot_be_read_is_an_exception_and_the_rest_is_a_point() {
    let site = Site::start().unwrap();
    set_mode(&site.path("."), 0o755);
    fs::create_dir(site.path("nobody")).unwrap();
    std::os::unix::fs::chown(site.path("nobody"), Some(65534), Some(65534)).unwrap();
    let tree = site.path("files");
    fs::create_dir_all(tree.join("closed")).unwrap();
    for name in ["open", "secret", "closed/file"] {
        fs::write(tree.join(name), name).unwrap();
    }
    set_mode(&tree.join("secret"), 0o600);
    set_mode(&tree.join("closed"), 0o700);
    let token = site.token("shared").unwrap();
    expect(&mut as_nobody(&site, &["join", &token]), 0).unwrap();
    expect(&mut as_nobody(&site, &["source", "add", "files", tree.to_str().unwrap()]), 0).unwrap();
    let (out, err) = said(&mut as_nobody(&site, &["backup"]), 3).unwrap();
    for name in ["secret", "closed"] {
        assert!(format!("{out}{err}").contains(name), "{name}: {out}{err}");
    }
    let target = site.path("out");
    let mut restore =
        site.keepfast(&["restore", "shared/files@latest", "--to", target.to_str().unwrap()]).unwrap();
    expect(&mut restore, 0).unwrap();
    let restored = target.join(tree.strip_prefix("/").unwrap());
    assert_eq!(fs::read(restored.join("open")).unwrap(), b"open");
    assert!(!restored.join("secret").exists(), "nothing stands for what was not read");
    expect(&mut as_nobody(&site, &["backup", "no-such-source"]), 1).unwrap();
    expect(&mut as_nobody(&site, &["no-such-command"]), 2).unwrap();
    set_mode(&tree.join("secret"), 0o644);
    set_mode(&tree.join("closed"), 0o755);
    expect(&mut as_nobody(&site, &["backup"]), 0).unwrap();
}

#[test]
fn a_tree_that_changes_under_the_backup_is_a_point_all_the_same() {
    let site = Site::start().unwrap();
    let tree = site.path("files");
    fs::create_dir(&tree).unwrap();
    site.protect(&tree).unwrap();
    let over = AtomicBool::new(false);
    let churn = || {
        for number in 0u64.. {
            if over.load(Ordering::SeqCst) {
                return;
            }
            let directory = tree.join(format!("d{}", number % 7));
            let file = directory.join(format!("f{}", number % 31));
            // Whatever stands in the way of one step does not matter for the next.
            let _ = fs::create_dir(&directory);
            let _ = fs::write(&file, noise(number, 200_000));
            let _ = fs::rename(&file, tree.join(format!("moved{}", number % 5)));
            if number % 9 == 0 {
                let _ = fs::remove_dir_all(tree.join(format!("d{}", number % 5)));
            }
        }
    };
    std::thread::scope(|scope| {
        let churning = scope.spawn(churn);
        let codes: Vec<_> =
            (0..15).map(|_| system::run(&mut site.agent(&["backup"]).unwrap()).unwrap()).collect();
        over.store(true, Ordering::SeqCst);
        churning.join().unwrap();
        for output in codes {
            assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
        }
    });
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    assert_eq!(site.points().unwrap().len(), 16);
    let restored = Snapshot::of(&site.restore("latest", &tree).unwrap()).unwrap();
    assert_eq!(restored.difference(&Snapshot::of(&tree).unwrap()), None);
    site.verify().unwrap();
}

/// Waits until the pool holds so many bytes.
fn wait_for_pool(site: &Site, bytes: u64) {
    let begun = Instant::now();
    let held = || {
        let segments = fs::read_dir(site.data().join("pool/segments")).unwrap();
        segments.map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    while held() < bytes {
        assert!(begun.elapsed() < Duration::from_secs(60), "the pool does not grow");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A site with a backup under way, of more than could be sent without an answer.
fn under_way() -> (Site, Running) {
    let site = Site::start().unwrap();
    let tree = site.path("files");
    fs::create_dir(&tree).unwrap();
    for number in 0..150 {
        fs::write(tree.join(number.to_string()), noise(number, 2 << 20)).unwrap();
    }
    site.protect(&tree).unwrap();
    let backup = Running::start(&mut site.agent(&["backup"]).unwrap()).unwrap();
    wait_for_pool(&site, 8 << 20);
    (site, backup)
}

#[test]
fn a_backup_that_waits_for_a_silent_appliance_stops_when_it_is_asked_to() {
    let (site, mut backup) = under_way();
    site.server().unwrap().freeze().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(backup.ended().unwrap(), None);
    let begun = Instant::now();
    backup.interrupt().unwrap();
    assert_eq!(backup.wait().unwrap().code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    site.server().unwrap().thaw().unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    assert_eq!(site.points().unwrap().len(), 1);
}

#[test]
fn a_second_interrupt_ends_a_backup_at_once() {
    let (site, mut backup) = under_way();
    site.server().unwrap().freeze().unwrap();
    backup.interrupt().unwrap();
    let begun = Instant::now();
    // Signals that come together count as one.
    while backup.ended().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(50));
        if backup.ended().unwrap().is_none() {
            backup.interrupt().unwrap();
        }
    }
    assert_eq!(backup.wait().unwrap().code(), Some(1));
    site.server().unwrap().thaw().unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
}

#[test]
fn a_backup_outlasts_an_appliance_that_is_silent_for_more_than_a_minute() {
    let (site, mut backup) = under_way();
    site.server().unwrap().freeze().unwrap();
    std::thread::sleep(Duration::from_secs(65));
    site.server().unwrap().thaw().unwrap();
    assert_eq!(backup.wait().unwrap().code(), Some(0));
    assert_eq!(site.points().unwrap().len(), 1);
    site.verify().unwrap();
}

#[test]
fn who_stops_listening_does_not_turn_a_failure_into_a_success() {
    let site = Site::start().unwrap();
    let tree = site.path("files");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("letter"), "x").unwrap();
    let gone = site.path("gone");
    fs::create_dir(&gone).unwrap();
    expect(&mut site.agent(&["source", "add", "first", gone.to_str().unwrap()]).unwrap(), 0).unwrap();
    expect(&mut site.agent(&["source", "add", "second", tree.to_str().unwrap()]).unwrap(), 0).unwrap();
    fs::remove_dir(&gone).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 1).unwrap();
    // The other end of the pipe is closed before the first line.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut backup = site.agent(&["backup"]).unwrap();
    let mut backup = Running::start_as_it_is(backup.stdout(writer)).unwrap();
    assert_eq!(backup.wait().unwrap().code(), Some(1));
}

#[test]
fn what_protects_nothing_or_never_runs_is_refused_when_it_is_added() {
    let site = Site::start().unwrap();
    let tree = site.path("files");
    fs::create_dir(&tree).unwrap();
    let link = site.path("link");
    std::os::unix::fs::symlink(&tree, &link).unwrap();
    let path = tree.to_str().unwrap();
    for (arguments, words) in [
        (&[link.to_str().unwrap()][..], path),
        (&[path, "--exclude", "[z"], "[z"),
        (&[path, "--cron", "0 0 30 2 *"], "never comes"),
        (&[path, "--every", "0"], "one minute"),
    ] {
        let (_, said) =
            said(&mut site.agent(&[&["source", "add", "x"], arguments].concat()).unwrap(), 1).unwrap();
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let listed = expect(&mut site.agent(&["source", "list", "--json"]).unwrap(), 0).unwrap();
    assert_eq!(listed.trim(), "[]");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&site.path("agent")), 0o700);
}

#[test]
fn an_agent_that_has_lost_its_cache_changes_nothing_about_what_differs() {
    let site = Site::start().unwrap();
    let tree = site.path("files");
    for folder in ["b", "e", "z"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
        for name in ["f", "g"] {
            fs::write(tree.join(folder).join(name), folder.repeat(1000) + name).unwrap();
        }
    }
    site.protect(&tree).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    fs::remove_dir_all(site.path("agent/cache")).unwrap();
    fs::create_dir(tree.join("a")).unwrap();
    fs::write(tree.join("a/f"), "new").unwrap();
    fs::write(tree.join("b/g"), "edited").unwrap();
    fs::rename(tree.join("z/f"), tree.join("z/h")).unwrap();
    expect(&mut site.agent(&["backup"]).unwrap(), 0).unwrap();
    let points: Vec<String> = site.points().unwrap().iter().map(|id| format!("web1/files@{id}")).collect();
    let differs = expect(&mut site.keepfast(&["diff", &points[0], &points[1]]).unwrap(), 0).unwrap();
    let path = |name: &str| tree.join(name).display().to_string();
    let mut found: Vec<(&str, &str)> =
        differs.lines().filter_map(|line| line.split_once('\t')?.into()).collect();
    found.iter_mut().for_each(|(_, path)| *path = path.split('\t').next().unwrap());
    // Directories above the tree are in the point, and others work there.
    found.retain(|(_, path)| path.starts_with(tree.to_str().unwrap()));
    let expected = [
        ("changed", path("")),
        ("added", path("a")),
        ("added", path("a/f")),
        ("changed", path("b/g")),
        ("changed", path("z")),
        ("removed", path("z/f")),
        ("added", path("z/h")),
    ];
    let expected: Vec<(&str, &str)> =
        expected.iter().map(|(change, path)| (*change, path.trim_end_matches('/'))).collect();
    assert_eq!(found, expected, "{differs}");
}
