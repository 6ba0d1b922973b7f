//! What the keys and values of a tree are, and how they become byte strings.

use model::codec::CodecError;
use model::item::{Item, ItemKey};

/// The types of a tree's items and their encodings.
///
/// The bytes of keys must compare as the keys do, and no two keys have the same bytes: the tree sees bytes only.
pub trait Schema {
    /// What items are found by.
    type Key;
    /// What is stored under a key.
    type Value;

    /// Appends the bytes of a key.
    fn encode_key(key: &Self::Key, out: &mut Vec<u8>);
    /// Reads what [`Self::encode_key`] wrote.
    fn decode_key(bytes: &[u8]) -> Result<Self::Key, CodecError>;
    /// Appends the bytes of a value.
    fn encode_value(value: &Self::Value, out: &mut Vec<u8>);
    /// Reads what [`Self::encode_value`] wrote for the value under `key`.
    fn decode_value(key: &Self::Key, bytes: &[u8]) -> Result<Self::Value, CodecError>;
}

/// A key and its value.
pub type ItemOf<C> = (<C as Schema>::Key, <C as Schema>::Value);

/// Keys and values that are byte strings already.
#[derive(Clone, Copy, Debug)]
pub enum ByteStrings {}

impl Schema for ByteStrings {
    type Key = Vec<u8>;
    type Value = Vec<u8>;

    fn encode_key(key: &Vec<u8>, out: &mut Vec<u8>) {
        out.extend_from_slice(key);
    }

    fn decode_key(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }

    fn encode_value(value: &Vec<u8>, out: &mut Vec<u8>) {
        out.extend_from_slice(value);
    }

    fn decode_value(_: &Vec<u8>, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }
}

/// The items of a source at one point.
#[derive(Clone, Copy, Debug)]
pub enum Items {}

impl Schema for Items {
    type Key = ItemKey;
    type Value = Item;

    fn encode_key(key: &ItemKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.encode());
    }

    fn decode_key(bytes: &[u8]) -> Result<ItemKey, CodecError> {
        ItemKey::decode(bytes)
    }

    fn encode_value(value: &Item, out: &mut Vec<u8>) {
        out.extend_from_slice(&value.encode());
    }

    fn decode_value(key: &ItemKey, bytes: &[u8]) -> Result<Item, CodecError> {
        Item::decode(key, bytes)
    }
}
