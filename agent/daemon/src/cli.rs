//! The command line of the agent.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use model::Place;
use terminal::{EXIT_CODES, RestoreArgs};

/// Keepfast's agent on a protected machine.
#[derive(Parser)]
#[command(name = "keepfast-agent", version, after_help = EXIT_CODES, arg_required_else_help = true)]
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
    Run,
    /// List the points of this machine's sources
    Points {
        /// Only those of this source
        name: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List a directory of a point
    Ls {
        /// `NAME@WHEN[:PATH]` or `MACHINE/NAME@WHEN[:PATH]`; WHEN is latest, an instant, 5m-ago, seq:N or a point id
        #[arg(value_parser = terminal::place())]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Restore a point below a directory
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
