//! Arguments that are more than text.

use std::os::unix::ffi::OsStrExt;

use clap::builder::{OsStringValueParser, TypedValueParser};
use model::Place;

/// Reads `[MACHINE/]SOURCE[@WHEN][:PATH]`, with any bytes in the path.
#[must_use]
pub fn place() -> impl TypedValueParser<Value = Place> {
    OsStringValueParser::new().try_map(|text| Place::parse(text.as_bytes()))
}
