//! Tests of the protocol as its two ends see it: round trips, hostile bytes, and every rule of a conversation.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its own functions too")]

mod arbitrary;
mod conversation;
mod frames;
mod hostile;
mod messages;
mod token;
