//! What every plan must keep, over random histories: the promises are written down a second time here, simply.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{SourceId, Time};
use proptest::prelude::*;
use retention::{
    ClockFault, Completeness, Counts, Floor, FoldReason, Freeze, Holds, Now, Plan, PointState, Policies,
    Policy, PoolBounds, Rounds, SourceState, State, WaterMark, Witnessed, plan,
};

const HOUR: u64 = 3_600;

#[derive(Clone, Debug)]
struct Case {
    state: State,
    policies: Policies,
    bounds: PoolBounds,
    now: Now,
}

impl Case {
    fn plan(&self) -> Plan {
        plan(&self.state, &self.policies, &self.bounds, &self.now)
    }
}

fn point() -> impl Strategy<Value = (u64, i64, bool, [bool; 3], u64)> {
    let rarely = prop::bool::weighted(0.06);
    let own = prop_oneof![1 => Just(0_u64), 6 => 1..4_000_u64];
    let wall = prop_oneof![8 => -50_000..50_000_i64, 1 => any::<i64>()];
    (0..60_u64, wall, prop::bool::weighted(0.8), [rarely, rarely, rarely], own)
}

/// Points with steps of up to 60 hours between them, and received when some clock said so.
fn source() -> impl Strategy<Value = SourceState> {
    (prop::collection::vec(point(), 0..40), 0..20_000_u64).prop_map(|(points, shared)| {
        let mut witnessed = 0;
        let points: Vec<PointState> = (1..)
            .zip(points)
            .map(|(number, (step, wall, complete, [pinned, legal_hold, leased], own))| {
                witnessed += step * HOUR;
                let received = Time::from_parts(1_800_000_000, 0).0.wrapping_add(
                    i64::try_from(witnessed).expect("small").wrapping_add(wall).wrapping_mul(1_000_000_000),
                );
                PointState {
                    number,
                    received: Time(received),
                    witnessed: Witnessed(Duration::from_secs(witnessed)),
                    completeness: if complete { Completeness::Complete } else { Completeness::Partial },
                    holds: Holds { pinned, legal_hold, leased },
                    own_bytes: Some(own),
                }
            })
            .collect();
        let own: u64 = points.iter().filter_map(|point| point.own_bytes).sum();
        SourceState::new(own + shared, points)
    })
}

prop_compose! {
    fn policy()(
        counts in [0..6_u32, 0..6, 0..6, 0..4, 0..4, 0..3],
        counted: bool,
        points in 0..6_u32,
        hours in 0..400_u64,
        quota_bytes in prop::option::weighted(0.3, 0..60_000_u64),
    ) -> Policy {
        let [last, hourly, daily, weekly, monthly, yearly] = counts;
        let counts = Counts { last, hourly, daily, weekly, monthly, yearly };
        let floor = Floor { points, age: Duration::from_secs(hours * HOUR) };
        Policy { counts: if counted { counts } else { Counts::default() }, floor, quota_bytes }
    }
}

prop_compose! {
    fn case()(
        sources in prop::collection::vec((source(), prop::option::weighted(0.9, policy())), 1..5),
        capacity in 1_000..200_000_u64,
        (low, high) in (0..=1000_u16, 0..=1000_u16),
        points_max in prop::option::weighted(0.2, 0..80_u64),
        now in 0..3_000_u64,
        reclaimable_bytes in 0..5_000_u64,
    ) -> Case {
        let numbered = (1..).map(SourceId).zip(sources);
        let (mut policies, mut state) = (Policies::new(), State::default());
        for (source, (its, policy)) in numbered {
            state.used_bytes += its.used_bytes;
            policies.extend(policy.map(|policy| (source, policy)));
            state.sources.insert(source, its);
        }
        state.reclaimable_bytes = reclaimable_bytes;
        state.drives_bytes = capacity;
        let (high, low) = (WaterMark::PerMille(high), WaterMark::PerMille(low));
        let bounds = PoolBounds { capacity_bytes: None, high, low, points_max };
        let now = Now { witnessed: Witnessed(Duration::from_secs(now * HOUR)), frozen: None };
        Case { state, policies, bounds, now }
    }
}

/// What may never go, written as plainly as possible.
fn untouchable(case: &Case) -> BTreeSet<(SourceId, u64)> {
    let mut found = BTreeSet::new();
    for (source, its) in &case.state.sources {
        let floor = case.policies.get(source).copied().unwrap_or_default().floor;
        let points = its.points();
        let complete: Vec<_> = points.iter().filter(|p| p.completeness == Completeness::Complete).collect();
        let floor_points = usize::try_from(floor.points).expect("small").max(1);
        let by_count = complete.iter().rev().take(floor_points).map(|point| point.number);
        let by_age = points.iter().filter(|point| case.now.witnessed.since(point.witnessed) < floor.age);
        let held = points.iter().filter(|p| p.holds.pinned || p.holds.legal_hold || p.holds.leased);
        let newest = points.last().into_iter();
        let others = by_age.chain(held).chain(newest).map(|point| point.number);
        found.extend(by_count.chain(others).map(|number| (*source, number)));
    }
    found
}

fn folded(plan: &Plan) -> BTreeSet<(SourceId, u64)> {
    plan.folds.iter().map(|fold| (fold.source, fold.number)).collect()
}

/// The state after a plan was carried out and gave back exactly what was measured.
fn carried_out(state: &State, plan: &Plan) -> State {
    let gone = folded(plan);
    let mut after = state.clone();
    for (source, its) in &mut after.sources {
        let (left, went): (Vec<PointState>, Vec<PointState>) =
            its.points().iter().partition(|point| !gone.contains(&(*source, point.number)));
        let given: u64 = went.iter().filter_map(|point| point.own_bytes).sum();
        after.used_bytes -= given;
        *its = SourceState::new(its.used_bytes - given, left);
    }
    after
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn floors_newest_points_and_holds_stay(case in case()) {
        let plan = case.plan();
        let (gone, kept) = (folded(&plan), untouchable(&case));
        prop_assert!(gone.is_disjoint(&kept), "{:?}", gone.intersection(&kept).collect::<Vec<_>>());
        // Every point is either folded once or kept with a reason.
        prop_assert_eq!(gone.len(), plan.folds.len());
        prop_assert!(plan.keeps.iter().all(|kept| !kept.reasons.is_empty()));
        prop_assert_eq!((plan.folds.len() + plan.keeps.len()) as u64, case.state.points());
        prop_assert!(plan.keeps.iter().all(|kept| !gone.contains(&(kept.source, kept.number))));
        prop_assert_eq!(case.plan(), plan);
    }

    #[test]
    fn bounds_are_met_whenever_floors_allow_it(case in case()) {
        let plan = case.plan();
        let after = carried_out(&case.state, &plan);
        let marks = case.bounds.marks(case.state.drives_bytes);
        let kept = untouchable(&case);
        // What could still go and would give something back.
        let gainful = |source: Option<SourceId>| after.sources.iter().any(|(its, state)| {
            source.is_none_or(|source| source == *its)
                && state.points().iter().any(|p| p.own_bytes > Some(0) && !kept.contains(&(*its, p.number)))
        });
        let expected = after.expected_bytes();
        if plan.pressure.is_some() && expected > marks.low_bytes {
            prop_assert!(!gainful(None), "{expected} is above {}", marks.low_bytes);
        }
        prop_assert!(expected <= marks.high_bytes || plan.pressure.is_some());
        for (source, state) in &after.sources {
            let quota = case.policies.get(source).and_then(|policy| policy.quota_bytes);
            if quota.is_some_and(|quota| state.used_bytes > quota) {
                prop_assert!(!gainful(Some(*source)));
            }
        }
        if let Some(most) = case.bounds.points_max.filter(|most| after.points() > *most) {
            prop_assert_eq!(after.points(), kept.len() as u64, "{}", most);
        }
        // No more goes than is needed: without the last fold for room, the mark would not be reached.
        if let Some(last) = plan.folds.last().filter(|fold| fold.reason == FoldReason::Pressure) {
            prop_assert!(expected + last.own_bytes.unwrap() > marks.low_bytes || last.own_bytes == Some(0));
        }
    }

    #[test]
    fn a_shortfall_says_all_that_is_kept(case in case()) {
        let plan = case.plan();
        let after = carried_out(&case.state, &plan);
        let marks = case.bounds.marks(case.state.drives_bytes);
        for shortfall in &plan.shortfalls {
            prop_assert!(shortfall.lacking() > 0);
            prop_assert!(!shortfall.helps.is_empty());
            if shortfall.bound == retention::Bound::Room {
                prop_assert_eq!(shortfall.found, after.expected_bytes());
                prop_assert_eq!(shortfall.kept.iter().map(|group| group.points).sum::<u64>(), after.points());
                let full = after.expected_bytes() >= marks.capacity_bytes;
                prop_assert_eq!(shortfall.refuses(SourceId(1)), full);
            }
        }
        let words = plan.in_words(&|source| format!("s{source}"));
        prop_assert!(words.iter().all(|sentence| sentence.ends_with('.')));
    }

    #[test]
    fn a_frozen_clock_folds_nothing(mut case in case()) {
        let (expected, found) = (Time(0), Time(1));
        let by = Duration::from_secs(601);
        case.now.frozen = Some(Freeze { fault: ClockFault::Forward, by, expected, found });
        let plan = case.plan();
        prop_assert_eq!(&plan.folds, &[]);
        prop_assert_eq!(plan.frozen, case.now.frozen);
        prop_assert_eq!(plan.keeps.len() as u64, case.state.points());
        let marks = case.bounds.marks(case.state.drives_bytes);
        let full = case.state.expected_bytes() >= marks.capacity_bytes.max(marks.high_bytes + 1);
        prop_assert!(!full || plan.refusal(SourceId(1)).is_some());
    }

    #[test]
    fn no_wall_time_changes_what_floors_protect(case in case(), walls in prop::collection::vec(any::<i64>(), 1..20)) {
        let mut other = case.clone();
        let mut walls = walls.into_iter().cycle();
        for its in other.state.sources.values_mut() {
            let points = its.points().iter();
            let points = points.map(|p| PointState { received: Time(walls.next().unwrap()), ..*p }).collect();
            *its = SourceState::new(its.used_bytes, points);
        }
        let protecting = |plan: &Plan| -> BTreeMap<(SourceId, u64), Vec<retention::Keep>> {
            let kept = plan.keeps.iter();
            kept.map(|k| ((k.source, k.number), k.reasons.iter().copied().filter(|r| r.protects()).collect()))
                .filter(|(_, reasons): &(_, Vec<_>)| !reasons.is_empty())
                .collect()
        };
        prop_assert_eq!(protecting(&case.plan()), protecting(&other.plan()));
    }

    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do(case in case()) {
        let plan = case.plan();
        let state = carried_out(&case.state, &plan);
        let again = Case { state, ..case }.plan();
        let more = again.folds.iter().find(|fold| {
            let blind = fold.own_bytes == Some(0);
            !blind && matches!(fold.reason, FoldReason::Counts | FoldReason::Quota { .. } | FoldReason::Points { .. })
        });
        prop_assert_eq!(more, None);
        prop_assert!(again.folds.iter().all(|fold| fold.reason != FoldReason::Counts));
    }

    /// A plan that is carried out late, when points and time have come since, breaks no floor.
    #[test]
    fn an_old_plan_breaks_no_floor(case in case(), hours in 0..500_u64, complete: bool) {
        let plan = case.plan();
        let mut later = case;
        later.now.witnessed = later.now.witnessed.after(Duration::from_secs(hours * HOUR));
        for its in later.state.sources.values_mut() {
            let mut points = its.points().to_vec();
            points.push(PointState {
                number: points.last().map_or(1, |last| last.number + 1),
                received: Time(0),
                witnessed: later.now.witnessed,
                completeness: if complete { Completeness::Complete } else { Completeness::Partial },
                holds: Holds::default(),
                own_bytes: None,
            });
            *its = SourceState::new(its.used_bytes, points);
        }
        let (gone, kept) = (folded(&plan), untouchable(&later));
        prop_assert!(gone.is_disjoint(&kept));
    }
}

/// Takes points out of a state, with what they hold alone.
fn carry_out(state: &mut State, folds: &[retention::Fold]) {
    for fold in folds {
        let its = state.sources.get_mut(&fold.source).expect("a source");
        let given = fold.own_bytes.unwrap_or(0);
        let left = its.points().iter().filter(|point| point.number != fold.number).copied().collect();
        *its = SourceState::new(its.used_bytes - given, left);
        state.used_bytes -= given;
    }
}

proptest! {
    /// Round after round: it ends, touches nothing that must stay, brings quotas and the pool down as far as that allows, and
    /// one source pays for the quota of another one never.
    #[test]
    fn rounds_come_to_an_end_that_keeps_every_bound_or_has_nothing_left_to_fold(case in case()) {
        let untouchable = untouchable(&case);
        let marks = case.bounds.marks(case.state.drives_bytes);
        let was_pressed = case.state.expected_bytes() > marks.high_bytes;
        let (mut state, mut rounds, mut reasons) = (case.state.clone(), Rounds::default(), BTreeMap::new());
        for number in 0.. {
            prop_assert!(number < 400, "it ends");
            let round = rounds.draw(&state, &case.policies, &case.bounds, &case.now);
            if round.folds.is_empty() {
                break;
            }
            for fold in &round.folds {
                prop_assert!(!untouchable.contains(&(fold.source, fold.number)));
                reasons.entry(fold.source).or_insert_with(BTreeSet::new).insert(fold.reason);
            }
            carry_out(&mut state, &round.folds);
        }
        let may_go = |source: &SourceId| {
            let points = state.sources[source].points();
            points.iter().any(|point| {
                !untouchable.contains(&(*source, point.number)) && point.own_bytes.is_some_and(|own| own > 0)
            })
        };
        // What holds nothing alone may hold something with others that go as well.
        let may_go_at_all = |source: &SourceId| {
            let mut points = state.sources[source].points().iter();
            points.any(|point| !untouchable.contains(&(*source, point.number)))
        };
        for (source, its) in &state.sources {
            let quota = case.policies.get(source).and_then(|policy| policy.quota_bytes);
            prop_assert!(quota.is_none_or(|quota| its.used_bytes <= quota || !may_go(source)));
            let by_quota = reasons.get(source).into_iter().flatten().any(|r| matches!(r, FoldReason::Quota { .. }));
            prop_assert!(!by_quota || quota.is_some());
        }
        let is_full_of_floors = !state.sources.keys().any(may_go_at_all);
        prop_assert!(!was_pressed || state.expected_bytes() <= marks.high_bytes || is_full_of_floors);
        let pressed = reasons.values().flatten().any(|reason| *reason == FoldReason::Pressure);
        prop_assert!(!pressed || state.expected_bytes() <= marks.low_bytes || is_full_of_floors, "down to the low mark");
    }
}
