//! `keepfast-agent source add|list|remove`.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use model::Escaped;
use model::record::Label;
use serde_json::json;
use terminal::{Column, Done};

use crate::cli::SourceCommand;
use crate::commands::schedule;
use crate::config::{Config, Source};

pub(crate) fn run(data: &Path, command: SourceCommand) -> anyhow::Result<Done> {
    let mut config = Config::load(data)?;
    match command {
        SourceCommand::Add { name, paths, exclude, image, one_filesystem, every, cron } => {
            Label::new(&name)?;
            if config.sources.iter().any(|source| source.name == name) {
                bail!("there is a source {name} already; remove it first, its points stay");
            }
            let absolute = |path: &PathBuf| {
                std::path::absolute(path).with_context(|| format!("find {}", path.display()))
            };
            let paths = paths.iter().map(absolute).collect::<anyhow::Result<Vec<_>>>()?;
            if let Some(missing) = paths.iter().find(|path| path.symlink_metadata().is_err()) {
                bail!("{} does not exist or cannot be reached", missing.display());
            }
            paths.iter().try_for_each(|path| refuse_link(path))?;
            if every == Some(0) {
                bail!("--every needs at least one minute");
            }
            let every_minutes = every;
            let source =
                Source { name, paths, excludes: exclude, images: image, one_filesystem, every_minutes, cron };
            source.scan(data)?.check()?;
            schedule::next(&source, &jiff::Zoned::now())?;
            config.sources.push(source);
            config.store(data)?;
        }
        SourceCommand::List { json } => list(&config, json)?,
        SourceCommand::Remove { name } => {
            let before = config.sources.len();
            config.sources.retain(|source| source.name != name);
            if config.sources.len() == before {
                bail!("there is no source {name}");
            }
            config.store(data)?;
            capture::Cache::new(&data.join("cache")).forget(&Label::new(&name)?)?;
        }
    }
    Ok(Done::Whole)
}

/// Links are kept as links, so a link to a directory protects nothing of what is in it.
fn refuse_link(path: &Path) -> anyhow::Result<()> {
    let is_link = path.symlink_metadata().is_ok_and(|data| data.is_symlink());
    if is_link && path.is_dir() {
        let target = path.canonicalize().with_context(|| format!("follow {}", path.display()))?;
        bail!(
            "{} is a link, which is not followed; protect the directory that it leads to: {}",
            path.display(),
            target.display()
        );
    }
    Ok(())
}

fn list(config: &Config, json: bool) -> anyhow::Result<()> {
    let escaped = |path: &PathBuf| Escaped(path.as_os_str().as_bytes()).to_string();
    let row = |source: &Source| {
        let schedule = match (&source.cron, source.every_minutes) {
            (Some(cron), _) => format!("cron {cron}"),
            (None, Some(minutes)) => format!("every {minutes} minutes"),
            (None, None) => "by hand".into(),
        };
        let paths: Vec<String> = source.paths.iter().map(escaped).collect();
        json!({
            "source": source.name,
            "schedule": schedule,
            "every_minutes": source.every_minutes,
            "cron": source.cron,
            "paths": paths,
            "where": paths.join(" "),
            "excludes": source.excludes,
            "images": source.images,
            "one_filesystem": source.one_filesystem,
        })
    };
    let rows: Vec<_> = config.sources.iter().map(row).collect();
    let paths = Column { title: "paths", field: "where" };
    terminal::print(json, &[Column::of("source"), Column::of("schedule"), paths], &rows)?;
    Ok(())
}
