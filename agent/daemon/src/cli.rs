//! The command line of the agent.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use model::Place;
use terminal::{EXIT_CODES, RestoreArgs};

/// What to do first, for the help of the program.
const FIRST_STEPS: &str = "First steps:
  keepfast-agent join TOKEN                                 from `keepfast token create`
  keepfast-agent source add home /home --exclude '*.tmp' --every 60
  keepfast-agent backup home                                now
  keepfast-agent run                                        by schedule, until stopped
  keepfast-agent points
  keepfast-agent restore home@2h-ago:/home/me --to /tmp/me

Places:
  NAME                       the newest point of a source of this machine
  NAME@WHEN[:PATH]           WHEN is latest, an instant such as 2026-11-20T10:32:11Z, 5m-ago,
                             seq:1485 or the id of a point; PATH is something in it
  MACHINE/NAME@WHEN[:PATH]   of another machine, if the token was made with --allow-restore=MACHINE

Environment:
  KEEPFAST_AGENT_DATA  data directory, where --data is not given
  KEEPFAST_LOG         what is logged to standard error, such as info or debug

Exit codes:
  0  done
  1  failed; the last line says why and what to do
  2  the command line is wrong
  3  done with exceptions, which were listed";

/// Keepfast's agent on a protected machine.
///
/// It reads what it is told to protect and sends what the appliance does not have. It has no way to change or remove a
/// point. Run it as root if everything is to be read.
#[derive(Parser)]
#[command(name = "keepfast-agent", version, after_help = EXIT_CODES, after_long_help = FIRST_STEPS, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Data directory of the agent
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "KEEPFAST_AGENT_DATA",
        default_value = "/var/lib/keepfast-agent"
    )]
    pub(crate) data: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Join an appliance with a token of its operator
    ///
    /// Makes a key that never leaves this machine, and has the appliance sign it. The token says where the appliance is
    /// and how to know it; a token works once.
    Join {
        /// What `keepfast token create` printed
        token: String,
        /// Where the appliance is, instead of what the token says
        #[arg(long, value_name = "HOST:PORT")]
        connect: Option<String>,
    },
    /// Say what is protected
    #[command(subcommand)]
    Source(SourceCommand),
    /// Back sources up now
    ///
    /// Reads what changed since the last point (by size, inode, and times of the last changes), sends what the appliance
    /// does not have, and makes a point. What vanishes, changes while it is read, or cannot be read is an exception of
    /// the point and makes the exit code 3. A backup that is broken off, by Ctrl-C too, goes on from there the next time.
    /// On a terminal a bar shows how far it is; elsewhere every line is a JSON object.
    #[command(after_help = EXIT_CODES)]
    Backup {
        /// Which; all of them without a name
        names: Vec<String>,
        /// Print JSON lines, also on a terminal
        #[arg(long)]
        json: bool,
        /// Print one line in words for each source, also where no terminal is
        #[arg(long, conflicts_with = "json")]
        plain: bool,
    },
    /// Back sources up by their schedules until stopped
    ///
    /// Sources with --every begin at once, those with --cron at their time. What is added, changed or removed meanwhile
    /// is taken in. A backup that fails is told on standard error and comes again at its next time.
    Run,
    /// List the points of this machine's sources
    ///
    /// Oldest first. The columns are the source, the id of the point, the sequence number of its last operation, its
    /// files, their bytes, and how many entries could not be read. The token must have been made with --allow-restore.
    Points {
        /// Only those of this source
        name: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List a directory of a point
    ///
    /// The columns are those of `ls -l`: kind and mode, owner, group, size, time, name. A path that is no directory is
    /// listed itself. The token must have been made with --allow-restore.
    Ls {
        /// `NAME@WHEN[:PATH]`, or `MACHINE/NAME@WHEN[:PATH]` with a grant for that machine
        #[arg(value_parser = terminal::place())]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Restore a point below a directory
    ///
    /// The tree of the point is made in DIR, with the paths that it had: /etc/hosts of the machine becomes DIR/etc/hosts.
    /// Every byte is checked against its name. Nothing that exists is touched without --overwrite; with it, only what
    /// differs is written. A restore that was broken off goes on where it was when it is asked for again. The token
    /// must have been made with --allow-restore.
    #[command(after_help = EXIT_CODES)]
    Restore {
        /// `NAME@WHEN[:PATH]`, or `MACHINE/NAME@WHEN[:PATH]` with a grant for that machine
        #[arg(value_parser = terminal::place())]
        place: Place,
        #[command(flatten)]
        args: RestoreArgs,
    },
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
pub(crate) enum SourceCommand {
    /// Protect directories and files under a name
    ///
    /// Directories that hold a CACHEDIR.TAG are left out, as are the agent's own data and what --exclude matches, with
    /// the rules of a .gitignore at /: a pattern with a slash is a path, one without matches at any depth, `!` takes
    /// back. All filesystems below a path are read unless --one-filesystem is given, except those that the kernel makes
    /// up, such as /proc, and points that are mounted. Links are kept as links: what they lead to is protected where
    /// it is.
    Add {
        /// Name of the source
        name: String,
        /// Absolute paths
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Leave out what this pattern matches, as in a .gitignore at /; may be given more than once
        #[arg(long, value_name = "GLOB")]
        exclude: Vec<String>,
        /// Cut files that this pattern matches in fixed blocks: disk images, databases
        #[arg(long, value_name = "GLOB")]
        image: Vec<String>,
        /// Stay on the filesystem of each path
        #[arg(long)]
        one_filesystem: bool,
        /// Back up every so many minutes
        #[arg(long, value_name = "MINUTES", conflicts_with = "cron")]
        every: Option<u64>,
        /// Back up by a cron pattern, in the machine's time
        #[arg(long, value_name = "PATTERN")]
        cron: Option<String>,
    },
    /// List what is protected
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Protect a source no more; its points stay on the appliance
    Remove {
        /// Name of the source
        name: String,
    },
}
