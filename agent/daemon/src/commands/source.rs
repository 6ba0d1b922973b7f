//! `keepfast-agent source add|list|remove`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use model::record::Label;

use crate::cli::SourceCommand;
use terminal::Done;

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
            let absolute = |path: &std::path::PathBuf| {
                std::path::absolute(path).with_context(|| format!("find {}", path.display()))
            };
            let paths = paths.iter().map(absolute).collect::<anyhow::Result<Vec<_>>>()?;
            if let Some(missing) = paths.iter().find(|path| path.symlink_metadata().is_err()) {
                bail!("{} does not exist or cannot be reached", missing.display());
            }
            if let Some(pattern) = &cron {
                schedule::parse_cron(pattern)?;
            }
            if every == Some(0) {
                bail!("--every needs at least one minute");
            }
            let every_minutes = every;
            let source =
                Source { name, paths, excludes: exclude, images: image, one_filesystem, every_minutes, cron };
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

fn list(config: &Config, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &config.sources)?;
        writeln!(out)?;
        return Ok(());
    }
    for source in &config.sources {
        let paths: Vec<String> = source.paths.iter().map(|path| path.display().to_string()).collect();
        let schedule = match (&source.cron, source.every_minutes) {
            (Some(cron), _) => format!("cron {cron}"),
            (None, Some(minutes)) => format!("every {minutes} minutes"),
            (None, None) => "by hand".into(),
        };
        writeln!(out, "{}\t{schedule}\t{}", source.name, paths.join(" "))?;
    }
    Ok(())
}
