//! Frames: sealed once, opened by nobody else, and every change is seen.
#![expect(clippy::unwrap_used, reason = "what cannot be unwrapped here is a failed test")]

mod sample;

use chunk::{
    BundleBuilder, ChunkError, Codec, Commitment, Compressor, Decompressor, FRAME_ALIGNMENT,
    FRAME_HEADER_LENGTH, Frame, FrameHeader, FrameKind, FrameNumber, FreshSalt, Kept, Level, NamingKey,
    Opener, PLAIN_LENGTH_MAX, Packed, SEALED_LENGTH_MAX, SealedFrame, Sealer, SegmentIdentity, TAG_LENGTH,
    padded_length,
};
use model::{DomainId, ErrorKind, SegmentNumber};
use proptest::prelude::*;
use sample::{noise, text};
use xxhash_rust::xxh3::xxh3_64;

const MASTER: [u8; 32] = [3; 32];
const IDENTITY: SegmentIdentity = SegmentIdentity { pool: [9; 16], segment: SegmentNumber(41) };

fn sealer() -> Sealer {
    Sealer::new(&MASTER, FreshSalt::draw(&mut |salt| salt.fill(5)), IDENTITY)
}

fn small() -> (Sealer, Frame) {
    let mut sealer = sealer();
    let frame = sealer.seal(FrameKind::Journal, b"table", Codec::Raw, 40, &[0xa5; 40]).unwrap();
    (sealer, frame)
}

fn opens(opener: &Opener, bytes: &[u8]) -> Result<(), ChunkError> {
    let frame = SealedFrame::parse(bytes)?;
    opener.open(frame.header(), frame.payload(), &mut Vec::new()).map(drop)
}

/// Makes both checksums fit again, as somebody would who wants to be believed.
fn renew_checksums(bytes: &mut [u8], sealed_length: usize) {
    let payload = xxh3_64(&bytes[FRAME_HEADER_LENGTH..][..sealed_length]);
    bytes[32..40].copy_from_slice(&payload.to_le_bytes());
    let header = xxh3_64(&bytes[..56]);
    bytes[56..64].copy_from_slice(&header.to_le_bytes());
}

#[test]
fn a_bundle_goes_into_a_frame_and_comes_back() {
    let key = NamingKey::derive(&[7; 32], DomainId(0));
    let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
    let mut sealer = sealer();
    let opener = Opener::new(&MASTER, sealer.salt(), IDENTITY, sealer.commitment()).unwrap();
    for chunks in [[text(1, 90_000), text(2, 80)], [noise(3, 50_000), noise(4, 9)]] {
        let mut builder = BundleBuilder::default();
        for chunk in &chunks {
            builder.push(key.name(chunk), chunk).unwrap();
        }
        let bundle = builder.finish(&mut compressor, Level::default()).unwrap();
        let bundle = bundle.verify(&key, &mut decompressor).unwrap();
        let expected = sealer.next_number().unwrap();
        let frame = sealer.seal_bundle(FrameKind::Data, &bundle).unwrap();
        assert_eq!(frame.bytes().len(), frame.header().padded_length());
        assert!(frame.bytes().len().is_multiple_of(FRAME_ALIGNMENT));

        let sealed = SealedFrame::parse(frame.bytes()).unwrap();
        assert_eq!((sealed.header(), sealed.payload()), (frame.header(), frame.payload()));
        assert_eq!((sealed.header().number(), sealed.header().segment()), (expected, IDENTITY.segment));
        let mut buffer = Vec::new();
        let opened = opener.open(sealed.header(), sealed.payload(), &mut buffer).unwrap();
        assert_eq!(
            (opened.kind(), opened.number(), opened.codec()),
            (FrameKind::Data, expected, bundle.codec())
        );
        assert_eq!(opened.plaintext(&mut decompressor).unwrap(), chunks.concat());
        assert_eq!(&opened.table().unwrap(), bundle.table());
        let again = opened.to_bundle().unwrap().verify(&key, &mut decompressor).unwrap();
        assert_eq!(again, bundle);

        let mut payload = frame.payload().to_vec();
        let opened_there = opener.open_in_place(frame.header(), &mut payload).unwrap();
        assert_eq!(opened_there, opened);
        let kept = match opened_there.into_plaintext(&mut decompressor).unwrap() {
            Kept::InPlace(range) => payload[range].to_vec(),
            Kept::Unpacked(plaintext) => plaintext,
        };
        assert_eq!(kept, chunks.concat());
    }
    assert_eq!(sealer.next_number(), Some(FrameNumber(2)));
}

#[test]
fn every_kind_and_the_empty_frame_come_back() {
    let mut sealer = sealer();
    let opener = sealer.opener();
    let kinds = [FrameKind::Data, FrameKind::Pages, FrameKind::Journal, FrameKind::Records, FrameKind::Index];
    for kind in kinds {
        let packed = Packed { codec: Codec::Raw, body: Vec::new() };
        let frame = sealer.seal_packed(kind, &packed, 0).unwrap();
        assert_eq!(FrameHeader::parse(&frame.header().encode()).unwrap(), *frame.header());
        assert_eq!(frame.header().sealed_length() as usize, TAG_LENGTH);
        let mut buffer = Vec::new();
        let opened = opener.open(frame.header(), frame.payload(), &mut buffer).unwrap();
        assert_eq!((opened.kind(), opened.table_bytes(), opened.body()), (kind, &[][..], &[][..]));
    }
}

#[test]
fn every_flipped_bit_of_a_frame_is_seen_without_a_key() {
    let (_, frame) = small();
    let mut bytes = frame.bytes().to_vec();
    assert!(bytes.len() > FRAME_HEADER_LENGTH + frame.payload().len(), "there is padding to flip");
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(SealedFrame::parse(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(SealedFrame::parse(&bytes).is_ok());
}

#[test]
fn every_forged_bit_of_a_frame_is_seen_with_the_key() {
    let (sealer, frame) = small();
    let opener = sealer.opener();
    let sealed_length = frame.payload().len();
    let payload = FRAME_HEADER_LENGTH..FRAME_HEADER_LENGTH + sealed_length;
    let mut reached_the_key = 0;
    for place in (0..32).chain(40..56).chain(payload) {
        for bit in 0..8 {
            let mut bytes = frame.bytes().to_vec();
            bytes[place] ^= 1 << bit;
            renew_checksums(&mut bytes, sealed_length);
            reached_the_key += usize::from(SealedFrame::parse(&bytes).is_ok());
            assert!(opens(&opener, &bytes).is_err(), "bit {bit} of byte {place}");
        }
    }
    assert!(reached_the_key > sealed_length * 8, "the payload and some of the header: {reached_the_key}");
    let mut bytes = frame.bytes().to_vec();
    renew_checksums(&mut bytes, sealed_length);
    assert!(opens(&opener, &bytes).is_ok());
}

#[test]
fn rot_and_forgery_are_told_apart() {
    let (sealer, frame) = small();
    let opener = sealer.opener();
    let mut payload = frame.payload().to_vec();
    payload[3] ^= 0x10;
    let rot = opener.open(frame.header(), &payload, &mut Vec::new()).unwrap_err();
    assert!(matches!(rot, ChunkError::Checksum { .. }), "{rot}");
    let mut bytes = frame.bytes().to_vec();
    bytes[FRAME_HEADER_LENGTH + 3] ^= 0x10;
    renew_checksums(&mut bytes, payload.len());
    let forged = opens(&opener, &bytes).unwrap_err();
    assert!(matches!(forged, ChunkError::Unauthentic { frame: FrameNumber(0), .. }), "{forged}");
    let in_place = opener.open_in_place(frame.header(), &mut payload).unwrap_err();
    assert_eq!(in_place.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_payload_of_another_length_is_refused() {
    let (sealer, frame) = small();
    let opener = sealer.opener();
    let longer = [frame.payload(), &[0]].concat();
    for length in (0..frame.payload().len()).chain([longer.len()]) {
        let mut payload = longer[..length].to_vec();
        let error = opener.open(frame.header(), &payload, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ChunkError::Length { .. }), "{length}: {error}");
        let error = opener.open_in_place(frame.header(), &mut payload).unwrap_err();
        assert!(matches!(error, ChunkError::Length { .. }), "{length}: {error}");
    }
}

#[test]
fn a_key_fits_one_segment_of_one_pool_only() {
    let (sealer, frame) = small();
    let salt = *sealer.salt();
    let other_segment = SegmentIdentity { segment: SegmentNumber(42), ..IDENTITY };
    let other_pool = SegmentIdentity { pool: [8; 16], ..IDENTITY };
    let mut other_salt = salt;
    other_salt[31] ^= 1;
    for (master, salt, identity) in [
        (&[4; 32], salt, IDENTITY),
        (&MASTER, other_salt, IDENTITY),
        (&MASTER, salt, other_segment),
        (&MASTER, salt, other_pool),
    ] {
        let error = Opener::new(master, &salt, identity, sealer.commitment()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        // Even with a commitment of its own, another key opens nothing.
        let stranger = Sealer::new(master, FreshSalt::draw(&mut |out| out.copy_from_slice(&salt)), identity);
        assert_ne!(stranger.commitment(), sealer.commitment());
        assert!(opens(&stranger.opener(), frame.bytes()).is_err());
    }
    assert!(Opener::new(&MASTER, &salt, IDENTITY, &Commitment([0; 32])).is_err());
    let moved = Sealer::new(&MASTER, FreshSalt::draw(&mut |salt| salt.fill(6)), other_segment);
    assert!(matches!(opens(&moved.opener(), frame.bytes()), Err(ChunkError::WrongSegment { .. })));
}

#[test]
fn frames_do_not_change_places() {
    let mut sealer = sealer();
    let first = sealer.seal(FrameKind::Data, b"", Codec::Raw, 4, b"same").unwrap();
    let second = sealer.seal(FrameKind::Data, b"", Codec::Raw, 4, b"same").unwrap();
    assert_ne!(first.payload(), second.payload(), "each under its own nonce");
    let opener = sealer.opener();
    assert!(opener.open(first.header(), second.payload(), &mut Vec::new()).is_err());
    assert!(opener.open(second.header(), first.payload(), &mut Vec::new()).is_err());
}

#[test]
fn frames_that_no_header_can_describe_are_not_sealed() {
    let mut sealer = sealer();
    let long = vec![0; SEALED_LENGTH_MAX];
    let full = u32::try_from(PLAIN_LENGTH_MAX).unwrap();
    type Case<'a> = (&'a str, &'a [u8], Codec, u32, &'a [u8]);
    let cases: [Case<'_>; 6] = [
        ("payload too long", b"", Codec::Raw, full, &long),
        ("table too long", &long, Codec::Raw, 0, b""),
        ("plaintext too long", b"", Codec::Zstd, full + 1, b"x"),
        ("raw of another length", b"", Codec::Raw, 5, b"four"),
        ("zstd of nothing", b"", Codec::Zstd, 5, b""),
        ("zstd that does not shrink", b"", Codec::Zstd, 4, b"four"),
    ];
    for (case, table, codec, plain_length, body) in cases {
        sealer.seal(FrameKind::Records, table, codec, plain_length, body).expect_err(case);
    }
    assert_eq!(sealer.next_number(), Some(FrameNumber(0)), "nothing was encrypted");
    let fits = &long[..SEALED_LENGTH_MAX - TAG_LENGTH];
    let frame =
        sealer.seal(FrameKind::Records, b"", Codec::Raw, u32::try_from(fits.len()).unwrap(), fits).unwrap();
    assert!(opens(&sealer.opener(), frame.bytes()).is_ok());
}

#[test]
fn a_frame_cut_anywhere_is_refused() {
    let (_, frame) = small();
    for length in 0..frame.bytes().len() {
        let error = SealedFrame::parse(&frame.bytes()[..length]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{length}: {error}");
    }
    let mut longer = frame.bytes().to_vec();
    longer.extend_from_slice(b"what follows is another matter");
    assert!(SealedFrame::parse(&longer).is_ok());
}

#[test]
fn headers_that_lie_are_refused() {
    let (_, frame) = small();
    let forged = |place: usize, value: &[u8]| {
        let mut header = frame.header().encode();
        header[place..place + value.len()].copy_from_slice(value);
        let checksum = xxh3_64(&header[..56]);
        header[56..].copy_from_slice(&checksum.to_le_bytes());
        FrameHeader::parse(&header).unwrap_err().kind()
    };
    let number = |value: u32| value.to_le_bytes();
    let sealed_max = u32::try_from(SEALED_LENGTH_MAX).unwrap();
    let cases = [
        ("sealed length beyond the limit", forged(20, &number(sealed_max + 1))),
        ("sealed length below the tag", forged(20, &number(15))),
        ("sealed length of all ones", forged(20, &number(u32::MAX))),
        ("sealed length of another raw body", forged(20, &number(62))),
        ("table beyond the payload", forged(12, &number(46))),
        ("table of all ones", forged(12, &number(u32::MAX))),
        ("plaintext beyond the limit", forged(16, &number(sealed_max + 1))),
        ("plaintext of another raw body", forged(16, &number(39))),
        ("reserved bytes", forged(47, &[1])),
    ];
    for (case, kind) in cases {
        assert_eq!(kind, ErrorKind::Corrupt, "{case}");
    }
    let packed = Packed { codec: Codec::Zstd, body: vec![0; 40] };
    let mut header = sealer().seal_packed(FrameKind::Data, &packed, 100).unwrap().header().encode();
    for (plain_length, sound) in [(sealed_max, true), (sealed_max + 1, false), (41, true), (40, false)] {
        header[16..20].copy_from_slice(&number(plain_length));
        let checksum = xxh3_64(&header[..56]);
        header[56..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(FrameHeader::parse(&header).is_ok(), sound, "{plain_length} bytes in 40 of zstd");
    }
    for (place, value) in [(4, 0), (4, 2), (5, 0), (5, 6), (6, 2), (7, 1)] {
        assert_eq!(forged(place, &[value]), ErrorKind::Unsupported, "byte {place} = {value}");
    }
    assert!(matches!(FrameHeader::parse(&[0; 64]), Err(ChunkError::NoMagic)));
}

#[test]
fn frames_are_found_between_rubbish() {
    let mut sealer = sealer();
    let mut segment = noise(5, 640);
    let mut places = Vec::new();
    for length in [1_u32, 100, 64, 48, 1000] {
        places.push(segment.len());
        let body = noise(6, length as usize);
        segment
            .extend_from_slice(sealer.seal(FrameKind::Data, b"", Codec::Raw, length, &body).unwrap().bytes());
        segment.extend_from_slice(&noise(7, 192));
    }
    let (mut found, mut start) = (Vec::new(), 0);
    while let Some((place, header)) = FrameHeader::find(&segment, start) {
        assert!(SealedFrame::parse(&segment[place..]).is_ok());
        found.push(place);
        start = place + header.padded_length();
    }
    assert_eq!(found, places);
    assert!(FrameHeader::find(&segment[..700], 1).is_none_or(|(place, _)| place == 640));
    assert!(FrameHeader::find(&segment, usize::MAX).is_none());
    assert_eq!([0, 1, 64, 65].map(padded_length), [64, 128, 128, 192]);
}

proptest! {
    #[test]
    fn what_is_sealed_opens_to_the_same(
        table in prop::collection::vec(any::<u8>(), 0..300),
        body in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let mut sealer = sealer();
        let length = u32::try_from(body.len()).unwrap();
        let frame = sealer.seal(FrameKind::Index, &table, Codec::Raw, length, &body).unwrap();
        prop_assert_eq!(frame.bytes().len(), padded_length(table.len() + body.len() + TAG_LENGTH));
        let sealed = SealedFrame::parse(frame.bytes()).unwrap();
        let mut buffer = vec![1; 10_000];
        let opened = sealer.opener();
        let opened = opened.open(sealed.header(), sealed.payload(), &mut buffer).unwrap();
        prop_assert_eq!((opened.table_bytes(), opened.body()), (&table[..], &body[..]));
    }

    #[test]
    fn noise_is_no_frame_and_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), magic in any::<bool>()) {
        if magic && bytes.len() >= 64 {
            bytes[..4].copy_from_slice(b"KFfr");
            let checksum = xxh3_64(&bytes[..56]);
            bytes[56..64].copy_from_slice(&checksum.to_le_bytes());
        }
        prop_assert!(SealedFrame::parse(&bytes).is_err());
        let _ = FrameHeader::find(&bytes, 0);
    }

    #[test]
    fn any_header_field_may_be_forged_and_nothing_opens(
        fields in any::<[u8; 28]>(),
        keep in any::<u32>(),
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let (sealer, frame) = small();
        let mut forged = frame.bytes().to_vec();
        for (index, field) in fields.iter().enumerate() {
            if keep & (1 << index) == 0 {
                forged[4 + index] = *field;
            }
        }
        forged[FRAME_HEADER_LENGTH..][..bytes.len().min(61)].copy_from_slice(&bytes[..bytes.len().min(61)]);
        renew_checksums(&mut forged, frame.payload().len());
        prop_assume!(forged[..] != *frame.bytes());
        prop_assert!(opens(&sealer.opener(), &forged).is_err());
        if let Ok(header) = FrameHeader::parse(&forged) {
            let payload = &forged[FRAME_HEADER_LENGTH..][..frame.payload().len()];
            prop_assert!(sealer.opener().open(&header, payload, &mut Vec::new()).is_err());
        }
    }
}
