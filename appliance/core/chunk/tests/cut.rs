//! Where chunks are cut: by the bytes and the key, by nothing else.
#![expect(clippy::unwrap_used, reason = "what cannot be unwrapped here is a failed test")]

mod sample;

use std::collections::BTreeSet;
use std::io::{self, Read};

use chunk::{
    BlockSize, CHUNK_LENGTH_MAX, CUT_LENGTH_AVERAGE, CUT_LENGTH_MIN, ChunkError, CutBuffer, CutPlan, Cutter,
    NamingKey,
};
use model::{DomainId, ErrorKind, Name};
use proptest::prelude::*;
use sample::{noise, text};

const SECRET: [u8; 32] = [7; 32];

/// Delivers at most as many bytes at a time as the next of `steps` says, over and over; 0 interrupts.
struct Trickle<'a> {
    rest: &'a [u8],
    steps: &'a [usize],
    turn: usize,
}

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let step = self.steps[self.turn % self.steps.len()];
        self.turn += 1;
        if step == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = step.min(self.rest.len()).min(out.len());
        let (now, later) = self.rest.split_at(length);
        out[..length].copy_from_slice(now);
        self.rest = later;
        Ok(length)
    }
}

fn cutter(domain: u64) -> Cutter {
    Cutter::new(&key(domain))
}

fn key(domain: u64) -> NamingKey {
    NamingKey::derive(&SECRET, DomainId(domain))
}

/// The lengths of the chunks of `feed`, after checking that they are its bytes in order.
fn lengths(cutter: &Cutter, feed: &mut dyn Read, plan: CutPlan, bytes: &[u8]) -> Vec<usize> {
    let (mut found, mut end) = (Vec::new(), 0);
    let total = cutter.cut::<ChunkError>(feed, plan, &mut CutBuffer::new(), |offset, chunk| {
        assert_eq!(offset, end as u64);
        assert_eq!(chunk, &bytes[end..end + chunk.len()]);
        end += chunk.len();
        found.push(chunk.len());
        Ok(())
    });
    assert_eq!(total.unwrap(), bytes.len() as u64);
    assert_eq!(end, bytes.len());
    found
}

#[test]
fn content_cuts_keep_their_bounds_and_average() {
    let bytes = noise(1, 32 << 20);
    let found = lengths(&cutter(0), &mut &bytes[..], CutPlan::Content, &bytes);
    let (last, inner) = found.split_last().unwrap();
    assert!(*last <= CHUNK_LENGTH_MAX);
    assert!(inner.iter().all(|length| (CUT_LENGTH_MIN..=CHUNK_LENGTH_MAX).contains(length)));
    let average = bytes.len() / found.len();
    assert!((CUT_LENGTH_AVERAGE / 2..CUT_LENGTH_AVERAGE * 2).contains(&average), "{average}");
}

#[test]
fn short_files_are_one_chunk_and_empty_ones_none() {
    for length in [0, 1, 4095, CUT_LENGTH_MIN - 1, CUT_LENGTH_MIN] {
        let bytes = noise(2, length);
        let found = lengths(&cutter(0), &mut &bytes[..], CutPlan::Content, &bytes);
        assert_eq!(found, if length == 0 { vec![] } else { vec![length] });
    }
}

#[test]
fn bytes_without_a_cut_end_at_the_longest_chunk() {
    let bytes = vec![0; 2 * CHUNK_LENGTH_MAX + 5];
    let found = lengths(&cutter(0), &mut &bytes[..], CutPlan::Content, &bytes);
    assert_eq!(found, [CHUNK_LENGTH_MAX, CHUNK_LENGTH_MAX, 5]);
}

#[test]
fn fixed_blocks_are_aligned_whatever_their_content() {
    let bytes = noise(3, (3 << 20) + 4097);
    for size in [4096, 64 << 10, 1 << 20] {
        let plan = CutPlan::Fixed(BlockSize::new(size).unwrap());
        let found = lengths(&cutter(0), &mut &bytes[..], plan, &bytes);
        let (last, inner) = found.split_last().unwrap();
        assert!(inner.iter().all(|&length| length == size as usize));
        assert_eq!(*last, if size == 4096 { 1 } else { 4097 });
    }
    assert_eq!(BlockSize::default().bytes(), 64 << 10);
    for size in [0, 1, 2048, 4097, 12288, 2 << 20, 1 << 31] {
        assert_eq!(BlockSize::new(size).unwrap_err().kind(), ErrorKind::Refused);
    }
}

#[test]
fn an_insertion_changes_the_chunks_around_it_only() {
    let before = text(4, 8 << 20);
    let mut after = before.clone();
    after.splice(1_000_000..1_000_000, *b"seventeen bytes..");
    let (key, cutter) = (key(0), cutter(0));
    let names = |bytes: &[u8]| -> BTreeSet<Name> {
        cutter.cut_bytes(bytes, CutPlan::Content).map(|chunk| key.name(chunk)).collect()
    };
    let (before, after) = (names(&before), names(&after));
    let changed = after.difference(&before).count();
    assert!((1..=4).contains(&changed), "{changed} of {} chunks are new", after.len());
}

#[test]
fn two_domains_cut_the_same_file_differently() {
    let bytes = noise(5, 8 << 20);
    let ends = |domain| -> BTreeSet<usize> {
        let cutter = cutter(domain);
        let chunks = cutter.cut_bytes(&bytes, CutPlan::Content);
        chunks
            .scan(0, |end, chunk| {
                *end += chunk.len();
                Some(*end)
            })
            .collect()
    };
    let (ours, theirs) = (ends(0), ends(1));
    assert_eq!(ours, ends(0));
    assert!(ours.len() > 20);
    assert!(ours.intersection(&theirs).count() <= 2, "the end of the file, and one by chance");
}

#[test]
fn a_failing_feed_is_an_error_with_its_place() {
    struct Failing(usize);
    impl Read for Failing {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("medium error"));
            }
            let length = self.0.min(out.len());
            self.0 -= length;
            out[..length].fill(1);
            Ok(length)
        }
    }
    let (length, mut delivered) = (3 * CHUNK_LENGTH_MAX + 5_000, 0);
    let result = cutter(0).cut::<ChunkError>(
        &mut Failing(length),
        CutPlan::Content,
        &mut CutBuffer::new(),
        |_, chunk| {
            delivered += chunk.len();
            Ok(())
        },
    );
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(matches!(error, ChunkError::Read { offset, .. } if offset == length as u64), "{error}");
    assert_eq!(delivered, 3 * CHUNK_LENGTH_MAX, "what lay whole before the failure");
}

#[test]
fn a_sink_that_fails_ends_the_cutting_with_its_own_error() {
    #[derive(Debug)]
    struct Stopped;
    impl From<ChunkError> for Stopped {
        fn from(error: ChunkError) -> Self {
            panic!("no chunk error happens here: {error}")
        }
    }
    let bytes = noise(6, 4 << 20);
    let mut calls = 0;
    let result = cutter(0).cut(&mut &bytes[..], CutPlan::Content, &mut CutBuffer::new(), |_, _| {
        calls += 1;
        if calls == 3 { Err(Stopped) } else { Ok(()) }
    });
    assert!(matches!(result, Err(Stopped)));
    assert_eq!(calls, 3);
}

#[test]
fn a_used_buffer_leaves_no_trace() {
    let (first, second) = (noise(7, 5 << 20), text(8, (3 << 20) + 11));
    let (cutter, mut buffer) = (cutter(0), CutBuffer::new());
    let cut = |bytes: &[u8], buffer: &mut CutBuffer| {
        let mut chunks = Vec::new();
        let sink = |_, chunk: &[u8]| {
            chunks.push(chunk.to_vec());
            Ok::<(), ChunkError>(())
        };
        cutter.cut(&mut &bytes[..], CutPlan::Content, buffer, sink).unwrap();
        chunks
    };
    let fresh = cut(&second, &mut CutBuffer::new());
    cut(&first, &mut buffer);
    assert_eq!(cut(&second, &mut buffer), fresh);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn cuts_do_not_depend_on_how_the_feed_delivers(
        seed in any::<u64>(),
        length in 0_usize..5 << 20,
        steps in prop::collection::vec(prop_oneof![Just(0_usize), 1_usize..70_000, Just(1 << 20), Just(9 << 20)], 1..6),
        block in prop::option::of(12_u32..=20),
    ) {
        prop_assume!(steps.iter().any(|&step| step > 256));
        let bytes = if seed % 2 == 0 { noise(seed, length) } else { text(seed, length) };
        let plan = block.map_or(CutPlan::Content, |log| CutPlan::Fixed(BlockSize::new(1 << log).unwrap()));
        let cutter = cutter(seed % 3);
        let mut feed = Trickle { rest: &bytes, steps: &steps, turn: 0 };
        let found = lengths(&cutter, &mut feed, plan, &bytes);
        let whole: Vec<usize> = cutter.cut_bytes(&bytes, plan).map(<[u8]>::len).collect();
        prop_assert_eq!(&found, &whole);
    }
}
