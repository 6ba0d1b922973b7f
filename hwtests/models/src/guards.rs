//! What makes the protocol safe, one switch each. `PROTOCOL.md` gives the rule behind every switch the same name.

macro_rules! guards {
    ($($(#[$doc:meta])* $name:ident = $default:literal,)*) => {
        /// The guards of the protocol, which are on by default, and behind them others that can stand in for some.
        #[derive(Clone, Copy, Debug)]
        pub struct Guards {
            $($(#[$doc])* pub $name: bool,)*
        }

        impl Default for Guards {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }
    };
}

guards! {
    /// Reclaim decides by references at the moment of the removal, not by a list of points that it took earlier.
    decides_at_removal = true,
    /// A segment is condemned only when nothing is appended to it any more.
    condemns_only_sealed = true,
    /// Reclaim removes nothing while a commit or a drop waits to be counted.
    waits_for_counting = true,
    /// A session holds a lease on the point that it builds upon.
    base_is_leased = true,
    /// A session ends in the same step in which its commit counts.
    ends_with_commit = true,
    /// What lies in a condemned segment is absent for every session that was not promised it before.
    condemnation_is_heeded = true,
    /// What it was decided to let go is absent for everybody, also for whom a filter of promises takes it to be promised.
    decision_is_heeded = true,
    /// Storing asks the same question as `known` before it leaves bytes out.
    storing_asks_like_known = true,
    /// A yes keeps the chunk until the session ends, whatever becomes of its references.
    promises_are_kept = true,
    /// What a session stores is promised to it as well.
    stored_is_promised = true,
    /// Condemning a segment empties the cache that answers `known`.
    condemnation_empties_cache = true,
    /// A removal needs the condemnation that it began with; reopening the pool revokes it.
    removal_needs_condemnation = true,
    /// Reopening the pool in the same process ends its sessions.
    reopening_ends_sessions = true,
    /// A fenced session cannot commit.
    commit_checks_fence = true,
    /// The fence is looked at in the step in which the commit counts.
    fence_and_commit_are_one = true,
    /// An agent that begins again forgets what it was told before.
    agent_asks_anew = true,
    /// A read that failed says nothing about the bytes.
    failed_read_is_no_verdict = true,
    /// A verdict is about the place that was read, not about the name.
    verdict_names_place = true,
    /// A verdict takes the name out of the cache that answers `known`.
    verdict_empties_cache = true,
    /// A copy is verified before it takes the place of its source.
    copies_are_verified = true,
    /// A chunk that could not be read keeps its segment.
    unread_keeps_segment = true,
    /// A chunk whose place is bad counts as absent.
    bad_counts_as_absent = true,
    /// The catalog is flushed up to the removal before the file is unlinked.
    flushes_before_unlink = true,
    /// At opening, places in a removed segment stay readable until everything is counted.
    counts_before_settling = true,
    /// At opening, a point that was committed and dropped behind the cursor is never counted.
    dropped_are_not_counted = true,
    /// A removal is in the same commit as the new places of what was copied, or in a later one.
    copies_precede_removal = true,
    /// A removal takes every place in its segment out of the catalog.
    removal_drops_places = true,
    /// A cache on the drive counts only with the generation of the catalog.
    cache_has_generation = true,
    /// A cache on the drive holds only what the catalog beside it holds.
    cache_holds_committed = true,
    /// Copies are synced before the mark.
    syncs_before_mark = true,
    /// The number of a segment that a commit names is never used again.
    numbers_stay_used = true,
    /// A commit covers everything that was stored, whoever stored it.
    commits_whole_batch = true,
    /// A reader that cannot read looks up again.
    looks_up_again = true,
    /// The second look is at the catalog as it is then.
    looks_up_anew = true,
    /// References of a dropped point stay while somebody has it open.
    lease_holds_references = true,
    /// A lease is taken in the step that finds the point in history.
    opening_and_lease_are_one = true,
    /// A dropped point that is open is set aside and does not hold up the counter.
    leased_are_parked = true,
    /// Reopening the pool in the same process keeps the leases of its readers.
    reopening_keeps_leases = true,
    /// At opening, a dropped point that a reader still has open is counted.
    leased_are_counted = true,
    /// A step of the counter and its cursor change together.
    step_moves_cursor = true,
    /// Commits and drops are counted in their order.
    counts_in_order = true,
    /// A removal that is counted by half counts as not counted.
    half_counted_is_uncounted = true,
    /// Runs are told by the neighbours among the counted points, not by those in history.
    neighbours_are_counted = true,
    /// Stands in for promises: reclaim removes nothing while a session is left that began before the condemnation.
    waits_for_older_sessions = false,
    /// Stands in for the lease on a base: the newest point of a source is never dropped, and a commit upon another one is
    /// refused.
    builds_on_newest = false,
    /// Stands in for counting before settling, and for the flush before the unlink: the catalog is flushed, with
    /// everything counted, right before the removal is committed.
    flushes_before_removal = false,
    /// Stands in for counting in order: only a counted point can be dropped.
    drops_only_counted = false,
}
