//! The command line: raw arguments, and what each command needs.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use model::Place;
use terminal::{EXIT_CODES, RestoreArgs};

/// Keepfast: a backup appliance.
#[derive(Parser)]
#[command(name = "keepfast", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the appliance keeps everything.
#[derive(Args, Clone)]
pub(crate) struct Data {
    /// Data directory of the appliance
    #[arg(long, value_name = "DIR", env = "KEEPFAST_DATA", default_value = "/var/lib/keepfast")]
    pub(crate) data: PathBuf,
}

/// A listing.
#[derive(Args, Clone)]
pub(crate) struct Listing {
    #[command(flatten)]
    pub(crate) data: Data,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the appliance; makes a pool in DIR/pool if there is none
    #[command(after_help = EXIT_CODES, after_long_help = "The pool is opened with DIR/keepfast.key, which is made with it, \
        or with a passphrase in KEEPFAST_PASSPHRASE, or with the recovery key in KEEPFAST_RECOVERY_KEY. The recovery key \
        is printed once, when the pool is made: keep it away from the appliance.")]
    Serve {
        #[command(flatten)]
        data: Data,
        /// Address and port to listen on
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7443")]
        listen: Vec<SocketAddr>,
        /// Address that agents are told, HOST:PORT; else the one listened on
        #[arg(long, value_name = "HOST:PORT")]
        announce: Vec<String>,
    },
    /// Make the tokens with which agents join
    #[command(subcommand)]
    Token(TokenCommand),
    /// List or shut out machines
    Machines {
        #[command(flatten)]
        listing: Listing,
        /// Shut the agent of this machine out, at once
        #[arg(long, value_name = "MACHINE")]
        revoke: Option<String>,
    },
    /// List sources
    Sources(Listing),
    /// List recovery points
    Points {
        #[command(flatten)]
        listing: Listing,
        /// Only those of this source, MACHINE/SOURCE
        source: Option<String>,
    },
    /// List a directory of a point
    Ls {
        /// `MACHINE/SOURCE@WHEN[:PATH]`; WHEN is latest, an instant, 5m-ago, seq:N or a point id
        #[arg(value_parser = terminal::place())]
        place: Place,
        #[command(flatten)]
        listing: Listing,
    },
    /// Write a file of a point to standard output
    Cat {
        /// MACHINE/SOURCE@WHEN:PATH
        #[arg(value_parser = terminal::place())]
        place: Place,
        #[command(flatten)]
        data: Data,
    },
    /// Show what differs between two points of a source
    Diff {
        /// MACHINE/SOURCE@A
        #[arg(value_parser = terminal::place())]
        before: Place,
        /// MACHINE/SOURCE@B
        #[arg(value_parser = terminal::place())]
        after: Place,
        #[command(flatten)]
        listing: Listing,
    },
    /// Restore a point below a directory
    Restore {
        /// `MACHINE/SOURCE@WHEN[:PATH]`
        #[arg(value_parser = terminal::place())]
        place: Place,
        #[command(flatten)]
        args: RestoreArgs,
        #[command(flatten)]
        data: Data,
    },
    /// Look after the pool
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(hide = true)]
    Manual,
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for a machine; it can be used once, within 15 minutes
    Create {
        /// Name of the machine; made if it is new
        machine: String,
        #[command(flatten)]
        listing: Listing,
        /// Let the agent read points: its own, and those of the machines named (`all` for everybody's)
        #[arg(long, value_name = "MACHINE,...", num_args = 0..=1, default_missing_value = "", require_equals = true)]
        allow_restore: Option<String>,
        /// Give a new machine chunk names of its own: its data is not shared with others
        #[arg(long)]
        own_domain: bool,
        /// Where the agent will find the appliance
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
    },
}

#[derive(Subcommand)]
pub(crate) enum PoolCommand {
    /// Show the pool in figures
    Status(Listing),
    /// Read and check everything, or one point
    Verify {
        /// Only this point, MACHINE/SOURCE@WHEN
        #[arg(value_parser = terminal::place())]
        place: Option<Place>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Throw the catalog away and make it anew from the segments; the appliance must not run
    RebuildCatalog(Data),
}
