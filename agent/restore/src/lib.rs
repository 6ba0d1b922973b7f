//! Writing a point back to a filesystem, safely and fast.
//!
//! A restore plans first and acts then: what is in the way is found before anything is written. The point is
//! treated as hostile: everything happens below the target through descriptors of directories, no symbolic link is
//! followed, links are made last, and attributes are set through descriptors.
//!
//! Three kinds of thread share the work. The *walk* reads the point and cuts it into batches; the *workers* fetch the
//! chunks of a batch in pool order; the *writer* makes directories and files, in directory order, because creating
//! files is what a restore waits for and two threads in one directory only fight over its lock. What was written goes to
//! the drive meanwhile, so that little is left of the sync at the end.
//!
//! Every byte is checked against its name: by the [`Archive`](model::archive::Archive) that gives it out, and with
//! [`Request::naming`] on this machine. Content that cannot be had is a [`Problem`]:
//! the file is not left looking whole, and the other files go on.
//!
//! A restore that was broken off leaves a marker (`.keepfast-restore`) in the target. The same request then goes on:
//! what is complete counts as done, and a file that is a beginning of the stored one is completed, because replacing
//! it loses nothing. Nothing else that exists is replaced without [`Overwrite::Differing`].
//!
//! What it deliberately does not do: it does not undo a restore that was broken off, and it does not protect
//! against others who write into the same directories meanwhile beyond never leaving the target.

mod attributes;
mod batch;
mod batcher;
mod beneath;
mod compare;
mod content;
mod directories;
mod error;
mod failure;
mod fetch;
mod fill;
mod finish;
mod items;
mod job;
mod local;
mod marker;
mod others;
mod plan;
mod ranges;
mod remove;
mod request;
mod run;
mod selection;
mod stream;
mod walk;
mod write;
mod write_out;
mod xattrs;

pub use error::RestoreError;
pub use request::{Naming, Outcome, Overwrite, Problem, Progress, Request};
pub use run::restore;
