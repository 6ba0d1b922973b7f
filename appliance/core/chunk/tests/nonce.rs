//! No nonce twice: every use is reported, and a sealer that repeated one would be caught.
#![expect(clippy::unwrap_used, reason = "what cannot be unwrapped here is a failed test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chunk::{Codec, Commitment, FrameKind, FrameNumber, FreshSalt, NonceAudit, Sealer, SegmentIdentity};
use model::SegmentNumber;

/// What was sealed under each pair of key and nonce, and how often a pair came again.
#[derive(Default)]
struct Pairs {
    texts: BTreeMap<(Commitment, FrameNumber), [u8; 32]>,
    repeated: usize,
}

#[derive(Default)]
struct Ledger(Mutex<Pairs>);

impl NonceAudit for Ledger {
    fn sealing(&self, commitment: &Commitment, number: FrameNumber, text: &[u8; 32]) {
        let mut pairs = self.0.lock().unwrap();
        if pairs.texts.insert((*commitment, number), *text).is_some() {
            pairs.repeated += 1;
        }
    }
}

fn run(ledger: &Arc<Ledger>) {
    for segment in 1..4 {
        let salt = FreshSalt::draw(&mut |salt| salt.fill(segment));
        let identity = SegmentIdentity { pool: [1; 16], segment: SegmentNumber(segment.into()) };
        let mut sealer = Sealer::new(&[2; 32], salt, identity)
            .audited(Arc::<Ledger>::clone(ledger) as Arc<dyn NonceAudit>);
        for byte in 0..50 {
            sealer.seal(FrameKind::Data, b"t", Codec::Raw, 2, &[byte, byte]).unwrap();
        }
    }
}

/// One test, because a planted bug holds for the whole process.
#[test]
fn every_nonce_is_reported_once() {
    let ledger = Arc::new(Ledger::default());
    run(&ledger);
    {
        let pairs = ledger.0.lock().unwrap();
        let text = blake3::hash(b"t\x07\x07");
        let reported = pairs.texts.iter().filter(|(_, found)| *found == text.as_bytes());
        assert_eq!(reported.map(|((_, number), _)| *number).collect::<Vec<_>>(), [FrameNumber(7); 3]);
        assert_eq!((pairs.texts.len(), pairs.repeated), (150, 0));
    }

    #[cfg(feature = "planted-bugs")]
    {
        chunk::planted::repeat_frame_numbers(true);
        let ledger = Arc::new(Ledger::default());
        run(&ledger);
        chunk::planted::repeat_frame_numbers(false);
        assert_eq!(ledger.0.lock().unwrap().repeated, 147, "the audit sees every repetition");
    }
}
