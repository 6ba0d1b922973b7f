//! The bytes of FORMAT.md: fixtures of version 1, which are never edited, and known answers.
//!
//! The answers have been computed a second time with other implementations of BLAKE3, HKDF, AES-GCM and xxh3.

mod sample;

use chunk::{
    Bundle, Codec, Commitment, CutPlan, Cutter, Decompressor, FrameKind, FrameNumber, FreshSalt, NamingKey,
    Opener, PageKey, SealedFrame, Sealer, SegmentIdentity,
};
use model::{DomainId, SegmentNumber};

const BUNDLE_HEAD: &[u8] = include_bytes!("../testdata/v1/bundle.head");
const BUNDLE_BODY: &[u8] = include_bytes!("../testdata/v1/bundle.body");
const RECORDS_FRAME: &[u8] = include_bytes!("../testdata/v1/frame.records");
const DATA_FRAME: &[u8] = include_bytes!("../testdata/v1/frame.data");

const IDENTITY: SegmentIdentity =
    SegmentIdentity { pool: *b"pool-uuid-16byte", segment: SegmentNumber(0x0102_0304_0506_0708) };
const SALT: [u8; 32] = [0x5a; 32];

/// The bytes 0 to 31.
fn secret() -> [u8; 32] {
    std::array::from_fn(|index| u8::try_from(index).expect("32 bytes"))
}

fn key() -> NamingKey {
    NamingKey::derive(&secret(), DomainId(7))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn chunks() -> [Vec<u8>; 3] {
    [b"keepfast ".repeat(500), (0..=255).collect(), b"x".to_vec()]
}

fn opener() -> Opener {
    let commitment = Commitment([
        0xaf, 0xb5, 0xde, 0x5a, 0xc2, 0x87, 0xa4, 0xfc, 0x6e, 0x6f, 0x3c, 0x70, 0x9a, 0x9f, 0xfe, 0xb4, 0x3f,
        0x80, 0x62, 0x21, 0x7a, 0x85, 0xb0, 0xcd, 0xae, 0xfb, 0xbd, 0xb9, 0x1c, 0x23, 0x20, 0x21,
    ]);
    Opener::new(&secret(), &SALT, IDENTITY, &commitment).expect("the key of the fixtures")
}

#[test]
fn the_fixtures_are_those_of_version_1() {
    let fixtures = [
        (BUNDLE_HEAD, "7f995dcc24145e66cd03da1610d07011f4b4ddf6fd6974b6eb520c94d99d33a2"),
        (BUNDLE_BODY, "6803c11f92824fb7c64abca81d6c78041b31afafdb365df71ed0f3d3ee79676a"),
        (RECORDS_FRAME, "81e4cbc2a0d3e6a6827c79c8dbc8c42aeace7f93389f4d599f670ad4eddd678c"),
        (DATA_FRAME, "9e353c0f48271c09246bbdd4c9ef4bb81e358d9de87bd40e9ba3208be8477dd3"),
    ];
    for (bytes, hash) in fixtures {
        assert_eq!(blake3::hash(bytes).to_hex().as_str(), hash);
    }
}

#[test]
fn names_are_known() {
    assert_eq!(hex(key().as_bytes()), "77c5a6f40fec861fc6bab867a324f1e9b7ed69699c86550c717d6c6ed6e5ec41");
    let names = [
        (key().name(b""), "7074c793a804f035d4e3c3cd0f7a1bbee50a56f43bc51668515cb1eda3ec366f"),
        (key().name(b"keepfast"), "f3ee7c8459f1c1853a92314f11ae6a54c1aa067796ed33831a6b1db9bee1f02b"),
        (
            PageKey::derive(&secret()).name(b"keepfast"),
            "57020510ec8bdfaa8b4424fdc9b6dab7d5b3157a815965059466412b477f94da",
        ),
    ];
    for (name, known) in names {
        assert_eq!(hex(&name.0), known);
    }
    let handed_over = NamingKey::from_bytes(*key().as_bytes());
    assert_eq!(handed_over.name(b"keepfast"), key().name(b"keepfast"));
    assert_eq!(format!("{:?} {:?}", key(), PageKey::derive(&secret())), "NamingKey(..) PageKey(..)");
}

/// Other cuts would not be wrong, but nothing that is stored would be found again.
#[test]
fn cuts_are_known() {
    let bytes = sample::noise(1, 2 << 20);
    let cutter = Cutter::new(&key());
    let lengths: Vec<usize> = cutter.cut_bytes(&bytes, CutPlan::Content).map(<[u8]>::len).collect();
    let known = [
        270_654, 99_657, 116_546, 172_907, 135_106, 106_053, 49_163, 143_947, 231_011, 163_098, 134_218,
        149_355, 39_297, 69_373, 134_841, 81_926,
    ];
    assert_eq!(lengths, known);
    let source = sample::text(1, 1 << 20);
    assert!(cutter.cut_bytes(&source, CutPlan::Content).count() > 3);
}

#[test]
fn a_bundle_of_version_1_verifies() {
    let bundle = Bundle::decode(BUNDLE_HEAD, BUNDLE_BODY.to_vec()).expect("a bundle");
    assert_eq!(bundle.codec(), Codec::Zstd);
    assert_eq!(bundle.encode_head(), BUNDLE_HEAD);
    let mut decompressor = Decompressor::new();
    let bundle = bundle.verify(&key(), &mut decompressor).expect("names fit");
    assert_eq!(bundle.plaintext(&mut decompressor).expect("a sound body"), chunks().concat());
    let lengths: Vec<u32> = bundle.table().entries().iter().map(|entry| entry.length).collect();
    assert_eq!(lengths, [4500, 256, 1]);
}

#[test]
fn frames_of_version_1_open() {
    let sealed = SealedFrame::parse(RECORDS_FRAME).expect("a frame");
    assert_eq!((sealed.header().kind(), sealed.header().number()), (FrameKind::Records, FrameNumber(0)));
    let mut buffer = Vec::new();
    let opened =
        opener().open(sealed.header(), sealed.payload(), &mut buffer).map(|opened| opened.body().to_vec());
    assert_eq!(opened.expect("authentic"), b"a record frame");

    let sealed = SealedFrame::parse(DATA_FRAME).expect("a frame");
    let opened = opener().open(sealed.header(), sealed.payload(), &mut buffer).expect("authentic");
    assert_eq!(
        (opened.kind(), opened.number(), opened.codec()),
        (FrameKind::Data, FrameNumber(1), Codec::Zstd)
    );
    let mut decompressor = Decompressor::new();
    let bundle = opened.to_bundle().expect("a bundle").verify(&key(), &mut decompressor).expect("names fit");
    assert_eq!(bundle.into_bundle(), Bundle::decode(BUNDLE_HEAD, BUNDLE_BODY.to_vec()).expect("a bundle"));
}

#[test]
fn sealing_gives_the_bytes_of_version_1() {
    let mut sealer =
        Sealer::new(&secret(), FreshSalt::draw(&mut |salt| salt.copy_from_slice(&SALT)), IDENTITY);
    let frame = sealer.seal(FrameKind::Records, b"", Codec::Raw, 14, b"a record frame").expect("sealed");
    assert_eq!(frame.bytes(), RECORDS_FRAME);
    let bundle = Bundle::decode(BUNDLE_HEAD, BUNDLE_BODY.to_vec()).expect("a bundle");
    let bundle = bundle.verify(&key(), &mut Decompressor::new()).expect("names fit");
    assert_eq!(sealer.seal_bundle(FrameKind::Data, &bundle).expect("sealed").bytes(), DATA_FRAME);
    assert_eq!(sealer.identity(), &IDENTITY);
    assert_eq!(sealer.salt(), &SALT);
}
