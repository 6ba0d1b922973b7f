//! The bytes of version 1, as FORMAT.md states them: a change here is a new version.

use model::Name;
use tree::memory::MemoryPages;
use tree::{ByteStrings, PageLimits, PageSource, Root, Tree};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_leaf_is_what_the_table_says() {
    let tree = Tree::<ByteStrings>::default();
    let mut pages = MemoryPages::new();
    let batch = (0..18u8).map(|n| (vec![b'k', n / 10, n], Some(vec![b'v'; usize::from(n % 3)])));
    let applied = tree.apply(&mut pages, &Root::EMPTY, batch).unwrap();
    let expected = [
        "4b5001",   // magic, version
        "00",       // level
        "12000000", // entries
        // shared, rest, payload; rest of the key; payload
        "000300 6b0000",
        "020101 01 76",
        "020102 02 7676",
        "020100 03",
        "020101 04 76",
        "020102 05 7676",
        "020100 06",
        "020101 07 76",
        "020102 08 7676",
        "020100 09",
        "010201 010a 76",
        "020102 0b 7676",
        "020100 0c",
        "020101 0d 76",
        "020102 0e 7676",
        "020100 0f",
        "000301 6b0110 76", // a restart point
        "020102 11 7676",
        "08000000 5a000000", // restart points
    ];
    let bytes = pages.read(&applied.born[0]).unwrap();
    assert_eq!(hex(&bytes), expected.concat().replace(' ', ""));
}

#[test]
fn an_interior_page_and_a_root_are_what_the_tables_say() {
    let tree = Tree::<ByteStrings>::new(PageLimits::new(64));
    let mut pages = MemoryPages::new();
    let batch = [(b"aaaa".to_vec(), Some(vec![1; 40])), (b"abcd".to_vec(), Some(vec![2; 40]))];
    let applied = tree.apply(&mut pages, &Root::EMPTY, batch).unwrap();
    let [first, second, top] = applied.born[..] else { panic!("two leaves and their parent") };
    let expected = [
        "4b500101",
        "02000000",
        "000021",
        &hex(&first.0),
        "01",
        "000221",
        "6162", // the shortest that is greater than `aaaa` and not greater than `abcd`
        &hex(&second.0),
        "01",
        "08000000",
    ];
    assert_eq!(hex(&pages.read(&top).unwrap()), expected.concat());

    let root = Root::from_parts(Some(Name([0xab; 32])), 3, 1000).unwrap();
    let expected = format!("835820{}031903e8", "ab".repeat(32));
    assert_eq!(hex(&minicbor::to_vec(root).unwrap()), expected);
    assert_eq!(hex(&minicbor::to_vec(Root::EMPTY).unwrap()), "83f60000");
}
