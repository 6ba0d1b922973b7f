//! The handle of a tree: a few bytes that name everything in it.

use minicbor::decode::Error as DecodeError;
use minicbor::{Decode, Decoder, Encode, Encoder};
use model::Name;

use crate::error::Error;
use crate::limits::HEIGHT_MAX;

/// Most bytes of an encoded root.
pub const ROOT_LENGTH_MAX: usize = 1 + 34 + 2 + 9;

/// A tree: the name of its topmost page, its height and the number of its items.
///
/// Either empty, or with a page, 1 to [`HEIGHT_MAX`] levels and at least one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Root {
    top: Option<Top>,
}

/// The topmost page of a tree that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Top {
    pub(crate) name: Name,
    pub(crate) level: u8,
    pub(crate) items: u64,
}

impl Root {
    /// The tree without items and without pages.
    pub const EMPTY: Self = Self { top: None };

    pub(crate) const fn new(top: Top) -> Self {
        Self { top: Some(top) }
    }

    /// The root with these fields, for those who store them one by one.
    pub fn from_parts(name: Option<Name>, height: u8, items: u64) -> Result<Self, Error> {
        match (name, height) {
            (None, 0) if items == 0 => Ok(Self::EMPTY),
            (Some(name), 1..=HEIGHT_MAX) if items > 0 => {
                Ok(Self::new(Top { name, level: height - 1, items }))
            }
            _ => Err(Error::Root { height, items }),
        }
    }

    /// The topmost page; `None` if the tree is empty.
    #[must_use]
    pub fn name(&self) -> Option<Name> {
        self.top.map(|top| top.name)
    }

    /// Levels of pages; 0 if the tree is empty.
    #[must_use]
    pub fn height(&self) -> u8 {
        self.top.map_or(0, |top| top.level + 1)
    }

    /// Number of items.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.top.map_or(0, |top| top.items)
    }

    /// Whether the tree has no items.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.top.is_none()
    }

    pub(crate) const fn top(&self) -> Option<Top> {
        self.top
    }
}

impl<C> Encode<C> for Root {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(3)?.encode_with(self.name(), ctx)?.u8(self.height())?.u64(self.items())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Root {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        let start = d.position();
        if d.array()? != Some(3) {
            return Err(DecodeError::message("a root has three fields").at(start));
        }
        let (name, height, items) = (d.decode_with(ctx)?, d.u8()?, d.u64()?);
        Self::from_parts(name, height, items).map_err(|_| DecodeError::message("impossible root").at(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_survives_and_lies_are_refused() {
        let full = Root::from_parts(Some(Name([9; 32])), HEIGHT_MAX, u64::MAX).unwrap();
        for root in [Root::EMPTY, full] {
            let bytes = minicbor::to_vec(root).unwrap();
            assert!(bytes.len() <= ROOT_LENGTH_MAX);
            assert_eq!(minicbor::decode::<Root>(&bytes).unwrap(), root);
        }
        let name = Some(Name([9; 32]));
        for (name, height, items) in
            [(None, 1, 0), (None, 0, 1), (name, 0, 1), (name, 1, 0), (name, HEIGHT_MAX + 1, 1)]
        {
            assert!(Root::from_parts(name, height, items).is_err(), "{name:?} {height} {items}");
            let bytes = minicbor::to_vec((name, height, items)).unwrap();
            assert!(minicbor::decode::<Root>(&bytes).is_err());
        }
    }
}
