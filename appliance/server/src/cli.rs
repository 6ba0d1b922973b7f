//! The command line: raw arguments, and what each command needs.

pub(crate) mod drive;
pub(crate) mod lifeboat;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use model::Place;
use terminal::{EXIT_CODES, RestoreArgs};

/// What to do first, for the help of the program.
const FIRST_STEPS: &str = "First steps:
  keepfast serve --data /srv/keepfast --listen 0.0.0.0:7443    note the recovery key
  keepfast token create laptop --allow-restore                 prints a token, good for 15 minutes
  keepfast-agent join TOKEN                                    on the machine itself
  keepfast-agent source add home /home
  keepfast-agent backup home
  keepfast points                                              on the appliance again
  keepfast restore laptop/home@1h-ago:/home/me --to /tmp/me

Environment:
  KEEPFAST_DATA          data directory, where --data is not given
  KEEPFAST_PASSPHRASE    opens the pool instead of DIR/keepfast.key
  KEEPFAST_RECOVERY_KEY  opens the pool when everything else is lost
  KEEPFAST_LOG           what is logged to standard error, such as info or warn

Exit codes:
  0  done
  1  failed; the last line says why and what to do
  2  the command line is wrong
  3  done with exceptions, which were listed";

/// Examples of restores.
const RESTORES: &str = "Examples:
  keepfast restore web1/etc --to /tmp/etc                             the newest point
  keepfast restore web1/etc@2h-ago:/etc/nginx --to /tmp/nginx         one directory
  keepfast restore web1/etc --path /etc/hosts --path /etc/ssh --to /tmp/some
  keepfast restore web1/etc@2026-11-20T10-32-11Z --to / --overwrite   in place";

/// How a place is written, for the help of every command that takes one.
const PLACES: &str = "Places:
  MACHINE/SOURCE               the newest point
  MACHINE/SOURCE@WHEN          another one
  MACHINE/SOURCE@WHEN:/a/path  something in it

  WHEN is one of
    latest                     the newest point
    2026-11-20T10:32:11.5Z     the newest that was finished by then; any RFC 3339 instant
    90s-ago 5m-ago 2h-ago 3d-ago 1w-ago
    seq:1485                   the newest that ends at or before this sequence number
    2026-11-20T10-32-11Z       exactly this one, as `keepfast points` lists it";

/// How rules of retention are written.
const RULES: &str = "Rules:
  last=7                        the last seven points
  hourly=24 daily=30 weekly=8   the newest point of each of the last hours, days, weeks
  monthly=12 yearly=all         and of months and years; all is a count, too
  floor-points=3 floor-age=14d  never fewer than three points, nothing younger than 14 days: not even when room is short
  quota=500GiB                  most bytes of the source";

/// The appliance of Keepfast: keeps machines as they were, and gives them back.
///
/// One program runs on the appliance (`keepfast serve`) and owns the pool in DIR/pool. All other commands talk to it, or
/// open the pool themselves if it does not run; they need to read DIR, so they are for its operator.
#[derive(Parser)]
#[command(name = "keepfast", version, after_help = EXIT_CODES, after_long_help = FIRST_STEPS, arg_required_else_help = true)]
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
    ///
    /// A token carries where the appliance is, how to know it, and a secret. Whoever has it can join as the machine it
    /// was made for, so it is given to that machine and nobody else.
    #[command(subcommand)]
    Token(TokenCommand),
    /// List or shut out machines
    ///
    /// The columns are the machine, whether its agent may connect, whose points it may read, and when it joined. An agent
    /// that was shut out joins again with a new token; its points stay.
    Machines {
        #[command(flatten)]
        listing: Listing,
        /// Shut the agent of this machine out, at once
        #[arg(long, value_name = "MACHINE")]
        revoke: Option<String>,
    },
    /// List sources
    ///
    /// The columns are the machine, the source, how many points it has, and the newest of them.
    Sources(Listing),
    /// List recovery points
    ///
    /// Oldest first. Every point is complete in itself, whichever others there are. The columns are the source, the id of
    /// the point, the sequence number of its last operation, its files, their bytes, how many entries could not be
    /// read, and how much of it is known to be damaged (`--json` has more).
    Points {
        #[command(flatten)]
        listing: Listing,
        /// Only those of this source, MACHINE/SOURCE
        source: Option<String>,
    },
    /// List a directory of a point
    ///
    /// The columns are those of `ls -l`: kind and mode, owner, group, size, time, name. A path that is no directory is
    /// listed itself.
    #[command(after_long_help = PLACES)]
    Ls {
        /// `MACHINE/SOURCE@WHEN[:PATH]`
        #[arg(value_parser = terminal::place())]
        place: Place,
        #[command(flatten)]
        listing: Listing,
    },
    /// Write a file of a point to standard output
    ///
    /// What cannot be read is an error; zeros are written only for holes that the file had.
    #[command(after_long_help = PLACES)]
    Cat {
        /// `MACHINE/SOURCE@WHEN:PATH`
        #[arg(value_parser = terminal::place())]
        place: Place,
        #[command(flatten)]
        data: Data,
    },
    /// Show what differs between two points of a source
    ///
    /// One line for each entry that was added, removed, changed or renamed, with the path that it had before if that was
    /// another. It takes as long as there are differences and directories, not as there are bytes.
    #[command(after_long_help = PLACES)]
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
    /// Show all points as folders, until stopped
    ///
    /// MACHINE/SOURCE/points/ID/... is every point, MACHINE/SOURCE/latest a link to the newest of them, and in
    /// MACHINE/SOURCE/at/ any moment can be looked up: at/5m-ago, at/2026-11-20T10:32:11.5Z, at/seq:1485. New points appear
    /// by themselves. Bytes that are damaged are an error at exactly these bytes, never zeros. Ctrl-C unmounts, and so
    /// does `umount`.
    Mount {
        /// Empty directory to mount on
        directory: PathBuf,
        #[command(flatten)]
        data: Data,
    },
    /// Restore a point below a directory
    ///
    /// The tree of the point is made in DIR, with the paths that it had: /etc/hosts of the machine becomes
    /// DIR/etc/hosts. Every byte is checked against the name that its agent gave it. Nothing that exists is touched
    /// without --overwrite; with it, only what differs is written. A restore that was broken off goes on where it was
    /// when it is asked for again.
    #[command(after_help = EXIT_CODES, after_long_help = format!("{RESTORES}\n\n{PLACES}\n\n{EXIT_CODES}"))]
    Restore {
        /// `MACHINE/SOURCE@WHEN[:PATH]`
        #[arg(value_parser = terminal::place())]
        place: Place,
        #[command(flatten)]
        args: RestoreArgs,
        #[command(flatten)]
        data: Data,
    },
    /// Read the drives of a dead appliance
    ///
    /// One drive is enough for all that it holds; of a pool on several drives, those that are left are read as one. Nothing
    /// on them is changed, so they can be mounted read-only, and should be. Every byte is checked as ever. No appliance
    /// is needed, and none may be running on them.
    Lifeboat(lifeboat::Lifeboat),
    /// Show what would go, what stays, and why
    ///
    /// Points go by what `keepfast retention` says, and when room is short. This shows what the appliance does next, or what
    /// it would do if other rules held for a source; nothing is changed.
    #[command(after_long_help = RULES)]
    Plan {
        /// MACHINE/SOURCE for which other rules are tried
        source: Option<String>,
        /// These rules, such as daily=30 weekly=8 floor-age=14d; none for what is kept by default
        rules: Vec<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Foretell how far back points will reach, and when the pool is full
    ///
    /// By what was measured of each source while the appliance ran, played forward for two years. A source tells
    /// something once it has two points that are a day apart.
    Forecast {
        /// And what admitting another source of this size would mean
        #[arg(long, value_name = "SIZE")]
        admit: Option<String>,
        /// What it would bring each day, such as 2GiB/day; else as much for its size as the others
        #[arg(long, value_name = "SIZE/day", requires = "admit")]
        change: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Say what is kept
    #[command(subcommand)]
    Retention(RetentionCommand),
    /// Keep a point whatever retention says, or end that
    #[command(after_long_help = PLACES)]
    Hold {
        /// MACHINE/SOURCE@WHEN
        #[arg(value_parser = terminal::place())]
        place: Place,
        /// For reasons of law
        #[arg(long)]
        legal: bool,
        /// End it
        #[arg(long)]
        release: bool,
        #[command(flatten)]
        data: Data,
    },
    /// Play a policy forward, day by day
    ///
    /// For one source of the size given, on a pool of its own. Nothing is asked of the appliance.
    #[command(after_long_help = RULES)]
    Simulate(Simulate),
    /// Look after the drives of the pool
    #[command(subcommand, after_long_help = drive::EXAMPLES)]
    Drive(drive::DriveCommand),
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
pub(crate) enum RetentionCommand {
    /// Show the bounds of the pool and what is kept of every source
    Show(Listing),
    /// Say what is kept of a source
    ///
    /// Without rules: what is kept by default, which is every point for as long as there is room.
    #[command(after_long_help = RULES)]
    Set {
        /// MACHINE/SOURCE
        source: String,
        /// Such as daily=30 weekly=8 floor-age=14d
        rules: Vec<String>,
        #[command(flatten)]
        data: Data,
    },
    /// Bound the pool as a whole
    ///
    /// Above `high` points go, cheapest first, until `low` is reached; at the capacity nothing more is taken. Without
    /// rules: all that the drive has, 90% and 85%.
    Bounds {
        /// Such as capacity=2TiB high=90% low=85% points=10000
        rules: Vec<String>,
        #[command(flatten)]
        data: Data,
    },
    /// Say that the clock of the appliance is right
    ///
    /// After the clock has jumped, nothing goes until somebody has looked at it.
    ConfirmClock(Data),
}

/// What is played forward.
#[derive(Args)]
pub(crate) struct Simulate {
    /// What is kept, such as daily=30 weekly=8
    pub(crate) rules: Vec<String>,
    /// How many days
    #[arg(long, default_value_t = 365)]
    pub(crate) days: u32,
    /// Bytes of the first backup
    #[arg(long, value_name = "SIZE", default_value = "500GiB")]
    pub(crate) first: String,
    /// New bytes of each further backup
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    pub(crate) new: String,
    /// Bytes of earlier backups that each further backup replaces
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub(crate) replaced: String,
    /// Backups a day
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub(crate) backups: u32,
    /// Bytes that the pool may take
    #[arg(long, value_name = "SIZE", default_value = "2TiB")]
    pub(crate) capacity: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for a machine; it can be used once, within 15 minutes
    ///
    /// The token alone is printed to standard output. A machine that has an agent gets another one: the old agent is shut
    /// out when the new one joins.
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
    ///
    /// How much is stored and in how many pieces, how many points of how many sources it holds, and what was found
    /// damaged when the pool was opened.
    Status(Listing),
    /// Read and check everything, or one point
    ///
    /// Reads every chunk and page that a point needs, opens it, and compares it with its name. What is damaged is listed
    /// with the points that need it, and makes the exit code 1. The appliance goes on working meanwhile.
    Verify {
        /// Only this point, MACHINE/SOURCE@WHEN
        #[arg(value_parser = terminal::place())]
        place: Option<Place>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Count what refers to what anew, and compare it with the catalog
    ///
    /// They agree, or there is an error in Keepfast or damage that nobody has noticed: then the exit code is 1. The
    /// appliance waits meanwhile.
    Audit(Listing),
    /// Throw the catalog away and make it anew from the segments; the appliance must not run
    ///
    /// The catalog is an index: all that counts is in the segments. A damaged catalog is noticed and made anew by itself;
    /// this is for doubts.
    RebuildCatalog(Data),
}
