//! The few primitives of the hand-written encodings: LEB128 numbers and a reader that never runs past its end.

use thiserror::Error;

/// Bytes that are not an encoding of what was expected.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum CodecError {
    /// The bytes end inside a field.
    #[error("{0} is cut off")]
    Short(&'static str),
    /// A field has a value that it cannot have.
    #[error("{0} has an impossible value")]
    Value(&'static str),
    /// Bytes are left over behind the last field.
    #[error("{0} is followed by unknown bytes")]
    Trailing(&'static str),
}

/// Appends `value` as LEB128: seven bits a byte, lowest first.
#[expect(clippy::cast_possible_truncation, reason = "the low seven bits are meant")]
pub fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number, zigzag first so that small ones of both signs stay short.
#[expect(clippy::cast_sign_loss, reason = "zigzag maps every i64 to a u64 and back")]
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_number(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Takes fields off the front of a byte string.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads from the first of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// One byte.
    pub fn byte(&mut self, what: &'static str) -> Result<u8, CodecError> {
        let (first, rest) = self.rest.split_first().ok_or(CodecError::Short(what))?;
        self.rest = rest;
        Ok(*first)
    }

    /// A LEB128 number; more than 64 bits are refused.
    pub fn number(&mut self, what: &'static str) -> Result<u64, CodecError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(CodecError::Value(what));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CodecError::Value(what))
    }

    /// A number that fits 32 bits.
    pub fn number32(&mut self, what: &'static str) -> Result<u32, CodecError> {
        u32::try_from(self.number(what)?).map_err(|_| CodecError::Value(what))
    }

    /// A zigzag number.
    #[expect(clippy::cast_possible_wrap, reason = "zigzag maps every u64 to an i64 and back")]
    pub fn signed(&mut self, what: &'static str) -> Result<i64, CodecError> {
        let value = self.number(what)?;
        Ok(((value >> 1) as i64) ^ -((value & 1) as i64))
    }

    /// Exactly `length` bytes.
    pub fn bytes(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], CodecError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(CodecError::Short(what))?;
        self.rest = rest;
        Ok(head)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Refuses what is left over.
    pub const fn finish(self, what: &'static str) -> Result<(), CodecError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CodecError::Trailing(what)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_survive(unsigned: u64, signed: i64) {
            let mut bytes = Vec::new();
            put_number(&mut bytes, unsigned);
            put_signed(&mut bytes, signed);
            let mut fields = Fields::new(&bytes);
            prop_assert_eq!(fields.number("n"), Ok(unsigned));
            prop_assert_eq!(fields.signed("s"), Ok(signed));
            prop_assert_eq!(fields.finish("both"), Ok(()));
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        assert_eq!(Fields::new(&[0xff; 10]).number("n"), Err(CodecError::Value("n")));
        assert_eq!(Fields::new(&[0x80]).number("n"), Err(CodecError::Short("n")));
    }
}
