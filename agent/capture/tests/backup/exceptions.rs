//! Files that cannot be read, vanish or change: each is an exception, and the rest is in the point.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

use capture::BackupError;
use model::record::ExceptionCause;

use crate::world::{World, odd, text, write};

#[test]
fn a_protected_path_that_is_missing_keeps_what_the_last_point_had() {
    let mut world = World::new();
    let (here, away) = (world.tree().join("here"), world.tree().join("away"));
    for path in [&here, &away] {
        std::fs::create_dir(path).unwrap();
        write(&path.join("file"), b"content");
    }
    world.config.paths = vec![here.clone(), away.clone()];
    assert_eq!(world.backup().unwrap().exceptions, []);
    std::fs::rename(&away, world.tree().join("unmounted")).unwrap();
    write(&here.join("file"), b"changed");
    let outcome = world.backup().unwrap();
    let causes: Vec<_> = outcome.exceptions.iter().map(|problem| problem.cause).collect();
    assert_eq!(causes, [ExceptionCause::Unreadable]);
    let point = world.appliance.newest_tree();
    assert_eq!(point.files(&here)[&here.join("file")].content, b"changed");
    assert_eq!(point.files(&away)[&away.join("file")].content, b"content");
    std::fs::rename(&here, world.tree().join("gone as well")).unwrap();
    let error = world.backup().unwrap_err();
    assert!(matches!(&error, BackupError::NothingToRead { first } if first.contains("away")), "{error}");
}

#[test]
fn a_path_through_a_symbolic_link_is_not_followed() {
    let mut world = World::new();
    std::fs::create_dir(world.tree().join("real")).unwrap();
    write(&world.tree().join("real/file"), b"content");
    std::os::unix::fs::symlink("real", world.tree().join("link")).unwrap();
    world.config.paths = vec![world.tree().join("link/file"), world.tree().join("real")];
    let outcome = world.backup().unwrap();
    assert_eq!(outcome.exceptions.len(), 1, "{:?}", outcome.exceptions);
    assert!(outcome.exceptions[0].path.ends_with(b"/link"));
    assert!(world.appliance.newest_tree().has(&world.tree().join("real/file")));
}

#[test]
fn a_protected_link_to_a_directory_is_an_exception_that_names_its_target() {
    let mut world = World::new();
    let at = |name: &str| world.tree().join(name);
    std::fs::create_dir_all(at("real/below")).unwrap();
    write(&at("real/file"), b"content");
    let links =
        [("to directory", "real"), ("to link", "to directory"), ("to file", "real/file"), ("dangling", "x")];
    for (name, target) in links {
        std::os::unix::fs::symlink(target, at(name)).unwrap();
    }
    std::os::unix::fs::symlink("below", at("real/inner")).unwrap();
    let real = at("real").canonicalize().unwrap();
    let expected = ["to directory", "to link"].map(|name| at(name).into_os_string().into_encoded_bytes());
    world.config.paths = links.iter().map(|(name, _)| at(name)).chain([at("real")]).collect();
    let outcome = world.backup().unwrap();
    let found: Vec<_> = outcome.exceptions.iter().map(|problem| problem.path.clone()).collect();
    assert_eq!(found, expected, "links below a protected path are not meant");
    for problem in &outcome.exceptions {
        assert_eq!(problem.cause, ExceptionCause::Unreadable);
        let end = format!("not followed; protect its target {}", real.display());
        assert!(problem.detail.ends_with(&end), "{}", problem.detail);
    }
    let point = world.appliance.newest_tree();
    for (name, _) in links {
        assert!(point.has(&world.tree().join(name)), "{name} is in the point all the same");
    }
}

/// Runs something as a user who may not read everything, whoever runs the test.
fn without_privileges<T: Send>(world: &World, action: impl FnOnce() -> T + Send) -> T {
    if !odd::is_root() {
        return action();
    }
    let nobody = 65_534;
    for path in [world.folder.path().to_owned(), world.tree()] {
        std::os::unix::fs::chown(path, Some(nobody), Some(nobody)).unwrap();
    }
    // Threads have users of their own on Linux, and pass them on to the threads that they start.
    let user = rustix::process::Uid::from_raw(nobody);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            action()
        });
        thread.join().unwrap()
    })
}

#[test]
fn what_may_not_be_read_keeps_what_the_last_point_had() {
    let world = World::new();
    let at = |name: &str| world.tree().join(name);
    let forbid = |name: &str| {
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o000)).unwrap();
    };
    without_privileges(&world, || {
        std::fs::create_dir(at("folder")).unwrap();
        for name in ["folder/file", "file", "long", "new", "linked", "zoo"] {
            write(&at(name), &text(1, if name == "long" { 3_000_000 } else { 100 }));
        }
        std::fs::hard_link(at("linked"), at("linked again")).unwrap();
        forbid("new");
        forbid("linked");
        let outcome = world.backup().unwrap();
        let found: Vec<_> = outcome.exceptions.iter().map(|p| (p.path.clone(), p.cause)).collect();
        let expected = ["linked", "linked again", "new"];
        assert_eq!(
            found,
            expected
                .map(|name| { (at(name).into_os_string().into_encoded_bytes(), ExceptionCause::Unreadable) })
        );
        for name in ["folder", "file", "long"] {
            forbid(name);
        }
        std::fs::remove_file(at("zoo")).unwrap();
        let outcome = world.backup().unwrap();
        assert_eq!(outcome.exceptions.len(), 6, "{:?}", outcome.exceptions);
        let point = world.appliance.newest_tree();
        for (name, expected) in [
            ("folder/file", true),
            ("file", true),
            ("long", true),
            ("new", false),
            ("linked", false),
            ("linked again", false),
            ("zoo", false),
        ] {
            assert_eq!(point.has(&at(name)), expected, "{name}");
        }
        assert_eq!(point.files(&at("long"))[&at("long")].content, text(1, 3_000_000));
        for name in ["folder", "file", "long", "new", "linked"] {
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        world.backup_and_compare();
    });
}

#[test]
fn a_hard_link_that_may_not_be_read_keeps_what_the_last_point_had() {
    let world = World::new();
    let at = |name: &str| world.tree().join(name);
    let mode = |name: &str, mode| {
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let sizes = [("small", 100), ("large", 3_000_000)];
    let each = |names: &[&str], action: &dyn Fn(String)| {
        sizes.iter().for_each(|(size, _)| names.iter().for_each(|name| action(format!("{size} {name}"))));
    };
    let found = || {
        let outcome = world.backup().unwrap();
        let causes: Vec<_> = outcome.exceptions.iter().map(|problem| problem.cause).collect();
        let point = world.appliance.newest_tree();
        for (size, length) in sizes {
            for name in ["b", "c"].map(|name| at(&format!("{size} {name}"))) {
                assert_eq!(point.files(&name)[&name].content, text(1, length), "{}", name.display());
            }
            assert_eq!(
                point.number(&at(&format!("{size} b"))),
                point.number(&at(&format!("{size} c"))),
                "they stay one file"
            );
            assert!(!point.has(&at(&format!("{size} a"))) && !point.has(&at(&format!("{size} d"))));
        }
        causes
    };
    without_privileges(&world, || {
        for (size, length) in sizes {
            write(&at(&format!("{size} a")), &text(1, length));
            for name in ["b", "c"] {
                std::fs::hard_link(at(&format!("{size} a")), at(&format!("{size} {name}"))).unwrap();
            }
        }
        world.backup_and_compare();
        each(&["a"], &|name| std::fs::remove_file(at(&name)).unwrap());
        each(&["b"], &|name| mode(&name, 0o000));
        assert_eq!(found(), [ExceptionCause::Unreadable; 4]);
        // A further name of what cannot be read is not in the point; the others still are.
        each(&["b"], &|name| std::fs::hard_link(at(&name), at(&name.replace('b', "d"))).unwrap());
        assert_eq!(found(), [ExceptionCause::Unreadable; 6]);
        each(&["b"], &|name| mode(&name, 0o600));
        world.backup_and_compare();

        each(&["b", "d"], &|name| std::fs::remove_file(at(&name)).unwrap());
        each(&["c"], &|name| mode(&name, 0o000));
        assert_eq!(world.backup().unwrap().exceptions.len(), 2);
        each(&["c"], &|name| std::fs::remove_file(at(&name)).unwrap());
        world.backup_and_compare();
    });
}

#[test]
fn a_name_of_another_file_that_may_not_be_read_does_not_show_the_content_of_its_links() {
    let world = World::new();
    let at = |name: &str| world.tree().join(name);
    without_privileges(&world, || {
        write(&at("a"), b"shared");
        std::fs::hard_link(at("a"), at("b")).unwrap();
        world.backup_and_compare();
        std::fs::remove_file(at("b")).unwrap();
        write(&at("b"), b"secret");
        std::fs::set_permissions(at("b"), std::fs::Permissions::from_mode(0o000)).unwrap();
        write(&at("a"), b"changed");
        assert_eq!(world.backup().unwrap().exceptions.len(), 1);
        let point = world.appliance.newest_tree();
        assert_eq!(point.files(&at("a"))[&at("a")].content, b"changed");
        assert!(!point.has(&at("b")), "it never had this content");
        std::fs::set_permissions(at("b"), std::fs::Permissions::from_mode(0o600)).unwrap();
        world.backup_and_compare();
    });
}

#[test]
fn a_file_that_always_changes_is_stored_with_an_exception() {
    let world = World::new();
    let path = world.tree().join("busy");
    write(&path, &text(1, 60_000_000));
    write(&world.tree().join("calm"), b"content");
    let stop = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            let mut round = 0u64;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                file.write_all_at(&round.to_le_bytes(), round % 50_000_000).unwrap();
            }
        });
        let outcome = world.backup();
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap()
    });
    let causes: Vec<_> = outcome.exceptions.iter().map(|problem| problem.cause).collect();
    assert_eq!(causes, [ExceptionCause::Changed]);
    let point = world.appliance.newest_tree();
    assert_eq!(point.files(&world.tree())[&path].content.len(), 60_000_000);
    world.backup_and_compare();
}

#[test]
fn a_tree_that_is_torn_apart_meanwhile_still_makes_points() {
    let world = World::new();
    let stop = AtomicBool::new(false);
    for index in 0..300 {
        write(&world.tree().join(format!("steady {index}")), &text(index, 5000));
    }
    std::thread::scope(|scope| {
        let tear = |seed: u64| {
            let (root, stop) = (world.tree(), &stop);
            move || {
                let mut round = seed;
                while !stop.load(Ordering::Relaxed) {
                    round += 2;
                    let at = |number: u64| root.join(format!("torn {}", number % 9));
                    // Whatever of this fails has lost a race, which is the point.
                    let _ = match round / 2 % 7 {
                        0 => std::fs::create_dir_all(at(round).join("below").join("deeper")),
                        1 => std::fs::write(at(round * 3).join("file"), text(round, 200_000)),
                        2 => std::fs::rename(at(round), at(round * 5).join("below")),
                        3 => std::fs::remove_dir_all(at(round * 7)),
                        4 => std::fs::hard_link(at(round).join("file"), at(round * 5).join("link")),
                        5 => std::fs::write(at(round * 11), b"a file"),
                        _ => std::fs::remove_file(at(round * 11)),
                    };
                }
            }
        };
        scope.spawn(tear(0));
        scope.spawn(tear(1));
        for _ in 0..15 {
            world.backup().unwrap();
            let point = world.appliance.newest_tree().files(&world.tree());
            for index in 0..300 {
                let steady = &point[&world.tree().join(format!("steady {index}"))];
                assert_eq!(steady.content, text(index, 5000));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    world.backup_and_compare();
}
