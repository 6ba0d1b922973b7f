//! The agent protocol, without input or output: frames, messages and the rules of a conversation.

pub mod message;
