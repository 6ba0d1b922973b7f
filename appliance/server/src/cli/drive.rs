//! The arguments of `keepfast drive`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Data, Listing};

/// How drives are used.
pub(super) const EXAMPLES: &str = "Examples:
  keepfast drive add /mnt/b --copies 2      a directory on another drive; everything is kept twice from here on
  keepfast drive add /dev/sdc               a whole disk: shows what is on it, and asks for its serial number
  keepfast drive add /mnt/d --parity 4+2    with six drives, any two of them may be lost
  keepfast drive list
  keepfast drive replace 5b1c /dev/sdd      what 5b1c... holds goes to the others, then it can be taken out
  keepfast drive policy parity=4+2          keeps everything so from here on, what is there already too
  keepfast drive policy copies=3 --source web1/ledger
                                            this source is kept on three drives, whatever the rest is
  keepfast drive rejoin /mnt/b              after it was away and has been mounted anew";

/// What becomes a drive.
#[derive(Args)]
pub(crate) struct Newcomer {
    /// Empty directory on a filesystem of its own, or a whole disk such as /dev/sdb
    #[arg(value_name = "DIR|DISK")]
    pub(crate) path: PathBuf,
    /// What the plan asks for, instead of asking: the serial number of the disk, or the code of the plan
    #[arg(long, value_name = "SERIAL|CODE")]
    pub(crate) confirm: Option<String>,
    /// What is on the disk may be lost; a directory may be shared with others
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Subcommand)]
pub(crate) enum DriveCommand {
    /// Take a drive into service
    ///
    /// The first one that is added is the second drive of the pool: DIR/pool stays where it is as the first. A whole disk
    /// is partitioned, formatted with XFS, labelled and mounted by the appliance. What holds something of a pool is
    /// refused.
    #[command(after_long_help = EXAMPLES)]
    Add {
        #[command(flatten)]
        newcomer: Newcomer,
        /// Keep everything on so many drives; 2, if nothing is said when the pool gets its second drive
        #[arg(long, value_name = "NUMBER", conflicts_with = "parity")]
        copies: Option<u8>,
        /// Keep parity over segments: of K+M drives any M may be lost
        #[arg(long, value_name = "K+M")]
        parity: Option<String>,
        #[command(flatten)]
        data: Data,
    },
    /// List drives
    ///
    /// The columns are the drive, what it is to the pool, its capacity, what is free, its segments, those of them with too
    /// few copies, errors, where it is, and why it is not used. Sources that are kept otherwise than the rest come
    /// after them. The exit code is 3 if something has too few copies, or may have, or a
    /// drive is not in service.
    List(Listing),
    /// Move what a drive holds to the others, then let go of it
    Retire {
        /// The beginning of its UUID
        drive: String,
        #[command(flatten)]
        data: Data,
    },
    /// Put another drive in the place of one
    Replace {
        /// The beginning of the UUID of the one that goes
        drive: String,
        #[command(flatten)]
        newcomer: Newcomer,
        #[command(flatten)]
        data: Data,
    },
    /// Take a drive back that was out
    ///
    /// It must have been mounted anew since it fell out; the appliance does that itself for a whole disk. Nothing it holds
    /// is read before it was compared with the others.
    Rejoin {
        /// Where it is mounted, or the disk
        #[arg(value_name = "DIR|DISK")]
        path: PathBuf,
        #[command(flatten)]
        data: Data,
    },
    /// Show which disk in the rack a drive is, by its LED
    Locate {
        /// The beginning of its UUID, or a disk
        #[arg(value_name = "UUID|DISK")]
        drive: String,
        /// For so many seconds
        #[arg(long, value_name = "NUMBER", default_value_t = 30)]
        seconds: u64,
        #[command(flatten)]
        data: Data,
    },
    /// Keep what is stored another way
    ///
    /// What a source has can be kept otherwise than the rest: more safely, or with less room. What others have as well is
    /// kept as safely as any of them asks for. What is there already is copied, or gets parity, while the appliance runs.
    Policy {
        /// copies=2, or parity=4+2; with --source also pool, which is as the pool is kept
        policy: String,
        /// Only of what this source has
        #[arg(long, value_name = "MACHINE/SOURCE")]
        source: Option<String>,
        #[command(flatten)]
        data: Data,
    },
}
