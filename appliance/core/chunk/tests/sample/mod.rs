//! Fixed inputs: noise and source-like text, the same on every run and machine.

/// Bytes that do not compress (SplitMix64).
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next(&mut state).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Text that compresses about as well as program source.
pub(crate) fn text(seed: u64, length: usize) -> Vec<u8> {
    const WORDS: [&str; 12] =
        ["fn ", "let ", "self.", "return ", "    ", "if ", " = ", "();\n", " {\n", "}\n", "->", "// "];
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        let value = next(&mut state);
        let word = usize::try_from(value % 12).expect("below twelve");
        bytes.extend_from_slice(WORDS[word].as_bytes());
        if value >> 62 == 0 {
            bytes.extend_from_slice(format!("name_{:x}", (value >> 8) % 50_000).as_bytes());
        }
    }
    bytes.truncate(length);
    bytes
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *state;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
