//! What is on the drives when the set has nothing left to do: everything as often as it should be, where it should be, all
//! copies equal, and nothing else.

use std::collections::BTreeMap;

use drives::MemberState;
use medium::{Access, Disk, File};
use model::{ErrorKind, SegmentNumber};

use super::Bays;

/// Most steps until nothing is left to do.
const STEPS_MAX: usize = 20_000;

/// Where files of one name are, with what they say.
type Places = BTreeMap<String, Vec<(usize, Vec<u8>)>>;

impl Bays {
    /// Lets the set do all that is to be done while nobody writes, and looks at each drive. Nothing of a pool is open.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        let Some(set) = self.set.clone() else { return Ok(()) };
        let mut steps = 0;
        while set
            .step(1 << 20, &|_| true)
            .map_err(|error| format!("the work fails: {error:?}"))?
            .task
            .is_some()
        {
            steps += 1;
            if steps > STEPS_MAX {
                return Err(format!("the work does not come to an end in {STEPS_MAX} steps"));
            }
        }
        self.learn();
        let members = set.members();
        let count = |state| members.iter().filter(|member| member.state == state).count();
        let are_enough = set.drives_in_service() >= set.drives_needed();
        if are_enough {
            if let Some(file) = set.at_risk().first() {
                return Err(format!("after all work something is at risk: {file:?}"));
            }
            if count(MemberState::Retiring) > 0 {
                return Err("a drive is never empty".into());
            }
        }
        let segments = self.gather("segments")?;
        for (name, places) in &segments {
            let number = name.strip_suffix(".seg").and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let policy = set.policy_of(SegmentNumber(number.ok_or_else(|| format!("{name} is no segment"))?));
            let copies = policy.copies();
            let is_under_parity = policy.group().is_some() && places.len() == 1;
            if are_enough && places.len() != copies && !is_under_parity {
                return Err(format!("{name} is on {} drives, not on {copies}", places.len()));
            }
            let file = set.open(&format!("segments/{name}"), Access::Read).map_err(|e| e.to_string())?;
            let bytes = content(&*file)?;
            if let Some((place, _)) = places.iter().find(|(_, found)| *found != bytes) {
                return Err(format!("{name} on drive {place} says something else than the set"));
            }
        }
        let listed = set.list("segments").or_else(|error| match error.kind() {
            ErrorKind::Missing => Ok(Vec::new()),
            _ => Err(error.to_string()),
        })?;
        if let Some(name) = segments.keys().find(|name| !listed.contains(name)) {
            return Err(format!("a drive holds {name}, which is gone"));
        }
        let parity = self.gather("parity")?;
        if let Some((name, _)) = parity.iter().find(|(_, places)| are_enough && places.len() > 1) {
            return Err(format!("{name} is there twice"));
        }
        let nobody_is_out = count(MemberState::Out) == 0;
        let empty = ["set/making", "set/writing"].into_iter();
        for directory in empty.chain(["set/stale", "set/changed"].into_iter().filter(|_| nobody_is_out)) {
            if let Some((name, places)) = self.gather(directory)?.first_key_value() {
                return Err(format!("{directory}/{name} stays on drive {}", places[0].0));
            }
        }
        Ok(())
    }

    /// All files of a directory of the drives.
    fn gather(&self, directory: &str) -> Result<Places, String> {
        let mut files = Places::new();
        for (place, bay) in self.bays.iter().enumerate().filter(|(_, bay)| bay.is_handed()) {
            let names = match bay.disk.list(directory) {
                Err(error) if error.kind() == ErrorKind::Missing => continue,
                names => names.map_err(|error| error.to_string())?,
            };
            for name in names {
                let file = bay.disk.open(&format!("{directory}/{name}"), Access::Read);
                let bytes = content(&*file.map_err(|error| error.to_string())?)?;
                files.entry(name).or_default().push((place, bytes));
            }
        }
        Ok(files)
    }
}

fn content(file: &dyn File) -> Result<Vec<u8>, String> {
    let length = file.length().map_err(|error| error.to_string())?;
    let mut bytes = vec![0; usize::try_from(length).map_err(|error| error.to_string())?];
    file.read_at(0, &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}
