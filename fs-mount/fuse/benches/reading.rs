//! How fast a mounted file is read, from an archive in memory: `cargo bench -p fuse`. Needs /dev/fuse.

#![expect(clippy::unwrap_used, reason = "what fails must stop")]

#[path = "../../view/tests/view/memory.rs"]
#[expect(dead_code, reason = "the tests of views do more with it")]
mod memory;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fuse::Mounted;
use memory::Memory;
use tempfile::TempDir;
use view::{Options, View};

/// Bytes of the large file, and of a chunk of it.
const LENGTH: usize = 256 << 20;
const CHUNK: usize = 128 << 10;
/// Small files.
const FILES: u64 = 2_000;

fn main() {
    divan::main();
}

/// A point with one large file and many small ones, mounted.
struct Site {
    mounted: Option<Mounted>,
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let archive = Memory::default();
        let point = archive.point(0, 1);
        let mut content = vec![0; LENGTH];
        for (number, bytes) in content.chunks_mut(8).enumerate() {
            bytes.copy_from_slice(&(number as u64 * 0x9e37_79b9_7f4a_7c15).to_le_bytes());
        }
        archive.file(point, 2, b"large", &content, CHUNK);
        for number in 0..FILES {
            let start = usize::try_from(number).unwrap() * 2048;
            archive.file(point, 3 + number, name(number).as_bytes(), &content[start..start + 2048], CHUNK);
        }
        let folder = tempfile::tempdir().unwrap();
        let view = View::new(Arc::new(archive), || memory::NOW, Options::default()).unwrap();
        Self { mounted: Some(fuse::mount(view, folder.path()).unwrap()), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("web1/home/latest").join(name)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.mounted.take().unwrap().end();
    }
}

fn name(number: u64) -> String {
    format!("small {number:06}")
}

/// A new mount each time: the kernel keeps what was read.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn one_byte_after_the_other(bencher: Bencher<'_, '_>) {
    bencher.counter(BytesCount::new(LENGTH)).with_inputs(Site::new).bench_local_refs(|site| {
        let (mut file, mut buffer) = (File::open(site.path("large")).unwrap(), vec![0; 1 << 20]);
        while file.read(&mut buffer).unwrap() > 0 {}
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn anywhere(bencher: Bencher<'_, '_>) {
    const READS: u64 = 2_000;
    bencher.counter(ItemsCount::new(READS)).with_inputs(Site::new).bench_local_refs(|site| {
        let (file, mut buffer) = (File::open(site.path("large")).unwrap(), [0; 4096]);
        for number in 0..READS {
            let block = number * 7919 % (LENGTH as u64 / 4096);
            file.read_exact_at(&mut buffer, block * 4096).unwrap();
        }
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn small_files(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(FILES)).with_inputs(Site::new).bench_local_refs(|site| {
        for number in 0..FILES {
            assert_eq!(fs::read(site.path(&name(number))).unwrap().len(), 2048);
        }
    });
}
