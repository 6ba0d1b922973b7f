//! Folding operations into points.
//!
//! A backup is a run of operations on top of the newest point of its source, or on top of nothing. [`Fold`] turns
//! them into changes of items, [`Ingest`] checks that every chunk they name is here and makes the point.

mod fold;
mod ingest;
mod overlay;
mod pages;
mod ranges;

pub use fold::{Fold, FoldError};
pub use ingest::{Closing, Ingest, IngestError, Ingested};
