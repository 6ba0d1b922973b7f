//! How fast operations become a tree: `cargo bench -p journal`.

#![expect(clippy::unwrap_used, reason = "what fails must stop")]

use divan::Bencher;
use divan::counter::ItemsCount;
use journal::Fold;
use model::item::{Attributes, FileKind};
use model::operation::{Content, Operation};
use model::{EntryName, Name, ObjectId};
use tree::Root;
use tree::memory::MemoryPages;

/// Files that are made, each by two operations, and writes that go to one file.
const FILES: u64 = 20_000;
const WRITES: u64 = 20_000;
/// Bytes of a write.
const BLOCK: u32 = 4096;

fn main() {
    divan::main();
}

fn object(number: u64) -> ObjectId {
    ObjectId(ObjectId::ROOT.0 + 1 + number)
}

fn make(number: u64) -> Operation {
    let name = EntryName::new(format!("file {number:08}").as_bytes()).unwrap();
    let attributes = Attributes::new(FileKind::File, 0o644);
    Operation::Make { directory: ObjectId::ROOT, name, object: object(number), attributes }
}

fn write(object: ObjectId, block: u64) -> Operation {
    let mut name = Name([7; 32]);
    name.0[..8].copy_from_slice(&block.to_le_bytes());
    let content = Content::Chunk { name, skip: 0, length: BLOCK };
    Operation::Write { object, offset: block * u64::from(BLOCK), content }
}

/// A first backup of many files.
fn files() -> Vec<Operation> {
    (0..FILES).flat_map(|number| [make(number), write(object(number), 0)]).collect()
}

/// A database: one file, blocks of it over and over, nowhere one behind the other.
fn writes() -> Vec<Operation> {
    let blocks = (0..WRITES).map(|number| write(object(0), number * 7919 % (WRITES / 4)));
    std::iter::once(make(0)).chain(blocks).collect()
}

fn fold(operations: &[Operation]) -> MemoryPages {
    let mut pages = MemoryPages::new();
    let mut fold = Fold::new(Root::EMPTY);
    for operation in operations {
        fold.operation(&pages, operation).unwrap();
    }
    fold.flush(&mut pages).unwrap();
    pages
}

#[divan::bench]
fn fold_new_files(bencher: Bencher<'_, '_>) {
    let operations = files();
    bencher.counter(ItemsCount::new(operations.len())).bench_local(|| fold(&operations));
}

#[divan::bench]
fn fold_writes_to_one_file(bencher: Bencher<'_, '_>) {
    let operations = writes();
    bencher.counter(ItemsCount::new(operations.len())).bench_local(|| fold(&operations));
}

#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let operations = files();
    bencher.counter(ItemsCount::new(operations.len())).bench_local(|| minicbor::to_vec(&operations).unwrap());
}

#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    let encoded = minicbor::to_vec(files()).unwrap();
    let count = ItemsCount::new(FILES * 2);
    bencher.counter(count).bench_local(|| minicbor::decode::<Vec<Operation>>(&encoded).unwrap());
}
