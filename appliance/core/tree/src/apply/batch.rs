//! The changes of a batch as bytes, one at a time, checked as they come.

use crate::error::Error;
use crate::limits::{KEY_LENGTH_MAX, VALUE_LENGTH_MAX};

/// What a change does with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    Put,
    Delete,
}

/// Changes in ascending order of their keys; stands at one, or behind the last.
pub(crate) struct Batch<F> {
    /// Appends the next key, and the value that it gets, to the empty buffers.
    pull: F,
    position: u64,
    before: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
    edit: Option<Edit>,
    /// Whether the current change is known to make a difference.
    effective: bool,
}

impl<F: FnMut(&mut Vec<u8>, &mut Vec<u8>) -> Option<Edit>> Batch<F> {
    /// Stands at the first change.
    pub(crate) fn new(pull: F) -> Result<Self, Error> {
        let (before, key, value) = (Vec::new(), Vec::new(), Vec::new());
        let mut batch = Self { pull, position: 0, before, key, value, edit: None, effective: false };
        batch.load()?;
        Ok(batch)
    }

    /// Goes to the next change.
    pub(crate) fn advance(&mut self) -> Result<(), Error> {
        std::mem::swap(&mut self.before, &mut self.key);
        self.position += 1;
        self.effective = false;
        self.load()?;
        if self.edit.is_some() && self.key <= self.before {
            return Err(Error::Unsorted { position: self.position });
        }
        Ok(())
    }

    fn load(&mut self) -> Result<(), Error> {
        self.key.clear();
        self.value.clear();
        self.edit = (self.pull)(&mut self.key, &mut self.value);
        let position = self.position;
        if self.key.len() > KEY_LENGTH_MAX {
            return Err(Error::KeyTooLong { position, length: self.key.len() });
        }
        if self.value.len() > VALUE_LENGTH_MAX {
            return Err(Error::ValueTooLong { position, length: self.value.len() });
        }
        Ok(())
    }

    /// The current key; `None` behind the last change.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.edit.map(|_| self.key.as_slice())
    }

    /// The value that the current key gets; `None` if it is deleted.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        (self.edit == Some(Edit::Put)).then_some(&self.value)
    }

    /// Whether the current change was found to make a difference.
    pub(crate) const fn is_effective(&self) -> bool {
        self.effective
    }

    /// Remembers that the current change makes a difference, so that it is looked up once.
    pub(crate) const fn mark_effective(&mut self) {
        self.effective = true;
    }

    /// Whether the current change comes before `upper`; `None` is behind all keys.
    pub(crate) fn is_before(&self, upper: Option<&[u8]>) -> bool {
        match (self.key(), upper) {
            (Some(key), Some(upper)) => key < upper,
            (key, None) => key.is_some(),
            (None, Some(_)) => false,
        }
    }
}
