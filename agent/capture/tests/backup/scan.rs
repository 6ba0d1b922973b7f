//! What a scan finds and sends: everything at first, then what differs.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use crate::world::{World, odd, real, settle, text, write};
use model::operation::Operation;

#[test]
fn everything_a_filesystem_can_hold_is_in_the_first_point() {
    let world = World::new();
    odd::make(&world.tree());
    let outcome = world.backup_and_compare();
    let files = real::files(&world.tree());
    let firsts = files.iter().filter(|(path, file)| file.first == **path);
    let regular = firsts.filter(|(_, file)| file.attributes.kind == model::item::FileKind::File);
    let (count, bytes) = regular.fold((0, 0), |(n, b), (_, file)| (n + 1, b + file.content.len() as u64));
    assert_eq!((outcome.totals.files, outcome.totals.bytes), (count, bytes));
    assert_eq!(outcome.totals.files_read, count);
    assert_eq!(world.appliance.asked(), 0, "a machine without chunks has none to ask for");
    assert_eq!(world.appliance.sent_again(), 0);
}

#[test]
fn holes_are_sent_as_holes_and_zeros_are_sent_once() {
    let world = World::new();
    odd::make(&world.tree());
    let outcome = world.backup_and_compare();
    let holes: u64 = world
        .appliance
        .operations_of_newest()
        .iter()
        .map(|operation| match operation {
            Operation::Write { content: model::operation::Content::Hole { length }, .. } => *length,
            _ => 0,
        })
        .sum();
    assert!(holes > 25_000_000, "{holes} bytes of holes");
    assert!(outcome.totals.bytes - outcome.totals.bytes_read > 20_000_000);
}

#[test]
fn the_second_scan_reads_nothing_once_times_are_settled() {
    let world = World::new();
    odd::make(&world.tree());
    settle();
    world.backup_and_compare();
    let outcome = world.backup_and_compare();
    assert_eq!(outcome.totals.files_read, odd::READ_ALWAYS);
    assert_eq!(outcome.totals.bytes_sent, 0);
    let operations = world.appliance.operations_of_newest();
    let about_tree: Vec<_> = operations
        .iter()
        .filter(|operation| {
            !matches!(operation, Operation::SetAttributes { object, .. }
            if *object <= world.appliance.newest_tree().number(&world.tree()))
        })
        .collect();
    assert!(about_tree.is_empty(), "{about_tree:?}");
    let first = world.appliance.newest_tree();
    assert_eq!(first.len(), world.appliance.newest_tree().len());
}

#[test]
fn times_that_are_too_new_prove_nothing() {
    let world = World::new();
    let path = world.tree().join("file");
    write(&path, &text(1, 1000));
    let before = path.metadata().unwrap();
    world.backup_and_compare();
    // The same size and the same modification time, and very likely within the same tick of the clock.
    write(&path, &text(2, 1000));
    let times = std::fs::FileTimes::new().set_modified(before.modified().unwrap());
    std::fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    assert_eq!((before.size(), before.mtime_nsec()), {
        let after = path.metadata().unwrap();
        (after.size(), after.mtime_nsec())
    });
    let outcome = world.backup_and_compare();
    assert_eq!(outcome.totals.files_read, 1);
    let outcome = world.backup_and_compare();
    assert_eq!(outcome.totals.files_read, 1, "still too new, and read again though nothing changed");
    assert_eq!(outcome.totals.bytes_sent, 0);
}

#[test]
fn a_renamed_directory_is_one_operation() {
    let world = World::new();
    odd::make(&world.tree());
    settle();
    world.backup_and_compare();
    let number = world.appliance.newest_tree().number(&world.tree().join("wide"));
    std::fs::rename(world.tree().join("wide"), world.tree().join("names/moved")).unwrap();
    let outcome = world.backup_and_compare();
    assert_eq!(outcome.totals.files_read, odd::READ_ALWAYS);
    assert_eq!(world.appliance.newest_tree().number(&world.tree().join("names/moved")), number);
    let structural = |operation: &&Operation| !matches!(operation, Operation::SetAttributes { .. });
    let operations = world.appliance.operations_of_newest();
    let count = operations.iter().filter(structural).count();
    assert!(count <= 4, "{operations:?}");
}

#[test]
fn directories_that_swap_their_names_keep_their_content() {
    let world = World::new();
    for (name, file) in [("a", "in a"), ("b", "in b"), ("b/below", "deep")] {
        std::fs::create_dir(world.tree().join(name)).unwrap();
        write(&world.tree().join(name).join(file), file.as_bytes());
    }
    settle();
    world.backup_and_compare();
    let at = |name: &str| world.tree().join(name);
    std::fs::rename(at("a"), at("c")).unwrap();
    std::fs::rename(at("b"), at("a")).unwrap();
    std::fs::rename(at("c"), at("b")).unwrap();
    assert_eq!(world.backup_and_compare().totals.files_read, 0);
    // A directory becomes the child of its own child.
    std::fs::rename(at("a/below"), at("below")).unwrap();
    std::fs::rename(at("a"), at("below/a")).unwrap();
    assert_eq!(world.backup_and_compare().totals.files_read, 0);
    assert!(!world.appliance.newest_tree().root_names().iter().any(|name| name.contains("keepfast")));
    std::fs::remove_dir_all(at("below")).unwrap();
    write(&at("below"), b"a file where a directory was");
    world.backup_and_compare();
}

#[test]
fn a_large_file_sends_only_what_changed() {
    let world = World::new();
    let path = world.tree().join("disk.img");
    let mut bytes = text(1, 40_000_000);
    write(&path, &bytes);
    let mut world = world;
    world.config.images = vec!["*.img".to_owned()];
    world.backup_and_compare();
    bytes[20_000_000] ^= 1;
    write(&path, &bytes);
    world.backup_and_compare();
    let writes = |world: &World| {
        let operations = world.appliance.operations_of_newest();
        operations.iter().filter(|operation| matches!(operation, Operation::Write { .. })).count()
    };
    assert_eq!(writes(&world), 1);
    bytes.truncate(30_000_000);
    write(&path, &bytes);
    world.backup_and_compare();
    assert!(writes(&world) <= 1);
    bytes.extend(text(9, 100));
    write(&path, &bytes);
    world.backup_and_compare();
}

#[test]
fn paths_appear_from_the_root_on_and_only_they() {
    let mut world = World::new();
    odd::make(&world.tree());
    let tree = world.tree();
    world.config.paths =
        vec![tree.join("links"), tree.join("middle"), tree.join("links/below"), tree.join("kinds/fifo")];
    let outcome = world.backup().unwrap();
    assert_eq!(outcome.exceptions, []);
    let point = world.appliance.newest_tree();
    assert_eq!(point.files(&tree.join("links")).len(), real::files(&tree.join("links")).len());
    assert!(point.has(&tree.join("middle")) && point.has(&tree.join("kinds/fifo")));
    assert!(!point.has(&tree.join("large")) && !point.has(&tree.join("kinds/socket")));
    world.config.paths = vec![tree.clone()];
    world.backup_and_compare();
    world.config.paths = vec![tree.join("names")];
    world.backup().unwrap();
    let point = world.appliance.newest_tree();
    assert!(point.has(&tree.join("names/...")) && !point.has(&tree.join("middle")));
}

#[test]
fn excluded_and_cached_things_are_left_out() {
    let mut world = World::new();
    let at = |name: &str| world.tree().join(name);
    for name in ["keep", "skip", "cache/below", "false cache", "agent/cache"] {
        std::fs::create_dir_all(at(name)).unwrap();
        write(&at(name).join("file.txt"), b"text");
        write(&at(name).join("file.tmp"), b"temporary");
    }
    write(&at("cache/CACHEDIR.TAG"), b"Signature: 8a477f597d28d172789f06886806bc55\n# yes");
    write(&at("false cache/CACHEDIR.TAG"), b"Signature: no");
    let (skip, agent) = (at("skip"), at("agent"));
    world.backup_and_compare_parts(&["keep/file.tmp", "skip/file.txt", "agent/cache"], &["cache/below"]);
    world.config.excludes = vec!["*.tmp".to_owned(), skip.to_str().unwrap().to_owned()];
    world.config.skipped = vec![agent];
    world.backup_and_compare_parts(
        &["keep/file.txt", "cache/CACHEDIR.TAG", "false cache/file.txt", "agent"],
        &["keep/file.tmp", "skip", "cache/below", "false cache/file.tmp", "agent/cache"],
    );
}

impl World {
    fn backup_and_compare_parts(&self, there: &[&str], left_out: &[&str]) {
        assert_eq!(self.backup().unwrap().exceptions, []);
        let point = self.appliance.newest_tree();
        for name in there {
            assert!(point.has(&self.tree().join(name)), "{name} is missing");
        }
        for name in left_out {
            assert!(!point.has(&self.tree().join(name)), "{name} is there");
        }
    }
}

#[test]
fn nothing_but_the_protected_filesystem_is_walked_into() {
    let mut world = World::new();
    world.config.paths = vec![PathBuf::from("/proc/self"), world.tree()];
    let outcome = world.backup().unwrap();
    assert!(outcome.totals.others >= 1, "the link /proc/self is recorded");
    world.config.paths = vec![PathBuf::from("/")];
    world.config.one_filesystem = true;
    world.config.excludes = vec!["/*".to_owned(), "!/proc".to_owned(), "!/dev".to_owned()];
    world.backup().unwrap();
    let point = world.appliance.newest_tree();
    assert_eq!(point.root_names(), ["dev", "proc"]);
    assert_eq!(point.len(), 3);
    world.config.one_filesystem = false;
    world.config.excludes.pop();
    world.backup().unwrap();
    assert_eq!(world.appliance.newest_tree().len(), 2, "proc is made up and stays empty");
}

#[test]
fn permissions_and_attributes_alone_are_sent_without_content() {
    let world = World::new();
    let path = world.tree().join("file");
    write(&path, &text(1, 500_000));
    settle();
    world.backup_and_compare();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    rustix::fs::setxattr(&path, "user.a", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    world.backup_and_compare();
    rustix::fs::removexattr(&path, "user.a").unwrap();
    let outcome = world.backup_and_compare();
    assert_eq!(outcome.totals.bytes_sent, 0);
    let operations = world.appliance.operations_of_newest();
    assert!(
        !operations.iter().any(|operation| matches!(operation, Operation::Write { .. })),
        "{operations:?}"
    );
}
