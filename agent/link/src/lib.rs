//! The client's end of a connection to the appliance: who we are, whom we trust, requests and flow control.
//!
//! [`join`] makes this machine known with a token; from then on [`Connection::connect`] is enough. A
//! [`Connection`] is blocking outside and can be used by many threads at once: one thread of its own moves the
//! bytes. It never connects again by itself: whoever uses it asks [`Connection::is_broken`] and makes a new one.
//! [`RemoteArchive`] reads points over it and checks every chunk against its name; [`LastingArchive`] does so for as long
//! as a mount stays.
//!
//! The identity is a key pair that stays in the data directory. The appliance is recognised by the pin of its
//! certificate authority, wherever it answers.

mod error;
mod file;

mod identity;
mod settings;
mod verifier;

mod carrier;
mod join;

mod connection;
mod events;
mod pump;
mod state;

mod archive;
mod lasting;

pub use archive::RemoteArchive;
pub use connection::{Connection, Welcome};
pub use error::LinkError;
pub use events::LinkEvent;
pub use identity::Identity;
pub use join::{Joined, join};
pub use lasting::LastingArchive;
pub use settings::Settings;
pub use verifier::public_key_hash;
