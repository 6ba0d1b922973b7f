//! What the operator asks for about what is kept.

use model::SourceId;
use model::archive::ArchiveError;
use pool::registry::Registry;
use retention::{FoldReason, Plan, Policy, PoolBounds, plan};
use wire::keeping::{AuditReport, Kept, Order, PlannedFold, SourcePolicy, TrialPolicy};

use super::foretelling::foretell;
use super::picture::picture;
use super::settings::{self, BOUNDS, CLOCK_CONFIRMED, changed_holds, hold_key, policy_key, unreadable};
use crate::appliance::Appliance;

/// Most folds that an answer lists.
const FOLDS_MAX: usize = 10_000;

/// Does what is ordered.
pub(crate) fn answer(appliance: &Appliance, order: Order) -> Result<Kept, ArchiveError> {
    let shared = appliance.storage().shared();
    match order {
        Order::Plan { trial } => {
            let plan = draw(appliance, trial)?;
            let lines = shared.registry(|registry| plan.in_words(&|source| name_of(registry, source)));
            let of = |fold: &retention::Fold| PlannedFold {
                point: model::archive::PointKey { source: fold.source, number: fold.number },
                reason: reason(fold.reason).to_owned(),
            };
            let folds_count = plan.folds.len() as u64;
            let folds = plan.folds.iter().take(FOLDS_MAX).map(of).collect();
            Ok(Kept::Plan { lines, folds, folds_count })
        }
        Order::Forecast { admit } => foretell(appliance, admit),
        Order::Policies => shared.registry(policies),
        Order::SetBounds { text } => {
            let bounds = text.map(|text| PoolBounds::parse(&text).map(|bounds| bounds.encode())).transpose();
            set(appliance, BOUNDS, bounds.map_err(|error| unreadable(&error))?)
        }
        Order::SetPolicy { machine, source, text } => {
            let found = appliance.source_named(&machine, &source)?;
            let policy = text.map(|text| Policy::parse(&text).map(|policy| policy.encode())).transpose();
            set(appliance, &policy_key(found), policy.map_err(|error| unreadable(&error))?)
        }
        Order::Hold { point, hold, is_on } => {
            shared.point(point)?;
            let key = hold_key(point);
            appliance.storage().change(move |pool| {
                let before = pool.shared().registry(|registry| registry.settings.get(&key).cloned());
                pool.set_setting(&key, changed_holds(before.as_ref(), hold, is_on))
            })?;
            Ok(Kept::Done)
        }
        Order::ConfirmClock => set(appliance, CLOCK_CONFIRMED, Some(vec![1])),
        Order::Audit => {
            let found = appliance.storage().change(pool::Pool::audit)?;
            let report = AuditReport {
                points: found.points,
                chunks: found.chunks,
                pages: found.pages,
                segments: found.segments,
                wrong: found.wrong,
                wrong_count: found.wrong_count,
            };
            Ok(Kept::Audit { report })
        }
    }
}

/// The plan as the keeper would carry it out, if a source had the policy that is tried.
fn draw(appliance: &Appliance, trial: Option<TrialPolicy>) -> Result<Plan, ArchiveError> {
    let shared = appliance.storage().shared();
    let state = picture(shared, appliance.figures())?;
    let (policies, bounds, witness) = shared.registry(|registry| {
        (settings::policies(registry), settings::bounds(registry), settings::witness(registry))
    });
    let mut policies = policies?;
    if let Some(TrialPolicy { machine, source, text }) = trial {
        let source = appliance.source_named(&machine, &source)?;
        let policy = text.map(|text| Policy::parse(&text).map_err(|error| unreadable(&error))).transpose()?;
        policies.remove(&source);
        policies.extend(policy.map(|policy| (source, policy)));
    }
    let mut now = witness.now();
    let witnessed = std::time::Duration::from_nanos(shared.witnessed().unwrap_or(0));
    now.witnessed.0 = now.witnessed.0.max(witnessed);
    Ok(plan(&state, &policies, &bounds?, &now))
}

fn policies(registry: &Registry) -> Result<Kept, ArchiveError> {
    let said = settings::policies(registry)?;
    let of = |source: &model::record::Source| {
        let machine = registry.machines.get(&source.machine)?;
        let policy = said.get(&source.id);
        Some(SourcePolicy {
            machine: machine.label.clone(),
            source: source.label.clone(),
            policy: policy.copied().unwrap_or_default().to_string(),
            is_default: policy.is_none(),
        })
    };
    let mut sources: Vec<_> = registry.sources.values().filter_map(of).collect();
    sources.sort_by_key(|one| (one.machine.to_string(), one.source.to_string()));
    Ok(Kept::Policies { bounds: settings::bounds(registry)?.to_string(), sources })
}

fn set(appliance: &Appliance, key: &str, value: Option<Vec<u8>>) -> Result<Kept, ArchiveError> {
    let key = key.to_owned();
    appliance.storage().change(move |pool| pool.set_setting(&key, value))?;
    Ok(Kept::Done)
}

/// How a source is called in sentences.
pub(super) fn name_of(registry: &Registry, source: SourceId) -> String {
    let found = registry.sources.get(&source).and_then(|found| {
        let machine = registry.machines.get(&found.machine)?;
        Some(format!("{}/{}", machine.label, found.label))
    });
    found.unwrap_or_else(|| format!("source {source}"))
}

/// Why a point goes, in a word.
pub(super) const fn reason(reason: FoldReason) -> &'static str {
    match reason {
        FoldReason::Counts => "counts",
        FoldReason::Quota { .. } => "quota",
        FoldReason::Points { .. } => "points",
        FoldReason::Pressure => "pressure",
    }
}
