//! The doors of the appliance: one TCP port for agents and the web, and a socket for the operator.
//!
//! A [`Listener`] takes connections, finds out who is at the other end and lets [`wire::Conversation`] judge what
//! comes in; what the peer may have is done by a [`Service`], which knows the pool. One task moves the bytes of a
//! connection; each backup has a thread of its own that hands to its [`Backup`] in order what shared threads have
//! decompressed and named anew.
//!
//! Peers are hostile until they have proved who they are, and bounded afterwards: in number, time, memory, threads
//! and what may be under way (PROTOCOL.md of crate `wire`). A slow peer waits for nobody but itself. A peer that is
//! refused leaves one line in the log that says why.

mod authority;
mod error;
mod limits;
mod service;

mod accept;
mod admission;
mod arrival;
mod refusals;
mod socket;
mod tls;

mod agents;
mod peer;
mod writer;

mod read;
mod session;
mod verify;
mod web;

mod listener;

pub(crate) use authority::Authority;
pub(crate) use error::ListenError;
pub(crate) use limits::Limits;
pub(crate) use listener::{Listener, Options};
pub(crate) use service::{Backup, Begun, Finished, Reader, Service};

#[cfg(test)]
mod tests;
