//! Keys keep their order as bytes; values survive; hostile bytes are refused.

use proptest::prelude::*;

use super::*;

fn entry_names() -> impl Strategy<Value = EntryName> {
    proptest::collection::vec(any::<u8>(), 1..40)
        .prop_filter_map("a name of an entry", |bytes| EntryName::new(&bytes).ok())
}

fn keys() -> impl Strategy<Value = ItemKey> {
    let object = (0u64..5).prop_map(ObjectId);
    let part = prop_oneof![
        Just(ItemPart::Inode),
        entry_names().prop_map(ItemPart::Entry),
        proptest::collection::vec(any::<u8>(), 1..20).prop_map(|n| ItemPart::Xattr(n.into())),
        any::<u64>().prop_map(ItemPart::Extent),
    ];
    (object, part).prop_map(|(object, part)| ItemKey { object, part })
}

fn inodes() -> impl Strategy<Value = Inode> {
    let owner = (0u32..=0o7777, any::<u32>(), any::<u32>());
    let times = (any::<i64>(), any::<i64>());
    let size = (any::<u64>(), any::<u64>()).prop_map(|(a, b)| (a.max(b), a.min(b)));
    let rest = (size, any::<u32>(), any::<u64>(), any::<bool>(), 1u8..=7);
    (owner, times, rest, proptest::collection::vec(any::<u8>(), 0..50)).prop_map(
        |((mode, uid, gid), (modified, changed), ((size, stored), links, rdev, image, kind), target)| Inode {
            attributes: Attributes {
                kind: FileKind::from_code(kind).unwrap(),
                mode,
                uid,
                gid,
                modified: Time(modified),
                changed: Time(changed),
                rdev,
                target,
                image,
            },
            size,
            stored,
            links,
        },
    )
}

proptest! {
    #[test]
    fn keys_keep_their_order(a in keys(), b in keys()) {
        prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
        prop_assert_eq!(ItemKey::decode(&a.encode()), Ok(a.clone()));
        let all = ItemRange::object(a.object);
        prop_assert!(all.start() <= a.encode() && a.encode() < all.end());
    }

    #[test]
    fn inodes_survive(inode in inodes()) {
        let item = Item::Inode(inode);
        prop_assert_eq!(Item::decode(&ItemKey::inode(ObjectId(1)), &item.encode()), Ok(item));
    }

    #[test]
    fn any_bytes_are_read_without_panic(key in keys(), bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(item) = Item::decode(&key, &bytes) {
            prop_assert_eq!(Item::decode(&key, &item.encode()), Ok(item));
        }
        let _ = ItemKey::decode(&bytes);
    }
}

#[test]
fn an_inode_has_no_more_holes_than_bytes() {
    let key = ItemKey::inode(ObjectId(1));
    // Kind, mode, owner, group, two times, size, bytes of holes, links and device.
    let inode = |size, holes| [1, 0, 0, 0, 0, 0, size, holes, 1, 0];
    let stored = |bytes: [u8; 10]| match Item::decode(&key, &bytes) {
        Ok(Item::Inode(inode)) => Some((inode.size, inode.stored)),
        _ => None,
    };
    assert_eq!(
        [stored(inode(9, 0)), stored(inode(9, 4)), stored(inode(9, 9))],
        [Some((9, 9)), Some((9, 5)), Some((9, 0))]
    );
    assert_eq!([stored(inode(9, 10)), stored(inode(0, 1))], [None, None]);
}

#[test]
fn extents_that_lie_are_refused() {
    let key = ItemKey::extent(ObjectId(1), u64::MAX - 10);
    let chunk = |skip, length| Item::Extent(Extent::Chunk { name: Name([7; 32]), skip, length });
    assert!(Item::decode(&key, &chunk(0, 5).encode()).is_ok());
    for bad in
        [chunk(0, 0), chunk(0, 11), chunk(CHUNK_LENGTH_MAX, 1), Item::Extent(Extent::Hole { length: 0 })]
    {
        assert!(Item::decode(&key, &bad.encode()).is_err(), "{bad:?}");
    }
}
