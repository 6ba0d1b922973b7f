//! The yardsticks: a plain copy, a compressed archive, and other programs for backups, each by its shell commands.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use super::contender::{Contender, Place, Session, inside};
use super::cost::{self, Cost, Step};
use super::mounted;
use crate::process::{Interruption, command, run};
use crate::system;

/// Another way to protect files. In commands, `{source}`, `{repository}`, `{state}`, `{output}`, `{mount}`, `{file}`
/// stand for the folders of a [`Place`], and `{point}` for the name of the newest point.
pub(crate) struct Peer {
    name: &'static str,
    needs: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    prepare: &'static str,
    backup: &'static str,
    restore: &'static str,
    one_file: OneFile,
    /// Lets all points go but the newest, and frees their room.
    forget: Option<&'static str>,
    /// Whether it has backups that build on one another.
    incremental: bool,
    /// Whether what it restores begins with the absolute path of the source.
    absolute: bool,
    /// Whether what it stores are files like those of the source.
    plain: bool,
}

enum OneFile {
    /// By a mount, and where the root of the newest point is in it.
    Mounted(&'static str, &'static str),
    /// By a command that prints it.
    Printed(&'static str),
    /// It is there anyway, or takes a full restore.
    None,
}

const PEERS: [Peer; 7] = [
    Peer {
        name: "cp",
        needs: &["cp"],
        variables: &[],
        prepare: "true",
        backup: "cp -a {source} {repository}/{point}",
        restore: "cp -a {repository}/{point} {output}",
        one_file: OneFile::None,
        forget: None,
        incremental: false,
        absolute: false,
        plain: true,
    },
    Peer {
        name: "tar-zstd",
        needs: &["tar", "zstd"],
        variables: &[],
        prepare: "true",
        backup: "tar -C {source} -cf - . | zstd -q -1 -T2 -o {repository}/{point}.tar.zst",
        restore: "mkdir {output} && zstd -q -dc {repository}/{point}.tar.zst | tar -C {output} -xf -",
        one_file: OneFile::None,
        forget: None,
        incremental: false,
        absolute: false,
        plain: false,
    },
    Peer {
        name: "restic",
        needs: &["restic"],
        variables: &[
            ("RESTIC_REPOSITORY", "{repository}"),
            ("RESTIC_PASSWORD", "bench"),
            ("RESTIC_CACHE_DIR", "{state}/cache"),
        ],
        prepare: "restic init -q",
        backup: "restic backup -q {source}",
        restore: "restic restore -q latest --target {output}",
        one_file: OneFile::Mounted("exec restic mount {mount}", "snapshots/latest"),
        forget: Some("restic forget -q --keep-last 1 --prune"),
        incremental: true,
        absolute: true,
        plain: false,
    },
    Peer {
        name: "borg",
        needs: &["borg"],
        variables: &[
            ("BORG_REPO", "{repository}"),
            ("BORG_PASSPHRASE", "bench"),
            ("BORG_BASE_DIR", "{state}"),
            ("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes"),
        ],
        prepare: "borg init --encryption repokey-blake2",
        backup: "borg create --compression zstd,1 ::{point} {source}",
        restore: "mkdir {output} && cd {output} && borg extract ::{point}",
        // Its mount needs a Python module that Debian's package only suggests.
        one_file: OneFile::Printed("borg extract --stdout ::{point} $(echo {file} | cut -c 2-)"),
        forget: Some("borg prune --keep-last 1 && borg compact"),
        incremental: true,
        absolute: true,
        plain: false,
    },
    Peer {
        name: "rustic",
        needs: &["rustic"],
        variables: &[
            ("RUSTIC_REPOSITORY", "{repository}"),
            ("RUSTIC_PASSWORD", "bench"),
            ("RUSTIC_CACHE_DIR", "{state}/cache"),
            ("RUSTIC_NO_PROGRESS", "true"),
            ("XDG_CONFIG_HOME", "{state}"),
        ],
        prepare: "rustic init",
        backup: "rustic backup {source}",
        restore: "rustic restore latest:{source} {output}",
        one_file: OneFile::Printed("rustic dump latest:{file}"),
        forget: Some("rustic forget --keep-last 1 --prune --instant-delete"),
        incremental: true,
        absolute: false,
        plain: false,
    },
    Peer {
        name: "bupstash",
        needs: &["bupstash"],
        variables: &[("BUPSTASH_REPOSITORY", "{repository}/of-bupstash"), ("BUPSTASH_KEY", "{state}/key")],
        prepare: "bupstash new-key -o {state}/key && bupstash init",
        backup: "bupstash put -q --send-log {state}/log name={point} {source}",
        restore: "mkdir {output} && bupstash restore -q --into {output} name={point}",
        one_file: OneFile::None,
        forget: None,
        incremental: true,
        absolute: false,
        plain: false,
    },
    Peer {
        name: "kopia",
        needs: &["kopia"],
        variables: &[
            ("KOPIA_PASSWORD", "bench"),
            ("KOPIA_CONFIG_PATH", "{state}/kopia.config"),
            ("KOPIA_CACHE_DIRECTORY", "{state}/cache"),
            ("KOPIA_LOG_DIR", "{state}/logs"),
            ("KOPIA_CHECK_FOR_UPDATES", "false"),
        ],
        prepare: "kopia repository create filesystem --path {repository} && \
                  kopia policy set --global --compression zstd-fastest",
        backup: "kopia snapshot create {source}",
        restore: "kopia restore {source} {output}",
        one_file: OneFile::None,
        // What it frees stays for a day at least.
        forget: None,
        incremental: true,
        absolute: false,
        plain: false,
    },
];

/// The peers that this machine has.
pub(crate) fn installed() -> impl Iterator<Item = Peer> {
    PEERS.into_iter().filter(|peer| peer.needs.iter().all(|program| system::program_present(program)))
}

impl Contender for Peer {
    fn name(&self) -> &str {
        self.name
    }

    fn prepare(&self, place: &Place, interruption: &Interruption) -> Result<Session> {
        let mut shell = command("sh", &["-c", &fill(self.prepare, place, "")]);
        self.set_variables(&mut shell, place);
        let finished = run(&mut shell, interruption)?;
        ensure!(finished.status.success(), "{}: {}", self.prepare, finished.complaints.trim());
        Ok(Session(None))
    }

    fn carry_out(
        &self,
        step: Step,
        _: &mut Session,
        place: &Place,
        interruption: &Interruption,
    ) -> Result<Option<Cost>> {
        let newest = point(Step::Changed);
        match step {
            Step::Unchanged | Step::Changed if !self.incremental => Ok(None),
            Step::First | Step::Unchanged | Step::Changed => {
                let mut cost = self.measure(self.backup, place, point(step), interruption)?;
                cost.stored_bytes = cost::room(&place.repository)?;
                Ok(Some(cost))
            }
            Step::Restore => {
                if !self.incremental {
                    // A copy has no points: there is a new one of the changed source, so that all restore the same.
                    self.measure(self.backup, place, newest, interruption)?;
                }
                self.measure(self.restore, place, newest, interruption).map(Some)
            }
            Step::Stream if self.plain => {
                let line = mounted::reading(place, &place.repository.join(newest));
                self.measure(&line, place, newest, interruption).map(Some)
            }
            Step::Stream => Ok(None),
            Step::Forget => {
                let Some(line) = self.forget else { return Ok(None) };
                let mut cost = self.measure(line, place, newest, interruption)?;
                cost.stored_bytes = cost::room(&place.repository)?;
                Ok(Some(cost))
            }
            Step::OneFile => match self.one_file {
                OneFile::None => Ok(None),
                OneFile::Printed(line) => self.measure(line, place, newest, interruption).map(Some),
                OneFile::Mounted(line, root) => {
                    let mut shell = command("sh", &["-c", &fill(line, place, newest)]);
                    self.set_variables(&mut shell, place);
                    let root = place.mount.join(root);
                    mounted::read(&mut shell, place, &inside(&root, &place.file), interruption).map(Some)
                }
            },
        }
    }

    fn restored(&self, place: &Place) -> PathBuf {
        if self.absolute { inside(&place.output, &place.source) } else { place.output.clone() }
    }
}

impl Peer {
    fn measure(&self, line: &str, place: &Place, point: &str, interruption: &Interruption) -> Result<Cost> {
        let line = fill(line, place, point);
        cost::measure("sh", &["-c", &line], |command| self.set_variables(command, place), None, interruption)
    }

    fn set_variables(&self, command: &mut Command, place: &Place) {
        command.envs(self.variables.iter().map(|(name, value)| (*name, fill(value, place, ""))));
    }
}

const fn point(step: Step) -> &'static str {
    match step {
        Step::First => "first",
        Step::Unchanged => "unchanged",
        _ => "changed",
    }
}

fn fill(line: &str, place: &Place, point: &str) -> String {
    let paths = [
        ("{source}", &place.source),
        ("{file}", &place.file),
        ("{repository}", &place.repository),
        ("{state}", &place.state),
        ("{output}", &place.output),
        ("{mount}", &place.mount),
    ];
    let filled = line.replace("{point}", point);
    paths.iter().fold(filled, |line, (name, path)| line.replace(name, &path.display().to_string()))
}
