//! The arguments of `keepfast lifeboat`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use model::Place;
use terminal::{EXIT_CODES, RestoreArgs};

use super::PLACES;

/// What it is for, and how it is used.
const EXAMPLES: &str = "The recovery key comes from KEEPFAST_RECOVERY_KEY, or is asked for. A passphrase in \
KEEPFAST_PASSPHRASE or the key file of the appliance does as well.

Examples:
  mount -o ro /dev/sdb1 /mnt/a
  keepfast lifeboat /mnt/a                             which points there are, and which are whole
  keepfast lifeboat /mnt/a /mnt/b                      what two drives of a pool have together
  keepfast lifeboat /mnt/a ls laptop/home@latest:/home
  keepfast lifeboat /mnt/a restore laptop/home@latest:/home/me --to /tmp/me";

/// The drives of a dead appliance, and what is wanted of them.
#[derive(Args)]
#[command(subcommand_precedence_over_arg = true, after_long_help = format!("{EXAMPLES}\n\n{PLACES}\n\n{EXIT_CODES}"))]
pub(crate) struct Lifeboat {
    /// Where a drive is mounted, or the pool's folder; of several drives that were one pool, as many as there are
    #[arg(required = true, value_name = "DIR")]
    pub(crate) drives: Vec<PathBuf>,
    /// Key file of the appliance, instead of the recovery key
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Folder elsewhere for what finds no room in memory, if the catalog is lost and the pool is large
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// What is wanted; the points, if nothing is said
    #[command(subcommand)]
    pub(crate) command: Option<LifeboatCommand>,
}

#[derive(Subcommand)]
pub(crate) enum LifeboatCommand {
    /// List machines
    Machines {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List sources
    Sources {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List points, and how much each lacks of what it should have
    ///
    /// A point is whole if everything that it needs is there; `verify` reads whether it is sound, too. The exit code is 3
    /// if a point lacks something.
    Points {
        /// Only those of this source, MACHINE/SOURCE
        source: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List a directory of a point
    #[command(after_long_help = PLACES)]
    Ls {
        /// `MACHINE/SOURCE@WHEN[:PATH]`
        #[arg(value_parser = terminal::place())]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a file of a point to standard output
    #[command(after_long_help = PLACES)]
    Cat {
        /// `MACHINE/SOURCE@WHEN:PATH`
        #[arg(value_parser = terminal::place())]
        place: Place,
    },
    /// Restore a point below a directory, as far as it is there
    ///
    /// What is damaged or lacking is listed by path, and makes the exit code 3; everything else is restored.
    #[command(after_help = EXIT_CODES, after_long_help = format!("{PLACES}\n\n{EXIT_CODES}"))]
    Restore {
        /// `MACHINE/SOURCE@WHEN[:PATH]`
        #[arg(value_parser = terminal::place())]
        place: Place,
        #[command(flatten)]
        args: RestoreArgs,
    },
    /// Read and check everything that there is, or one point
    Verify {
        /// Only this point, MACHINE/SOURCE@WHEN
        #[arg(value_parser = terminal::place())]
        place: Option<Place>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}
