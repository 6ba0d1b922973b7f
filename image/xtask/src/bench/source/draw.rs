//! Numbers from a seed, and text and noise made of them.

/// Words of made-up code: names that repeat. zstd at its lowest level leaves about a quarter of it.
const WORDS: &[&str] = &[
    "device", "buffer", "queue", "lock", "page", "offset", "inode", "entry", "state", "flags", "count",
    "index", "table", "request", "reply", "packet", "header", "length", "node", "list", "cache", "flush",
    "commit", "begin", "end", "error", "status", "handle", "context", "config", "register", "channel",
    "event", "timer", "driver", "clock",
];

/// Numbers from a seed: SplitMix64.
pub(super) struct Draw(u64);

impl Draw {
    /// The numbers of one thing of many.
    pub(super) const fn new(seed: u64, index: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index)
    }

    /// The next one.
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One that is smaller than `limit`.
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is smaller than `limit`")]
    pub(super) const fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn word(&mut self) -> &'static str {
        // Some words are much more frequent than others, as in programs.
        let (first, second) = (self.below(WORDS.len()), self.below(WORDS.len()));
        WORDS.get(first * second / WORDS.len()).copied().unwrap_or("word")
    }

    /// Fills a buffer with noise.
    pub(super) fn noise(&mut self, buffer: &mut [u8]) {
        for bytes in buffer.chunks_mut(8) {
            let drawn = self.next().to_le_bytes();
            bytes.iter_mut().zip(drawn).for_each(|(byte, drawn)| *byte = drawn);
        }
    }

    /// Adds a line of made-up code.
    pub(super) fn line(&mut self, text: &mut String) {
        let depth = self.below(4);
        text.extend(std::iter::repeat_n('\t', depth));
        match self.below(8) {
            0 => text.push_str(&format!("/* the {} of the {} */", self.word(), self.word())),
            1 => {
                text.push_str(&format!(
                    "if ({}->{} & 0x{:x})",
                    self.word(),
                    self.word(),
                    self.below(1 << 20)
                ));
            }
            2 => text.push_str(&format!(
                "return {}_{}({}, {});",
                self.word(),
                self.word(),
                self.word(),
                self.below(100)
            )),
            3 => text.push_str(&format!(
                "static int {}_{}_{}(struct {} *{})",
                self.word(),
                self.word(),
                self.below(1000),
                self.word(),
                self.word()
            )),
            _ => text.push_str(&format!(
                "{}->{} = {}_{}({}->{}, {});",
                self.word(),
                self.word(),
                self.word(),
                self.word(),
                self.word(),
                self.word(),
                self.below(10_000)
            )),
        }
        text.push('\n');
    }
}
