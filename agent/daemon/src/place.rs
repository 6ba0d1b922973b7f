//! `NAME@WHEN[:PATH]`, or `MACHINE/NAME@WHEN[:PATH]`, and the point that it means.

use anyhow::{Context, bail};
use model::archive::{Archive, resolve};
use model::path::split_path;
use model::record::{Label, Point};
use model::{EntryName, Time, When};

/// A point of a source, and a path in it.
#[derive(Debug)]
pub(crate) struct Place {
    machine: Option<Label>,
    source: Label,
    when: When,
    pub(crate) path: Vec<EntryName>,
}

impl Place {
    /// Reads it; without `@WHEN` the newest point is meant.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let (source, rest) = text.split_once('@').unwrap_or((text, "latest"));
        let (machine, source) = match source.split_once('/') {
            Some((machine, source)) => (Some(Label::new(machine)?), source),
            None => (None, source),
        };
        // An instant and seq:N have colons of their own: the longest part that is a moment is it.
        let colons = rest.match_indices(':').map(|(at, _)| at);
        let read = |at: usize| Some((When::parse(rest.get(..at)?)?, rest.get(at + 1..).unwrap_or_default()));
        let Some((when, path)) = std::iter::once(rest.len()).chain(colons).find_map(read) else {
            bail!("{rest:?} is not a moment; say latest, 2026-11-20T10:32:11Z, 5m-ago, seq:N or a point id");
        };
        Ok(Self { machine, source: Label::new(source)?, when, path: split_path(path.as_bytes())? })
    }

    /// The point that is meant, among those that this agent may read.
    pub(crate) fn find(&self, archive: &dyn Archive, own: &Label) -> anyhow::Result<Point> {
        let machine = self.machine.as_ref().unwrap_or(own);
        let machines = archive.machines()?;
        let found = machines.iter().find(|m| m.label == *machine).with_context(|| {
            format!(
                "this agent may not read the points of {machine}; the operator allows it with \
                 `keepfast token create {own} --allow-restore`, and the agent joins again"
            )
        })?;
        let sources = archive.sources()?;
        let source = sources.iter().find(|s| s.machine == found.id && s.label == self.source);
        let source =
            source.with_context(|| format!("{machine} has no source {} with points", self.source))?;
        let points = archive.points(source.id)?;
        let now = jiff::Timestamp::now();
        let now = Time::from_parts(now.as_second(), u32::try_from(now.subsec_nanosecond()).unwrap_or(0));
        let point = resolve(&points, &self.when, now).cloned();
        point.with_context(|| {
            format!("{machine}/{} has no point then; `keepfast-agent points` lists them", self.source)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let place = Place::parse("home@2026-11-20T10:32:11Z:/etc/x").unwrap();
        assert!(place.machine.is_none() && place.path.len() == 2);
        assert_eq!(Place::parse("home").unwrap().when, When::Latest);
        assert!(Place::parse("web1/home@seq:5").unwrap().machine.is_some());
        for bad in ["", "a/b/c@latest", "home@yesterday", "home@latest:../x"] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }
}
