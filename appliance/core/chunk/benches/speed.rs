//! How fast one core cuts, names, packs, verifies, seals and opens: `cargo bench -p chunk`.

#![expect(clippy::unwrap_used, reason = "what fails must stop")]

#[path = "../tests/sample/mod.rs"]
mod sample;

use chunk::{
    Bundle, BundleBuilder, ChunkError, Compressor, CutBuffer, CutPlan, Cutter, Decompressor, Frame,
    FrameKind, FreshSalt, Level, NamingKey, Opener, Sealer, SegmentIdentity, VerifiedBundle,
};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use model::{DomainId, SegmentNumber};

const LENGTH: usize = 16 << 20;
/// Bytes of text, and bytes that do not compress.
const KINDS: [&str; 2] = ["text", "noise"];

fn main() {
    divan::main();
}

fn bytes(kind: &str) -> Vec<u8> {
    if kind == "text" { sample::text(1, LENGTH) } else { sample::noise(1, LENGTH) }
}

fn key() -> NamingKey {
    NamingKey::derive(&[7; 32], DomainId(0))
}

fn sealer() -> Sealer {
    let identity = SegmentIdentity { pool: [1; 16], segment: SegmentNumber(1) };
    Sealer::new(&[2; 32], FreshSalt::draw(&mut |salt| salt.fill(3)), identity)
}

/// Bundles of about a mebibyte, of chunks of 64 KiB.
fn bundles(bytes: &[u8]) -> Vec<Bundle> {
    let (key, mut compressor, mut builder) = (key(), Compressor::new(), BundleBuilder::default());
    let bundle = |piece: &[u8]| {
        piece.chunks(64 << 10).for_each(|chunk| builder.push(key.name(chunk), chunk).unwrap());
        builder.finish(&mut compressor, Level::default()).unwrap()
    };
    bytes.chunks(1 << 20).map(bundle).collect()
}

fn verified(bytes: &[u8]) -> Vec<VerifiedBundle> {
    let (key, mut decompressor) = (key(), Decompressor::new());
    bundles(bytes).into_iter().map(|bundle| bundle.verify(&key, &mut decompressor).unwrap()).collect()
}

fn frames(bytes: &[u8]) -> (Vec<Frame>, Opener) {
    let mut sealer = sealer();
    let seal = |bundle| sealer.seal_bundle(FrameKind::Data, &bundle).unwrap();
    let frames = verified(bytes).into_iter().map(seal).collect();
    (frames, sealer.opener())
}

#[divan::bench(args = KINDS)]
fn cut_by_content(bencher: Bencher<'_, '_>, kind: &str) {
    let (bytes, cutter, mut buffer) = (bytes(kind), Cutter::new(&key()), CutBuffer::new());
    bencher.counter(BytesCount::new(LENGTH)).bench_local(|| {
        let sink = |_, chunk: &[u8]| {
            black_box(chunk);
            Ok::<(), ChunkError>(())
        };
        cutter.cut(&mut &bytes[..], CutPlan::Content, &mut buffer, sink).unwrap();
    });
}

#[divan::bench(args = [4 << 10, 128 << 10])]
fn name(bencher: Bencher<'_, '_>, length: usize) {
    let (bytes, key) = (bytes("noise"), key());
    bencher.counter(BytesCount::new(LENGTH)).bench_local(|| {
        for chunk in bytes.chunks(length) {
            black_box(key.name(chunk));
        }
    });
}

#[divan::bench(args = KINDS)]
fn bundle(bencher: Bencher<'_, '_>, kind: &str) {
    let (bytes, mut compressor, mut builder) = (bytes(kind), Compressor::new(), BundleBuilder::default());
    bencher.counter(BytesCount::new(LENGTH)).bench_local(|| {
        for piece in bytes.chunks(1 << 20) {
            piece.chunks(64 << 10).for_each(|chunk| builder.push(model::Name([0; 32]), chunk).unwrap());
            black_box(builder.finish(&mut compressor, Level::default()).unwrap());
        }
    });
}

#[divan::bench(args = KINDS)]
fn verify(bencher: Bencher<'_, '_>, kind: &str) {
    let (bytes, key, mut decompressor) = (bytes(kind), key(), Decompressor::new());
    let bundles = bundles(&bytes);
    bencher.counter(BytesCount::new(LENGTH)).with_inputs(|| bundles.clone()).bench_local_values(|bundles| {
        for bundle in bundles {
            black_box(bundle.verify(&key, &mut decompressor).unwrap());
        }
    });
}

#[divan::bench(args = KINDS)]
fn seal_and_compare(bencher: Bencher<'_, '_>, kind: &str) {
    let (bundles, mut sealer) = (verified(&bytes(kind)), sealer());
    bencher.counter(BytesCount::new(LENGTH)).bench_local(|| {
        for bundle in &bundles {
            black_box(sealer.seal_bundle(FrameKind::Data, bundle).unwrap());
        }
    });
}

#[divan::bench(args = KINDS)]
fn open_and_unpack(bencher: Bencher<'_, '_>, kind: &str) {
    let ((frames, opener), mut decompressor, mut plain) =
        (frames(&bytes(kind)), Decompressor::new(), Vec::new());
    bencher.counter(BytesCount::new(LENGTH)).bench_local(|| {
        for frame in &frames {
            let opened = opener.open(frame.header(), frame.payload(), &mut plain).unwrap();
            black_box(opened.plaintext(&mut decompressor).unwrap());
        }
    });
}
