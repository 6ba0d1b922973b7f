//! Recorded machines: SATA behind SCSI, NVMe, virtio, USB, RAID over partitions, and disks that tell nonsense.

use std::os::unix::fs::symlink;

use super::*;
use crate::inspect::model;

/// A machine in a folder.
struct Recorded(tempfile::TempDir);

impl Recorded {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn hardware(&self) -> Hardware {
        Hardware::at(self.0.path())
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn link(&self, from: &str, to: &str) {
        let from = self.0.path().join(from);
        fs::create_dir_all(from.parent().unwrap()).unwrap();
        symlink(self.0.path().join(to), from).unwrap();
    }

    /// A device with its directory in sysfs; a partition if that lies in the directory of a disk.
    fn device(&self, directory: &str, number: &str, sectors: &str) {
        let name = directory.rsplit('/').next().unwrap();
        self.write(&format!("{directory}/dev"), format!("{number}\n").as_bytes());
        self.write(&format!("{directory}/size"), format!("{sectors}\n").as_bytes());
        self.link(&format!("sys/dev/block/{number}"), directory);
        self.write(&format!("dev/{}", name.replace('!', "/")), b"");
    }

    fn disk(&self, directory: &str, number: &str) {
        self.device(directory, number, "7814037168");
        let name = directory.rsplit('/').next().unwrap();
        self.link(&format!("sys/block/{name}"), directory);
    }

    fn partition(&self, directory: &str, number: &str, which: &str) {
        self.device(directory, number, "2048");
        self.write(&format!("{directory}/partition"), which.as_bytes());
    }
}

#[test]
fn serial_numbers_and_models_come_from_wherever_a_disk_tells_them() {
    let machine = Recorded::new();
    let sata = "sys/devices/ata1/0:0:0:0/block/sda";
    machine.disk(sata, "8:0");
    machine.write(&format!("{sata}/device/vendor"), b"ATA     ");
    machine.write(&format!("{sata}/device/model"), b"WDC WD40EFRX-68N\n");
    machine.write(&format!("{sata}/device/vpd_pg80"), b"\0\x80\0\x14     WD-WCC7K1234567");
    let nvme = "sys/devices/pci0/nvme/nvme0/nvme0n1";
    machine.disk(nvme, "259:0");
    machine.write(&format!("{nvme}/device/model"), b"Samsung SSD 990 PRO 2TB                 \n");
    machine.write(&format!("{nvme}/device/serial"), b"S7HEN  \n");
    let virtio = "sys/devices/virtio0/block/vda";
    machine.disk(virtio, "254:0");
    machine.write(&format!("{virtio}/device/vendor"), b"0x1af4\n");
    machine.write(&format!("{virtio}/serial"), b"disk-7\n");
    let usb = "sys/devices/usb1/block/sdb";
    machine.disk(usb, "8:16");
    machine.write("run/udev/data/b8:16", b"S:disk/by-id/x\nE:ID_SERIAL=Long_0001\nE:ID_SERIAL_SHORT=0001\n");
    let hostile = "sys/devices/usb2/block/sdc";
    machine.disk(hostile, "8:32");
    machine.write(&format!("{hostile}/device/model"), b"\x1b[31mred\x07 \xff\xfe");
    machine.write(&format!("{hostile}/device/serial"), &vec![b'9'; 3 << 20]);

    let hardware = machine.hardware();
    let told = |name: &str| {
        let disk = hardware.disks().into_iter().find(|disk| disk.name == name).unwrap();
        (model(&disk), hardware.serial(&disk))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(told("sda"), (some("WDC WD40EFRX-68N"), some("WD-WCC7K1234567")));
    assert_eq!(told("nvme0n1"), (some("Samsung SSD 990 PRO 2TB"), some("S7HEN")));
    assert_eq!(told("vda"), (None, some("disk-7")));
    assert_eq!(told("sdb"), (None, some("0001")));
    let twin = "sys/devices/usb3/block/sdd";
    machine.disk(twin, "8:48");
    machine.write(&format!("{twin}/serial"), b"0001");
    let shared = |name: &str| {
        let disk = hardware.disks().into_iter().find(|disk| disk.name == name).unwrap();
        hardware.is_shared(&disk, &hardware.serial(&disk).unwrap())
    };
    assert!(shared("sdb") && shared("sdd") && !shared("sda"));
    let (model, serial) = told("sdc");
    assert_eq!(model, some("[31mred  ??"));
    assert_eq!(serial.map(|serial| serial.len()), Some(256));
}

#[test]
fn what_is_made_of_a_disk_belongs_to_it_and_circles_end() {
    let machine = Recorded::new();
    let sda = "sys/devices/a/block/sda";
    machine.disk(sda, "8:0");
    machine.partition(&format!("{sda}/sda2"), "8:2", "2");
    machine.partition(&format!("{sda}/sda10"), "8:10", "10");
    let md = "sys/devices/virtual/block/md0";
    machine.disk(md, "9:0");
    machine.partition(&format!("{md}/md0p1"), "259:1", "1");
    machine.link(&format!("{sda}/sda2/holders/md0"), md);
    let dm = "sys/devices/virtual/block/dm-0";
    machine.disk(dm, "253:0");
    machine.link(&format!("{md}/holders/dm-0"), dm);
    // Which no kernel makes.
    machine.link(&format!("{dm}/holders/sda"), sda);
    let hardware = machine.hardware();
    let disk = hardware.disks().into_iter().find(|disk| disk.name == "sda").unwrap();
    assert_eq!(disk.bytes, 7_814_037_168 * 512);
    let names = |devices: Vec<Device>| devices.into_iter().map(|device| device.name).collect::<Vec<_>>();
    assert_eq!(names(hardware.partitions(&disk)), ["sda2", "sda10"]);
    let mut family = names(hardware.family(&disk));
    family.sort();
    assert_eq!(family, ["dm-0", "md0", "md0p1", "sda", "sda10", "sda2"]);
}

#[test]
fn devices_that_tell_nonsense_are_left_out_and_names_lead_to_nodes() {
    let machine = Recorded::new();
    machine.disk("sys/devices/a/block/cciss!c0d0", "104:0");
    machine.device("sys/devices/b/block/sdx", "8:0", "many");
    machine.link("sys/block/sdx", "sys/devices/b/block/sdx");
    machine.device("sys/devices/c/block/sdy", "8", "2048");
    machine.link("sys/block/sdy", "sys/devices/c/block/sdy");
    machine.link("sys/block/sdz", "sys/devices/nothing");
    machine.link("dev/disk/by-id/ata-Disk_1", "dev/cciss/c0d0");
    machine.link("dev/disk/by-id/ata-Other", "dev/sdx");
    let hardware = machine.hardware();
    let [disk] = hardware.disks().try_into().unwrap();
    assert_eq!(hardware.node(&disk), machine.0.path().join("dev/cciss/c0d0"));
    assert_eq!(hardware.ids(&disk), ["ata-Disk_1"]);
    assert!(hardware.device(Number { major: 8, minor: 0 }).is_none());
}
