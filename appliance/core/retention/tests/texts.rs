//! Policies and bounds as text and as CBOR; what is refused, and with which words.

use std::time::Duration;

use model::ErrorKind;
use proptest::prelude::*;
use retention::{ALL, Counts, Floor, Policy, PoolBounds, RetentionError, WaterMark, Witness};

#[test]
fn what_is_not_said_is_as_in_the_default() {
    let text = "last=7 daily=30,weekly=8\tmonthly=12 floor-points=3 floor-age=14d quota=500GiB";
    let policy = Policy::parse(text).unwrap();
    let counts = Counts { last: 7, daily: 30, weekly: 8, monthly: 12, ..Counts::default() };
    let floor = Floor { points: 3, age: Duration::from_secs(14 * 86_400) };
    assert_eq!(policy, Policy { counts, floor, quota_bytes: Some(500 << 30) });
    assert_eq!(Policy::parse(" ").unwrap(), Policy::default());
    assert_eq!(Policy::default().to_string(), "floor-points=3 floor-age=7d");
    assert_eq!(Policy::parse("yearly=all").unwrap().counts.yearly, ALL);
    assert_eq!(PoolBounds::parse("").unwrap(), PoolBounds::default());
    assert_eq!(PoolBounds::default().to_string(), "high=90% low=85%");
    let bounds = PoolBounds::parse("capacity=2TiB high=92.5% low=1500GiB points=10000").unwrap();
    let (high, low) = (WaterMark::PerMille(925), WaterMark::Bytes(1500 << 30));
    assert_eq!(bounds, PoolBounds { capacity_bytes: Some(2 << 40), high, low, points_max: Some(10_000) });
}

#[test]
fn refusals_say_what_to_do() {
    let policy = |text| Policy::parse(text).unwrap_err();
    let bounds = |text| PoolBounds::parse(text).unwrap_err();
    let cases = [
        (
            policy("dayly=3"),
            "read the policy: there is no key \"dayly\"; did you mean \"daily\"? the keys are last, hourly, daily, weekly, monthly, yearly, floor-points, floor-age, quota",
        ),
        (policy("floor=3d"), "read the policy: there is no key \"floor\"; did you mean \"floor-points\"?"),
        (policy("keep"), "read the policy: \"keep\" is not of the form key=value, as in \"daily=30\""),
        (policy("last=1 last=2"), "read the policy: last is given twice; give it once"),
        (policy("last=-1"), "read the policy: last=-1 is not understood; expected a whole number, or all"),
        (
            policy("floor-age=14"),
            "read the policy: floor-age=14 is not understood; expected a duration of at most",
        ),
        (policy("floor-age=900000d"), "read the policy: floor-age=900000d is not understood"),
        (policy("quota=500"), "read the policy: quota=500 is not understood; expected bytes with their unit"),
        (bounds("hihg=90%"), "read the bounds: there is no key \"hihg\"; did you mean \"high\"?"),
        (bounds("high=101%"), "read the bounds: high=101% is not understood; expected a share"),
        (bounds("high=9.55%"), "read the bounds: high=9.55% is not understood"),
        (
            bounds("low=95%"),
            "read the bounds: the low-water mark 95% lies above the high-water mark 90%; lower it",
        ),
        (bounds("capacity=big"), "read the bounds: capacity=big is not understood"),
        (bounds("points=few"), "read the bounds: points=few is not understood"),
    ];
    for (error, beginning) in cases {
        assert!(error.to_string().starts_with(beginning), "{error}");
        assert_eq!(error.kind(), ErrorKind::Refused);
    }
}

#[test]
fn marks_are_brought_into_order() {
    let bounds = PoolBounds {
        capacity_bytes: Some(1000),
        high: WaterMark::Bytes(5000),
        low: WaterMark::PerMille(u16::MAX),
        points_max: None,
    };
    for drives in [0, 700, 1000, u64::MAX] {
        let marks = bounds.marks(drives);
        assert!(marks.low_bytes <= marks.high_bytes && marks.high_bytes <= marks.capacity_bytes);
        assert_eq!(marks.capacity_bytes, drives.min(1000));
    }
    // A high-water mark below the default low-water mark takes that with it.
    assert_eq!(PoolBounds::parse("high=50%").map(|bounds| bounds.marks(1000).low_bytes).ok(), Some(500));
}

#[test]
fn stored_bytes_that_are_none_of_ours_are_corrupt() {
    let mut policy = Policy::default().encode();
    policy.push(0);
    let trailing = Policy::decode(&policy).unwrap_err();
    assert!(matches!(trailing, RetentionError::Trailing { count: 1, .. }), "{trailing}");
    assert_eq!(trailing.kind(), ErrorKind::Corrupt);
    assert_eq!(PoolBounds::decode(b"").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(Witness::decode(b"\xff").unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn what_version_1_stored_is_read() {
    let text =
        "last=7 hourly=24 daily=30 weekly=8 monthly=12 yearly=all floor-points=3 floor-age=14d quota=500GiB";
    let policy = Policy::parse(text).unwrap();
    assert_eq!(Policy::decode(include_bytes!("../testdata/v1/policy.cbor")).unwrap(), policy);
    let bounds = PoolBounds::parse("capacity=2TiB high=92.5% low=1500GiB points=10000").unwrap();
    assert_eq!(PoolBounds::decode(include_bytes!("../testdata/v1/bounds.cbor")).unwrap(), bounds);
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(ALL), any::<u32>()]
}

prop_compose! {
    fn policies()(
        (last, hourly, daily) in (count(), count(), count()),
        (weekly, monthly, yearly) in (count(), count(), count()),
        points in count(),
        age in 0..500 * 365 * 86_400_u64,
        quota_bytes: Option<u64>,
    ) -> Policy {
        let counts = Counts { last, hourly, daily, weekly, monthly, yearly };
        Policy { counts, floor: Floor { points, age: Duration::from_secs(age) }, quota_bytes }
    }
}

fn mark() -> impl Strategy<Value = WaterMark> {
    prop_oneof![(0..=1000_u16).prop_map(WaterMark::PerMille), any::<u64>().prop_map(WaterMark::Bytes)]
}

proptest! {
    #[test]
    fn policies_survive_text_and_storage(policy in policies()) {
        prop_assert_eq!(Policy::parse(&policy.to_string()).unwrap(), policy);
        prop_assert_eq!(Policy::decode(&policy.encode()).unwrap(), policy);
    }

    #[test]
    fn bounds_survive_text_and_storage(
        high in mark(),
        low in mark(),
        capacity_bytes: Option<u64>,
        points_max: Option<u64>,
    ) {
        let bounds = PoolBounds { capacity_bytes, high, low, points_max };
        match PoolBounds::parse(&bounds.to_string()) {
            Ok(read) => prop_assert_eq!(read, bounds),
            Err(error) => {
                let marks = matches!(error, RetentionError::Marks { .. });
                prop_assert!(marks);
            }
        }
        prop_assert_eq!(PoolBounds::decode(&bounds.encode()).unwrap(), bounds);
    }

    #[test]
    fn no_text_and_no_bytes_bring_it_down(text in ".{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        drop((Policy::parse(&text), PoolBounds::parse(&text)));
        drop((Policy::decode(&bytes), PoolBounds::decode(&bytes), Witness::decode(&bytes)));
    }
}
