//! What a pool of millions of chunks costs, on a real drive, and what it costs to fold a point of it:
//! `cargo run --release --package throughput -- fill FOLDER 10000000`, and the other phases likewise.
//!
//! Chunks are a few bytes each, because a catalog knows their names and places and not what is in them. Each phase is a
//! process of its own, so that its memory is its own, and one is killed in its middle: what comes after it opens what a
//! crash leaves. Every phase prints its figures as a line of JSON.

#![expect(clippy::print_stdout, reason = "figures go to standard output")]

mod figures;
mod filling;
mod folding;
mod looking;
mod site;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures a pool of millions of chunks.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    phase: Phase,
}

#[derive(Subcommand)]
enum Phase {
    /// Makes a pool of so many chunks, each of which a point refers to, and lets it go in the middle of a backup.
    Fill {
        /// Where the pool is to be: an empty folder.
        folder: PathBuf,
        /// How many.
        chunks: u64,
    },
    /// Makes a pool of so many chunks and a thousand points, and says what it costs to fold some.
    Fold {
        /// Where the pool is to be: an empty folder.
        folder: PathBuf,
        /// How many.
        chunks: u64,
    },
    /// Opens it, and looks for chunks that it has and that it does not have.
    Look {
        /// Where the pool is.
        folder: PathBuf,
        /// How many chunks it was made of.
        chunks: u64,
    },
}

fn main() -> Result<()> {
    match Options::parse().phase {
        Phase::Fill { folder, chunks } => filling::fill(&folder, chunks),
        Phase::Fold { folder, chunks } => folding::fold(&folder, chunks),
        Phase::Look { folder, chunks } => looking::look(&folder, chunks),
    }
}
