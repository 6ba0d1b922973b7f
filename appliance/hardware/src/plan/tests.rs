//! Which disks are refused and why, and what a plan says of the others.

use super::*;
use crate::inspect::{Found, Part};

const DRIVE: DriveId = DriveId([0xab; 16]);

fn disk(content: Content) -> Inspection {
    Inspection {
        device: "/dev/sdx".into(),
        ids: Vec::new(),
        model: Some("Maker Model".into()),
        serial: Some("WX 12".into()),
        is_serial_shared: false,
        bytes: 1 << 40,
        sector_bytes: 512,
        physical_sector_bytes: 4096,
        is_rotational: true,
        is_removable: false,
        is_read_only: false,
        mounted: Vec::new(),
        is_swap: false,
        is_of_system: false,
        holders: Vec::new(),
        is_busy: false,
        parts: vec![Part { device: "/dev/sdx".into(), bytes: 1 << 40, found: None }],
        content,
    }
}

fn wanted(force: bool) -> Wanted {
    Wanted { drive: DRIVE, mounts: "/data/mounts".into(), force }
}

/// The reasons against a disk, in one line; empty if there are none.
fn against(disk: &Inspection, force: bool) -> String {
    objections(disk, &wanted(force)).join("; ")
}

#[test]
fn each_reason_is_told_and_force_takes_away_only_what_is_on_the_disk() {
    let foreign = || Content::Foreign(vec!["ext4 named \"mine\" on /dev/sdx".into()]);
    let other = || Content::Drive { drive: DriveId([1; 16]), device: "/dev/sdx1".into() };
    assert_eq!(against(&disk(Content::Blank), false), "");
    assert_eq!(against(&disk(Content::Begun), false), "");
    assert!(against(&disk(foreign()), false).contains("ext4 named \"mine\""));
    assert!(against(&disk(other()), false).contains("drive kf-01010101 of a pool"));
    assert_eq!(against(&disk(foreign()), true) + &against(&disk(other()), true), "");
    type Change = fn(&mut Inspection);
    let cases: [(Change, &str); 6] = [
        (|disk| disk.mounted = vec!["/mnt/a".into()], "mounted on /mnt/a"),
        (|disk| disk.holders = vec!["md0".into()], "part of md0"),
        (|disk| disk.is_busy = true, "another program"),
        (|disk| disk.is_read_only = true, "cannot be written"),
        (|disk| disk.bytes = 300 << 20, "300 MiB and must have 320"),
        (|disk| disk.is_of_system = true, "the running system"),
    ];
    for (change, reason) in cases {
        for content in [Content::Blank, foreign(), other()] {
            let mut disk = disk(content);
            change(&mut disk);
            assert!(against(&disk, true).contains(reason), "{reason}");
        }
    }
}

#[test]
fn a_plan_has_the_exact_commands_and_what_will_be_lost() {
    let plan = |content, force| Hardware::default().plan(&disk(content), &wanted(force)).unwrap();
    let shown = plan(Content::Foreign(vec!["swap on /dev/sdx2".into()]), true).to_string();
    let expected = "\
disk     /dev/sdx, Maker Model, 1099511627776 bytes
serial   WX 12
becomes  drive kf-abababab
LOST     swap on /dev/sdx2
does     printf 'label: gpt\\nstart=1MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=\"keepfast\"\\n' | sfdisk --quiet --lock --wipe always --wipe-partitions always /dev/sdx
does     mkfs.xfs -f -q -L kf-abababab -m uuid=abababab-abab-abab-abab-abababababab /dev/sdx1
does     mount -t xfs -o nosuid,nodev,noexec,noatime /dev/sdx1 /data/mounts/kf-abababab
confirm  type its serial number: WX 12";
    assert_eq!(shown, expected);
    let made = Content::Drive { drive: DRIVE, device: "/dev/sdx1".into() };
    let actions: Vec<Action> = plan(made, false).steps.iter().map(|step| step.action).collect();
    assert_eq!(actions, [Action::Mount], "what is made is not made again");
}

#[test]
fn partitions_are_named_as_the_kernel_names_them() {
    for (device, partition) in [("/dev/sdb", "/dev/sdb1"), ("/dev/nvme0n1", "/dev/nvme0n1p1")] {
        let disk = Inspection { device: device.into(), ..disk(Content::Blank) };
        assert_eq!(partition_of(&disk), PathBuf::from(partition));
    }
}

#[test]
fn a_disk_without_a_serial_number_has_a_code_that_follows_from_what_it_is() {
    let nameless = |content| Inspection { serial: None, ..disk(content) };
    let code = |disk: &Inspection| confirmation(disk).expected().to_owned();
    let blank = nameless(Content::Blank);
    let mut others = vec![
        nameless(Content::Begun),
        Inspection { device: "/dev/sdy".into(), ..blank.clone() },
        Inspection { bytes: 1 << 41, ..blank.clone() },
    ];
    let found = Some(Found::Table("gpt".into()));
    others.push(Inspection {
        parts: vec![Part { device: "/dev/sdx".into(), bytes: 1, found }],
        ..blank.clone()
    });
    assert_eq!(code(&blank), code(&blank.clone()));
    assert_eq!(code(&blank).len(), 6);
    assert!(others.iter().all(|other| code(other) != code(&blank)));
    let typed = format!(" {}\n", code(&blank).to_lowercase());
    assert!(confirmation(&blank).is(&typed) && !confirmation(&blank).is("WX 12"));
    let shared = Inspection { is_serial_shared: true, ..disk(Content::Blank) };
    assert!(!confirmation(&shared).is("WX 12") && confirmation(&shared) == confirmation(&blank));
    let serial = confirmation(&disk(Content::Blank));
    assert!(serial.is(" WX 12 ") && !serial.is("wx 12") && !serial.is("WX12") && !serial.is(""));
}
