//! How fast one core cuts, names, packs, verifies, seals and opens fixed inputs.
//!
//! `cargo bench -p chunk` prints MB of plaintext a second, the best of several rounds.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it measures time and prints it; what fails must stop"
)]

#[path = "../tests/sample/mod.rs"]
mod sample;

use std::hint::black_box;
use std::time::Instant;

use chunk::{
    Bundle, BundleBuilder, ChunkError, Compressor, CutBuffer, CutPlan, Cutter, Decompressor, FrameKind,
    FreshSalt, Level, NamingKey, Sealer, SegmentIdentity,
};
use model::{DomainId, SegmentNumber};

const ROUNDS: usize = 7;

fn main() {
    // `cargo test --all-targets` runs benches too, without this argument.
    if std::env::args().any(|argument| argument == "--bench") {
        for (kind, bytes) in [("text", sample::text(1, 64 << 20)), ("noise", sample::noise(1, 64 << 20))] {
            measure(kind, &bytes);
        }
    }
}

fn report(what: &str, length: usize, mut work: impl FnMut()) {
    let best = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        work();
        started.elapsed()
    });
    let seconds = best.min().unwrap().as_secs_f64();
    let megabytes = u32::try_from(length / 1_000_000).unwrap();
    println!("{what:<28} {:>8.0} MB/s", f64::from(megabytes) / seconds);
}

fn measure(kind: &str, bytes: &[u8]) {
    let key = NamingKey::derive(&[7; 32], DomainId(0));
    let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
    let report = |what: &str, work: &mut dyn FnMut()| report(&format!("{kind}: {what}"), bytes.len(), work);

    let (cutter, mut buffer) = (Cutter::new(&key), CutBuffer::new());
    report("cut by content", &mut || {
        let sink = |_, chunk: &[u8]| {
            black_box(chunk);
            Ok::<(), ChunkError>(())
        };
        cutter.cut(&mut &bytes[..], CutPlan::Content, &mut buffer, sink).unwrap();
    });
    for length in [4 << 10, 128 << 10] {
        report(&format!("name {} KiB", length >> 10), &mut || {
            for chunk in bytes.chunks(length) {
                black_box(key.name(chunk));
            }
        });
    }

    let mut builder = BundleBuilder::default();
    report("bundle, level 1", &mut || {
        for piece in bytes.chunks(1 << 20) {
            piece.chunks(64 << 10).for_each(|chunk| builder.push(model::Name([0; 32]), chunk).unwrap());
            black_box(builder.finish(&mut compressor, Level::default()).unwrap());
        }
    });

    let named: Vec<Bundle> = bytes
        .chunks(1 << 20)
        .map(|piece| {
            piece.chunks(64 << 10).for_each(|chunk| builder.push(key.name(chunk), chunk).unwrap());
            builder.finish(&mut compressor, Level::default()).unwrap()
        })
        .collect();
    let stored: usize = named.iter().map(|bundle| bundle.body().len()).sum();
    println!("{kind}: stored {stored} of {} bytes", bytes.len());
    report("verify (and a copy)", &mut || {
        for bundle in &named {
            black_box(bundle.clone().verify(&key, &mut decompressor).unwrap());
        }
    });

    let verified: Vec<_> =
        named.into_iter().map(|bundle| bundle.verify(&key, &mut decompressor).unwrap()).collect();
    let identity = SegmentIdentity { pool: [1; 16], segment: SegmentNumber(1) };
    let mut sealer = Sealer::new(&[2; 32], FreshSalt::draw(&mut |salt| salt.fill(3)), identity);
    report("seal and compare", &mut || {
        for bundle in &verified {
            black_box(sealer.seal_bundle(FrameKind::Data, bundle).unwrap());
        }
    });
    let frames: Vec<_> =
        verified.iter().map(|bundle| sealer.seal_bundle(FrameKind::Data, bundle).unwrap()).collect();
    let (opener, mut plain) = (sealer.opener(), Vec::new());
    report("open", &mut || {
        for frame in &frames {
            black_box(opener.open(frame.header(), frame.payload(), &mut plain).unwrap());
        }
    });
    report("open and unpack", &mut || {
        for frame in &frames {
            let opened = opener.open(frame.header(), frame.payload(), &mut plain).unwrap();
            black_box(opened.plaintext(&mut decompressor).unwrap());
        }
    });
}
