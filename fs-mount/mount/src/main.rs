//! The program `keepfast-mount`: points of an appliance as folders on another machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use link::{Connection, LastingArchive};
use model::archive::Archive;
use terminal::{Done, EXIT_CODES};

/// What is seen, for the help of the program.
const FOLDERS: &str = "What is seen:
  MACHINE/SOURCE/points/2026-11-20T10-32-11Z/...  every point
  MACHINE/SOURCE/latest                           a link to the newest of them
  MACHINE/SOURCE/at/WHEN                          a link to the newest that was there then;
                                                  any WHEN can be looked up:
                                                  2026-11-20T10:32:11.5Z, 5m-ago, 3d-ago, seq:1485

Examples:
  keepfast-mount --connect backup.lan:7443 /mnt
  cp /mnt/laptop/home/at/2h-ago/home/me/letter.txt .

Exit codes:
  0  done
  1  failed; the last line says why and what to do
  2  the command line is wrong";

/// Shows the points of an appliance as folders, until stopped.
///
/// It speaks as the agent whose data directory it is given, and shows what that agent may restore: `keepfast token
/// create MACHINE --allow-restore` on the appliance lets it read its own points, --allow-restore=OTHER those of others.
/// New points appear by themselves, and a connection that breaks is made anew. Bytes that are damaged are an error at
/// exactly these bytes, never zeros.
#[derive(Parser)]
#[command(name = "keepfast-mount", version, after_help = EXIT_CODES, after_long_help = FOLDERS)]
struct Cli {
    /// Where the appliance is, instead of where the agent joined it
    #[arg(long, value_name = "HOST:PORT")]
    connect: Vec<String>,
    /// Data directory of the agent
    #[arg(long, value_name = "DIR", env = "KEEPFAST_AGENT_DATA", default_value = "/var/lib/keepfast-agent")]
    data: PathBuf,
    /// Print completions for a shell and end
    #[arg(long, value_name = "SHELL", exclusive = true)]
    completions: Option<clap_complete::Shell>,
    /// Empty directory to mount on
    #[arg(required_unless_present = "completions")]
    directory: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    terminal::begin_log("info,fuser=error");
    let result = match (cli.completions, cli.directory) {
        (None, Some(directory)) => mount(cli.data, cli.connect, &directory),
        (shell, _) => {
            let shell = shell.unwrap_or(clap_complete::Shell::Bash);
            clap_complete::generate(shell, &mut Cli::command(), "keepfast-mount", &mut std::io::stdout());
            Ok(Done::Whole)
        }
    };
    terminal::end("keepfast-mount", result)
}

fn mount(data: PathBuf, addresses: Vec<String>, directory: &Path) -> anyhow::Result<Done> {
    let connect = move || match addresses.as_slice() {
        [] => Connection::connect(&data),
        addresses => Connection::connect_to(&data, addresses),
    };
    let archive = LastingArchive::connect(connect)?;
    if archive.machines()?.is_empty() {
        anyhow::bail!(
            "this agent may not read points; the operator allows it with `keepfast token create MACHINE \
             --allow-restore`, and the agent joins again with that token"
        );
    }
    fuse::show(Arc::new(archive), directory, &*terminal::stop_flag()?)?;
    Ok(Done::Whole)
}
