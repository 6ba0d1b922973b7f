//! The client's end against an appliance that is played by the test.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod archive;
mod connection;
mod played;
