//! Bundles: what goes in comes out, and nothing that lies gets in.
#![expect(clippy::unwrap_used, reason = "what cannot be unwrapped here is a failed test")]

mod sample;

use chunk::{
    BUNDLE_CHUNKS_MAX, BUNDLE_HEAD_LENGTH, BUNDLE_LENGTH_MAX, Bundle, BundleBuilder, BundleLimits,
    CHUNK_LENGTH_MAX, ChunkError, Codec, Compressor, Decompressor, ENTRY_LENGTH, Entry, Level, NamingKey,
    PLAIN_LENGTH_MAX, Packed, PageKey, Table, VerifiedBuilder, VerifiedBundle,
};
use model::{DomainId, ErrorKind, Name};
use proptest::prelude::*;
use sample::{noise, text};

fn key() -> NamingKey {
    NamingKey::derive(&[7; 32], DomainId(0))
}

fn bundle(chunks: &[&[u8]]) -> Bundle {
    let mut builder = BundleBuilder::default();
    for chunk in chunks {
        builder.push(key().name(chunk), chunk).unwrap();
    }
    builder.finish(&mut Compressor::new(), Level::default()).unwrap()
}

fn verified(chunks: &[&[u8]]) -> VerifiedBundle {
    bundle(chunks).verify(&key(), &mut Decompressor::new()).unwrap()
}

/// The bytes of a table, a head and a body from fields that need not fit together.
fn head(
    version: u8,
    codec: u8,
    count: u32,
    plain_length: u32,
    body_length: u32,
    entries: &[(Name, u32)],
) -> Vec<u8> {
    let mut head = vec![version, codec, 0, 0];
    for number in [count, plain_length, body_length] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    for (name, length) in entries {
        head.extend_from_slice(&name.0);
        head.extend_from_slice(&length.to_le_bytes());
    }
    head
}

/// A bundle of one chunk with a body of our choice.
fn single(codec: u8, plain_length: u32, body: Vec<u8>) -> Result<Bundle, ChunkError> {
    let length = u32::try_from(body.len()).unwrap();
    Bundle::decode(&head(1, codec, 1, plain_length, length, &[(Name([0; 32]), plain_length)]), body)
}

#[test]
fn a_buffer_that_is_taken_over_makes_the_same_bundle() {
    let mut builder = BundleBuilder::default();
    for content in [noise(1, 1_100_000), text(2, 900_000)] {
        let chunks: Vec<&[u8]> = content.chunks(300_000).collect();
        let entry =
            |chunk: &&[u8]| Entry { name: key().name(chunk), length: chunk.len().try_into().unwrap() };
        let entries: Vec<Entry> = chunks.iter().map(entry).collect();
        let mut bytes = content.clone();
        assert!(builder.take_over(entries.clone(), &mut bytes) && bytes.is_empty());
        let taken = builder.finish(&mut Compressor::new(), Level::default()).unwrap();
        assert_eq!(taken, bundle(&chunks));

        // What could not be pushed is not taken over, nor what would make a small bundle.
        let mut refuse = |entries: &[Entry], content: &[u8]| {
            let mut bytes = content.to_vec();
            assert!(
                !builder.take_over(entries.to_vec(), &mut bytes) && bytes == content && builder.is_empty()
            );
        };
        let whole = u32::try_from(content.len()).unwrap();
        let none = Entry { name: Name([0; 32]), length: 0 };
        refuse(&entries[1..], &content);
        refuse(&[Entry { length: whole, ..entries[0] }, none], &content);
        refuse(&entries[..1], chunks[0]);
        let small: Vec<Entry> = vec![Entry { name: Name([0; 32]), length: 100 }; BUNDLE_CHUNKS_MAX + 1];
        refuse(&small, &noise(3, 100 * (BUNDLE_CHUNKS_MAX + 1)));
        let long = [entries[0], Entry { length: 1 << 20, ..entries[0] }];
        refuse(&[long[1], long[0]], &noise(4, (1 << 20) + 300_000));
        builder.push(entries[0].name, chunks[0]).unwrap();
        assert!(!builder.take_over(entries, &mut content.clone()), "there is something in it");
        builder.finish(&mut Compressor::new(), Level::default()).unwrap();
    }
}

#[test]
fn a_bundle_travels_and_verifies() {
    let chunks = [text(1, 90_000), noise(2, 5), text(3, 700), vec![0; 300_000]];
    let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
    let sent = bundle(&chunks);
    assert_eq!(sent.codec(), Codec::Zstd);
    let head = sent.encode_head();
    assert_eq!(head.len(), BUNDLE_HEAD_LENGTH + chunks.len() * ENTRY_LENGTH);
    let received = Bundle::decode(&head, sent.clone().into_body()).unwrap();
    assert_eq!(received, sent);

    let mut decompressor = Decompressor::new();
    let stored = received.verify(&key(), &mut decompressor).unwrap();
    let plain = stored.plaintext(&mut decompressor).unwrap();
    assert_eq!(plain, chunks.concat());
    for ((entry, range), chunk) in stored.table().ranges().zip(&chunks) {
        assert_eq!(&plain[range], *chunk);
        assert_eq!(entry.name, key().name(chunk));
    }
    assert_eq!(stored.into_bundle(), sent);
}

#[test]
fn what_does_not_shrink_is_raw_and_what_does_is_not() {
    for length in [1, 3_000, 64 << 10, (64 << 10) + 1, 1 << 20] {
        let quiet = noise(4, length);
        let stored = bundle(&[&quiet]);
        assert_eq!((stored.codec(), stored.body()), (Codec::Raw, &quiet[..]), "{length} bytes of noise");
    }
    for length in [3_000, 64 << 10, (64 << 10) + 1, 1 << 20] {
        let stored = bundle(&[&text(5, length)]);
        assert_eq!(stored.codec(), Codec::Zstd, "{length} bytes of text");
        assert!(stored.body().len() < length / 2);
    }
    // One compressible part in the middle of noise is found by the samples.
    let mixed = [noise(6, 400_000), text(7, 200_000), noise(8, 400_000)].concat();
    assert_eq!(bundle(&[&mixed]).codec(), Codec::Zstd);
    // Saving less than a thirty-second part is not worth decompressing for; zstd itself gives up at half of that.
    for (zeros, codec) in [(1_500, Codec::Raw), (2_500, Codec::Zstd)] {
        let slight = [noise(9, 64_000 - zeros), vec![0; zeros]].concat();
        assert_eq!(bundle(&[&slight]).codec(), codec, "{zeros} zeros of 64,000 bytes");
    }
}

#[test]
fn samples_see_every_long_run_and_nothing_between_them() {
    let quiet = noise(20, 1 << 20);
    let pack = |start: usize, end: usize| {
        let mut plain = quiet.clone();
        plain[start..end].fill(0);
        Compressor::new().pack(&plain, Level::default()).unwrap().codec
    };
    for start in (0..quiet.len() - (40 << 10)).step_by(7_777) {
        assert_eq!(pack(start, start + (40 << 10)), Codec::Zstd, "40 KiB of zeros at {start}");
    }
    // The price of not trying the whole: runs that fit between two samples each can hide from all of them.
    let mut plain = quiet;
    let stride = (plain.len() - 4096) / 31;
    for gap in 0..31 {
        plain[gap * stride + 4096..(gap + 1) * stride].fill(0);
    }
    assert_eq!(Compressor::new().pack(&plain, Level::default()).unwrap().codec, Codec::Raw);
}

#[test]
fn the_level_asked_for_is_the_level_used() {
    let plain = text(21, 300_000);
    let mut compressor = Compressor::new();
    let lengths = [1, 9, 1, -7].map(|level| compressor.pack(&plain, Level::new(level)).unwrap().body.len());
    assert!(lengths[1] < lengths[0] && lengths[0] == lengths[2] && lengths[2] < lengths[3], "{lengths:?}");
}

#[test]
fn every_level_comes_back() {
    let plain = text(10, 1_300_000);
    let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
    for level in [-100, -7, -1, 0, 1, 3, 9, 19, 100] {
        let packed = compressor.pack(&plain, Level::new(level)).unwrap();
        assert_eq!(packed.codec, Codec::Zstd);
        assert_eq!(
            decompressor.unpack(packed.codec, &packed.body, plain.len()).unwrap(),
            plain,
            "level {level}"
        );
    }
    let checked = compressor.pack_checked(&plain, Level::default(), &mut decompressor).unwrap();
    assert_eq!(checked, compressor.pack(&plain, Level::default()).unwrap());
    assert_eq!(compressor.mismatches(), 0);
    let limit = vec![0; PLAIN_LENGTH_MAX + 1];
    assert_eq!(compressor.pack(&limit, Level::default()).unwrap_err().kind(), ErrorKind::Refused);
    let longest = compressor.pack(&limit[1..], Level::default()).unwrap();
    assert_eq!(decompressor.unpack(longest.codec, &longest.body, PLAIN_LENGTH_MAX).unwrap(), &limit[1..]);
    let empty = compressor.pack(&[], Level::default()).unwrap();
    assert_eq!(empty, Packed { codec: Codec::Raw, body: Vec::new() });
    assert_eq!(decompressor.unpack(empty.codec, &empty.body, 0).unwrap(), b"");
}

#[test]
fn a_builder_is_full_at_its_limits_and_starts_anew() {
    let mut compressor = Compressor::new();
    let mut builder = BundleBuilder::new(BundleLimits { plain_length: 100, chunks: 3 });
    let push = |builder: &mut BundleBuilder, bytes: &[u8]| builder.push(key().name(bytes), bytes);
    assert!(builder.is_empty() && !builder.is_full());
    assert_eq!(builder.finish(&mut compressor, Level::default()).unwrap_err().kind(), ErrorKind::Refused);
    push(&mut builder, &[1; 99]).unwrap();
    assert!(!builder.is_full());
    push(&mut builder, &[2; 500]).unwrap();
    assert!(builder.is_full());
    assert_eq!(push(&mut builder, &[3]).unwrap_err().kind(), ErrorKind::Full);
    assert_eq!((builder.entries().len(), builder.plaintext().len()), (2, 599));
    assert_eq!(builder.finish(&mut compressor, Level::default()).unwrap().table().plain_length(), 599);
    for byte in 0..3 {
        push(&mut builder, &[byte]).unwrap();
    }
    assert!(builder.is_full(), "three chunks");
    for bytes in [vec![], vec![0; CHUNK_LENGTH_MAX + 1]] {
        assert_eq!(push(&mut builder, &bytes).unwrap_err().kind(), ErrorKind::Refused);
    }
}

#[test]
fn the_largest_bundles_are_within_the_format() {
    let generous = BundleLimits { plain_length: usize::MAX, chunks: usize::MAX };
    let longest = vec![0; CHUNK_LENGTH_MAX];
    let mut builder = VerifiedBuilder::new(generous);
    let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
    builder.push(&key(), &longest[1..]).unwrap();
    builder.push(&key(), &longest).unwrap();
    assert!(builder.is_full());
    let long = builder.finish(&mut compressor, &mut decompressor, Level::default()).unwrap().into_bundle();
    assert_eq!(long.table().plain_length() as usize, BUNDLE_LENGTH_MAX - 1);
    assert_eq!(Bundle::decode(&long.encode_head(), long.body().to_vec()).unwrap(), long);
    while !builder.is_full() {
        builder.push(&key(), b"x").unwrap();
    }
    let many = builder.finish(&mut compressor, &mut decompressor, Level::default()).unwrap().into_bundle();
    assert_eq!(many.table().entries().len(), BUNDLE_CHUNKS_MAX);
    let again = Bundle::decode(&many.encode_head(), many.body().to_vec()).unwrap();
    assert!(again.verify(&key(), &mut decompressor).is_ok());
}

#[test]
fn our_own_bundles_are_those_that_verify() {
    let mut builder = VerifiedBuilder::default();
    let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
    let (a, b) = (text(11, 40_000), noise(12, 40_000));
    assert_eq!(builder.push(&key(), &a).unwrap(), key().name(&a));
    builder.push(&key(), &b).unwrap();
    assert_eq!(builder.plaintext(), [&a[..], &b[..]].concat());
    let ours = builder.finish(&mut compressor, &mut decompressor, Level::default()).unwrap();
    assert!(builder.is_empty());
    assert_eq!(ours, verified(&[&a, &b]));

    let pages = PageKey::derive(&[7; 32]);
    builder.push(&pages, &a).unwrap();
    let page = builder.finish(&mut compressor, &mut decompressor, Level::default()).unwrap().into_bundle();
    assert!(page.clone().verify(&key(), &mut decompressor).is_err(), "a page is no chunk");
    assert!(page.verify(&pages, &mut decompressor).is_ok());
}

#[test]
fn retain_leaves_out_what_is_known() {
    let chunks = [text(13, 70_000), noise(14, 70_000), text(15, 90), text(16, 200_000)];
    let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
    let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
    for mask in 0_u32..1 << chunks.len() {
        let mut index = 0;
        let keep = |_: &_| {
            index += 1;
            mask & (1 << (index - 1)) != 0
        };
        let rest =
            verified(&chunks).retain(keep, Level::default(), &mut compressor, &mut decompressor).unwrap();
        assert_eq!(index, chunks.len(), "each entry is asked for once");
        let kept: Vec<&[u8]> =
            (0..chunks.len()).filter(|i| mask & (1 << i) != 0).map(|i| chunks[i]).collect();
        assert_eq!(rest, if kept.is_empty() { None } else { Some(verified(&kept)) }, "mask {mask:04b}");
    }
}

#[test]
fn retain_of_everything_touches_nothing() {
    let chunk = text(22, 200_000);
    let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
    let mut builder = VerifiedBuilder::default();
    builder.push(&key(), &chunk).unwrap();
    let dense = builder.finish(&mut compressor, &mut decompressor, Level::new(9)).unwrap();
    let same = dense.clone().retain(|_| true, Level::new(1), &mut compressor, &mut decompressor).unwrap();
    assert_eq!(same, Some(dense), "still as level 9 left it");
}

#[test]
fn a_wrong_name_is_found_at_its_place() {
    let chunks = [text(17, 9_000), noise(18, 9_000)];
    let whole = bundle(&[&chunks[0], &chunks[1]]);
    let mut head = whole.encode_head();
    head[BUNDLE_HEAD_LENGTH + ENTRY_LENGTH] ^= 1;
    let error = Bundle::decode(&head, whole.body().to_vec()).unwrap();
    let error = error.verify(&key(), &mut Decompressor::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(matches!(error, ChunkError::NameMismatch { index: 1, .. }), "{error}");
    let other = NamingKey::derive(&[7; 32], DomainId(1));
    assert!(whole.verify(&other, &mut Decompressor::new()).is_err(), "names of another domain");
}

#[test]
fn lying_lengths_are_refused() {
    let name = Name([1; 32]);
    let chunk_max = u32::try_from(CHUNK_LENGTH_MAX).unwrap();
    let cases = [
        ("no entries", head(1, 0, 0, 0, 0, &[]), 0),
        ("no bytes", head(1, 0, 1, 0, 0, &[(name, 0)]), 0),
        ("an empty chunk", head(1, 0, 2, 4, 4, &[(name, 4), (name, 0)]), 4),
        ("sum too small", head(1, 0, 2, 8, 8, &[(name, 4), (name, 3)]), 8),
        ("sum too large", head(1, 0, 2, 8, 8, &[(name, 4), (name, 5)]), 8),
        ("sum wraps in 32 bits", head(1, 0, 2, 8, 8, &[(name, u32::MAX), (name, 9)]), 8),
        ("a chunk too long", head(1, 1, 1, chunk_max + 1, 8, &[(name, chunk_max + 1)]), 8),
        (
            "a bundle too long",
            head(1, 1, 3, 2 * chunk_max + 1, 8, &[(name, chunk_max), (name, chunk_max), (name, 1)]),
            8,
        ),
        ("count above the entries", head(1, 0, 3, 8, 8, &[(name, 4), (name, 4)]), 8),
        ("count below the entries", head(1, 0, 1, 8, 8, &[(name, 4), (name, 4)]), 8),
        ("count beyond memory", head(1, 0, u32::MAX, 8, 8, &[(name, 8)]), 8),
        ("half an entry", head(1, 0, 1, 8, 8, &[(name, 8)])[..40].to_vec(), 8),
        ("half a head", vec![1, 0, 0, 0, 1], 0),
        ("nothing", vec![], 0),
        ("body longer than said", head(1, 0, 1, 8, 8, &[(name, 8)]), 9),
        ("body shorter than said", head(1, 0, 1, 8, 8, &[(name, 8)]), 7),
        ("zstd body longer than said", head(1, 1, 1, 100, 7, &[(name, 100)]), 8),
        ("zstd body shorter than said", head(1, 1, 1, 100, 9, &[(name, 100)]), 8),
        ("raw body of another length", head(1, 0, 1, 8, 7, &[(name, 8)]), 7),
        ("zstd that does not shrink", head(1, 1, 1, 8, 8, &[(name, 8)]), 8),
        ("zstd of nothing", head(1, 1, 1, 8, 0, &[(name, 8)]), 0),
    ];
    for (case, head, body_length) in cases {
        let error = Bundle::decode(&head, vec![0; body_length]).expect_err(case);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{case}: {error}");
    }
    let too_many = vec![(name, 1); BUNDLE_CHUNKS_MAX + 1];
    let count = u32::try_from(too_many.len()).unwrap();
    assert!(Bundle::decode(&head(1, 0, count, count, count, &too_many), vec![0; too_many.len()]).is_err());
    let reserved = {
        let mut head = head(1, 0, 1, 8, 8, &[(name, 8)]);
        head[2] = 1;
        head
    };
    assert_eq!(Bundle::decode(&reserved, vec![0; 8]).unwrap_err().kind(), ErrorKind::Corrupt);
    for (version, codec) in [(0, 0), (2, 0), (1, 2), (1, 255)] {
        let error = Bundle::decode(&head(version, codec, 1, 8, 8, &[(name, 8)]), vec![0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

/// A zstd frame of a mebibyte of zeros: its content size, a window, eight blocks of one repeated byte.
fn with_window(descriptor: u8) -> Vec<u8> {
    let mut body = vec![0x28, 0xb5, 0x2f, 0xfd, 0x80, descriptor];
    body.extend_from_slice(&(1_u32 << 20).to_le_bytes());
    for last in [0, 0, 0, 0, 0, 0, 0, 1_u32] {
        let header = last | 1 << 1 | (128 << 10) << 3;
        body.extend_from_slice(&header.to_le_bytes()[..3]);
        body.push(0);
    }
    body
}

#[test]
fn a_body_of_another_length_is_not_unpacked() {
    let mut decompressor = Decompressor::new();
    for (codec, body, plain_length) in [
        (Codec::Raw, &b"four"[..], 5),
        (Codec::Raw, b"four", 3),
        (Codec::Zstd, b"", 5),
        (Codec::Zstd, b"four", 4),
        (Codec::Zstd, b"four", 0),
    ] {
        let error = decompressor.unpack(codec, body, plain_length).unwrap_err();
        assert!(matches!(error, ChunkError::Length { .. } | ChunkError::Limit { .. }), "{error}");
    }
}

#[test]
fn bombs_are_refused() {
    let mib = 1_u32 << 20;
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    let honest = zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap();
    let streamed = zstd::stream::encode_all(&vec![0; 1 << 20][..], 1).unwrap();
    // The content size of the bomb, made to say what the table says: the decoder must stop at the end.
    let place = bomb.windows(4).position(|bytes| bytes == (64_u32 << 20).to_le_bytes()).unwrap();
    let lying = [&bomb[..place], &mib.to_le_bytes(), &bomb[place + 4..]].concat();
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    let empty = zstd::bulk::compress(&[], 1).unwrap();
    let cases = [
        ("more than said", bomb.clone()),
        ("more than its own header says", lying),
        ("no content size", streamed),
        ("two frames", [&honest[..], &honest[..]].concat()),
        ("bytes behind the frame", [&honest[..], &[0]].concat()),
        ("cut short", honest[..honest.len() - 1].to_vec()),
        ("a skippable frame in front", [&skippable[..], &honest[..]].concat()),
        ("a skippable frame behind", [&honest[..], &skippable[..]].concat()),
        ("an empty frame behind", [&honest[..], &empty[..]].concat()),
        ("a window of 8 MiB", with_window(13 << 3)),
        ("a window a little above 4 MiB", with_window((12 << 3) + 1)),
        ("the largest window", with_window(0xff)),
        ("magic alone", honest[..4].to_vec()),
        ("no zstd at all", noise(19, 500)),
    ];
    let mut decompressor = Decompressor::new();
    for (case, body) in cases {
        let error = single(1, mib, body).unwrap().verify(&key(), &mut decompressor).expect_err(case);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{case}: {error}");
        assert!(!matches!(error, ChunkError::NameMismatch { .. }), "{case} must fail before it is named");
    }
    for sound in [honest, with_window(12 << 3)] {
        let error = single(1, mib, sound).unwrap().verify(&key(), &mut decompressor).unwrap_err();
        assert!(matches!(error, ChunkError::NameMismatch { .. }), "the body itself is sound: {error}");
    }
    assert!(decompressor.unpack(Codec::Zstd, &bomb, 64 << 20).is_err(), "beyond every limit");
}

#[test]
fn a_table_knows_its_places() {
    let whole = bundle(&[b"one", b"three", b"x"]);
    let ranges: Vec<_> = whole.table().ranges().map(|(_, range)| range).collect();
    assert_eq!(ranges, [0..3, 3..8, 8..9]);
    let mut bytes = Vec::new();
    whole.table().encode(&mut bytes);
    assert_eq!(&Table::decode(&bytes, 9).unwrap(), whole.table());
    assert!(Table::decode(&bytes, 10).is_err());
    assert!(Table::decode(&bytes[1..], 9).is_err());
    bytes.push(0);
    assert!(Table::decode(&bytes, 9).is_err(), "a byte behind the last entry");
}

proptest! {
    #[test]
    fn chunks_of_any_kind_come_back(
        chunks in prop::collection::vec((any::<bool>(), any::<u64>(), 1_usize..60_000), 1..12),
        level in -7..5_i32,
    ) {
        let chunks: Vec<Vec<u8>> = chunks.into_iter()
            .map(|(quiet, seed, length)| if quiet { noise(seed, length) } else { text(seed, length) })
            .collect();
        let mut builder = BundleBuilder::default();
        for chunk in &chunks {
            builder.push(key().name(chunk), chunk).unwrap();
        }
        let sent = builder.finish(&mut Compressor::new(), Level::new(level)).unwrap();
        let received = Bundle::decode(&sent.encode_head(), sent.body().to_vec()).unwrap();
        let mut decompressor = Decompressor::new();
        let stored = received.verify(&key(), &mut decompressor).unwrap();
        prop_assert_eq!(stored.plaintext(&mut decompressor).unwrap(), chunks.concat());
    }

    #[test]
    fn a_damaged_bundle_is_refused_or_still_true(
        seed in any::<u64>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let chunks = [text(seed, 3_000), noise(seed, 40), text(seed, 800)];
        let whole = bundle(&[&chunks[0], &chunks[1], &chunks[2]]);
        let (mut head, mut body) = (whole.encode_head(), whole.body().to_vec());
        for (place, value) in damage {
            let place = place.index(head.len() + body.len());
            match place.checked_sub(head.len()) {
                None => head[place] ^= value,
                Some(place) => body[place] ^= value,
            }
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        let mut decompressor = Decompressor::new();
        if let Ok(stored) = Bundle::decode(&head, body).and_then(|found| found.verify(&key(), &mut decompressor)) {
            prop_assert_eq!(stored.table(), whole.table());
            prop_assert_eq!(stored.plaintext(&mut decompressor).unwrap(), chunks.concat());
        }
    }

    #[test]
    fn noise_is_never_a_panic(
        head in prop::collection::vec(any::<u8>(), 0..200),
        body in prop::collection::vec(any::<u8>(), 0..200),
        plain_length in 0_usize..5 << 20,
    ) {
        let mut decompressor = Decompressor::new();
        if let Ok(found) = Bundle::decode(&head, body.clone()) {
            prop_assert!(found.verify(&key(), &mut decompressor).is_err());
        }
        let framed = [&[0x28, 0xb5, 0x2f, 0xfd], &body[..]].concat();
        for bytes in [&body, &framed] {
            if let Ok(plain) = decompressor.unpack(Codec::Zstd, bytes, plain_length) {
                prop_assert_eq!(plain.len(), plain_length);
            }
        }
    }
}
