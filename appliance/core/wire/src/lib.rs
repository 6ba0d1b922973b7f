//! The agent protocol, without input or output: frames, messages and the rules of a conversation.
//!
//! Bytes go in and values come out; sockets, clocks and threads belong to whoever drives it. A [`Receiver`] cuts a
//! stream of bytes into frames, [`message`] is what frames carry, a [`Conversation`] is the appliance's side with
//! all the rules, a [`Caller`] the client's. A [`Token`] is how a machine learns where to connect and whom to trust.
//! Everything that comes in is hostile until it has passed these; nothing here panics on it. PROTOCOL.md beside
//! this crate fixes every byte and every rule.

mod error;

pub mod drive;
pub mod frame;
pub mod keeping;
pub mod message;

mod check;
pub mod operations;

pub mod caller;
pub mod conversation;

mod session;
pub mod token;

pub use caller::{Caller, Credit, Incoming};
pub use conversation::{Conversation, Event, Finish, Peer};
pub use error::WireError;
pub use frame::{Frame, FrameKind, Limits, Outgoing, Receiver};
pub use message::{Reply, Request};
pub use operations::OperationRun;
pub use token::{Pin, Secret, Token};
