//! Policies, bounds, holds and witnessed time, as the pool keeps them: settings, so they survive with its records.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use model::SourceId;
use model::archive::{ArchiveError, PointKey};
use pool::registry::Registry;
use retention::{Holds, Policies, Policy, PoolBounds, RetentionError, Witness, Witnessed};
use wire::keeping::Hold;

/// The bounds of the pool.
pub(super) const BOUNDS: &str = "retention/bounds";
/// How long the appliance has run.
pub(super) const WITNESS: &str = "retention/witness";
/// The operator has said that the clock is right; the keeper takes it away.
pub(super) const CLOCK_CONFIRMED: &str = "retention/clock-confirmed";
const PREFIX: &str = "retention/";
const POLICY: &str = "retention/policy/";
const HOLD: &str = "retention/hold/";

/// The key of the policy of a source.
pub(super) fn policy_key(source: SourceId) -> String {
    format!("{POLICY}{}", source.0)
}

/// The key of what holds a point.
pub(super) fn hold_key(point: PointKey) -> String {
    format!("{HOLD}{}/{}", point.source.0, point.number)
}

/// A policy or bounds that cannot be read.
pub(super) fn unreadable(error: &RetentionError) -> ArchiveError {
    ArchiveError::new(error.kind(), error)
}

/// The bounds of the pool.
pub(super) fn bounds(registry: &Registry) -> Result<PoolBounds, ArchiveError> {
    let bounds = registry.settings.get(BOUNDS).map(|bytes| PoolBounds::decode(bytes));
    Ok(bounds.transpose().map_err(|error| unreadable(&error))?.unwrap_or_default())
}

/// The policies that somebody has said.
pub(super) fn policies(registry: &Registry) -> Result<Policies, ArchiveError> {
    let said = registry.sources.keys().filter_map(|source| {
        let bytes = registry.settings.get(&policy_key(*source))?;
        Some(Policy::decode(bytes).map(|policy| (*source, policy)).map_err(|error| unreadable(&error)))
    });
    said.collect()
}

/// What operators hold.
pub(super) fn holds(registry: &Registry) -> BTreeMap<(SourceId, u64), Holds> {
    let held = registry.settings.range(HOLD.to_owned()..).take_while(|(key, _)| key.starts_with(HOLD));
    let read = |(key, value): (&String, &Vec<u8>)| {
        let (source, number) = key.strip_prefix(HOLD)?.split_once('/')?;
        let place = (SourceId(source.parse().ok()?), number.parse().ok()?);
        Some((place, decode_holds(value)))
    };
    held.filter_map(read).collect()
}

/// The holds of a point after one of them was set or lifted; nothing if none is left.
pub(super) fn changed_holds(before: Option<&Vec<u8>>, hold: Hold, is_on: bool) -> Option<Vec<u8>> {
    let mut holds = before.map_or_else(Holds::default, |value| decode_holds(value));
    match hold {
        Hold::Pin => holds.pinned = is_on,
        Hold::Legal => holds.legal_hold = is_on,
    }
    let bits = u8::from(holds.pinned) | u8::from(holds.legal_hold) << 1;
    (bits != 0).then(|| vec![bits])
}

/// A value that is not understood holds: nothing goes because of a bit that rotted.
fn decode_holds(value: &[u8]) -> Holds {
    let bits = match value {
        [bits @ 0..=3] => *bits,
        _ => 3,
    };
    Holds { pinned: bits & 1 != 0, legal_hold: bits & 2 != 0, leased: false }
}

/// Changes whenever there are other points, or other policies, bounds or holds.
pub(super) fn digest(registry: &Registry) -> u64 {
    let mut hasher = DefaultHasher::new();
    registry.points.len().hash(&mut hasher);
    let all = registry.settings.range(PREFIX.to_owned()..).take_while(|(key, _)| key.starts_with(PREFIX));
    all.filter(|(key, _)| *key != WITNESS).for_each(|setting| setting.hash(&mut hasher));
    hasher.finish()
}

/// The witness of the pool: as much has been witnessed as any point says.
pub(super) fn witness(registry: &Registry) -> Witness {
    let stored = registry.settings.get(WITNESS).map(|bytes| Witness::decode(bytes));
    let mut witness = match stored {
        Some(Ok(witness)) => witness,
        Some(Err(error)) => {
            tracing::warn!(%error, "the witnessed time cannot be read; the newest point says how much there was");
            Witness::default()
        }
        None => Witness::default(),
    };
    let known = registry.points.values().filter_map(|point| point.witnessed).max().unwrap_or(0);
    witness.resume_at(Witnessed(std::time::Duration::from_nanos(known)));
    witness
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_are_set_and_lifted_one_by_one() {
        let pinned = changed_holds(None, Hold::Pin, true);
        let both = changed_holds(pinned.as_ref(), Hold::Legal, true);
        assert_eq!(both, Some(vec![3]));
        let legal = changed_holds(both.as_ref(), Hold::Pin, false);
        assert_eq!(legal, Some(vec![2]));
        assert_eq!(changed_holds(legal.as_ref(), Hold::Legal, false), None);
        assert!(decode_holds(&[9]).legal_hold && decode_holds(&[]).pinned, "what is not understood holds");
    }

    #[test]
    fn holds_are_found_by_their_keys() {
        let mut registry = Registry::default();
        let point = PointKey { source: SourceId(7), number: 12 };
        registry.settings.insert(hold_key(point), vec![1]);
        registry.settings.insert(format!("{HOLD}x/1"), vec![1]);
        registry.settings.insert("retention/zzz".into(), vec![1]);
        let expected = Holds { pinned: true, ..Holds::default() };
        assert_eq!(holds(&registry), BTreeMap::from([((SourceId(7), 12), expected)]));
    }
}
