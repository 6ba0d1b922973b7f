//! Identities and numbers that must not be mixed up.
//!
//! Every one is a newtype: a segment number is not a sequence number, an object is not an offset.

use std::fmt;

/// Declares a 64-bit number with its own type, ordered and printable.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, minicbor::Encode, minicbor::Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub u64);

        impl $name {
            /// The number after this one; saturates, so that no input can wrap an order.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number! {
    /// A protected machine, numbered by the pool from 1.
    MachineId
}
number! {
    /// A source of a machine, numbered by the pool from 1 over all machines.
    SourceId
}
number! {
    /// The place of an operation in the stream of its source; gap-free, the first is 1.
    SequenceNumber
}
number! {
    /// The place of a commit in the history of the pool; gap-free, the first is 1.
    CommitNumber
}
number! {
    /// An append-only file of the pool; never reused.
    SegmentNumber
}
number! {
    /// An object (file, directory, link, device) of a source, numbered by its agent; the root is 1.
    ObjectId
}
number! {
    /// A set of machines that share chunk names; 0 is the domain of the pool.
    DomainId
}

impl ObjectId {
    /// The directory that everything of a source lies under.
    pub const ROOT: Self = Self(1);
}

/// A keyed BLAKE3-256 of plaintext: the identity of a chunk or of a tree page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub [u8; 32]);

impl Name {
    /// Bytes of a name.
    pub const LENGTH: usize = 32;

    /// The first eight bytes as a number: a hash for in-memory maps, never an identity.
    #[must_use]
    pub const fn prefix(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Name {
    /// The first eight bytes in hexadecimal: enough to recognise in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.prefix().swap_bytes())
    }
}

impl<C> minicbor::Encode<C> for Name {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Name {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        let name = bytes
            .try_into()
            .map_err(|_| minicbor::decode::Error::message("a name has 32 bytes").at(d.position()))?;
        Ok(Self(name))
    }
}
