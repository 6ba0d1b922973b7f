//! Views of archives in memory: what is listed, found and read is what is stored, and damage stays where it is.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod memory;

mod damage;
mod moments;
mod reading;
mod trees;
