//! What makes the protocol safe, one switch each. `PROTOCOL.md` gives the rule behind every switch the same name.

macro_rules! guards {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The guards of the protocol; all are on by default.
        #[derive(Clone, Copy, Debug)]
        pub struct Guards {
            $($(#[$doc])* pub $name: bool,)*
        }

        impl Default for Guards {
            fn default() -> Self {
                Self { $($name: true,)* }
            }
        }
    };
}

guards! {
    /// Reclaim decides by references at the moment of the removal, not by a list of points that it took earlier.
    decides_at_removal,
    /// A segment is condemned only when nothing is appended to it any more.
    condemns_only_sealed,
    /// Reclaim removes nothing while a commit or a drop waits to be counted.
    waits_for_counting,
    /// A session holds a lease on the point that it builds upon.
    base_is_leased,
    /// A session ends in the same step in which its commit counts.
    ends_with_commit,
    /// Whoever asks about a chunk in a condemned segment gets a promise or a no, never a bare yes.
    condemnation_is_heeded,
    /// Reclaim removes nothing while a session is left that began before the condemnation.
    waits_for_older_sessions,
    /// Storing asks the same question as `known` before it leaves bytes out.
    storing_asks_like_known,
    /// A yes about a chunk in a condemned segment keeps the chunk until the session ends, whatever becomes of its
    /// references. Without the guard, references alone make a yes and a no.
    promises_are_kept,
    /// Condemning a segment empties the cache that answers `known`.
    condemnation_empties_cache,
    /// A removal needs the condemnation that it began with; reopening the pool revokes it.
    removal_needs_condemnation,
    /// Reopening the pool in the same process ends its sessions.
    reopening_ends_sessions,
    /// A fenced session cannot commit.
    commit_checks_fence,
    /// The fence is looked at in the step in which the commit counts.
    fence_and_commit_are_one,
    /// An agent that begins again forgets what it was told before.
    agent_asks_anew,
    /// A read that failed says nothing about the bytes.
    failed_read_is_no_verdict,
    /// A verdict is about the place that was read, not about the name.
    verdict_names_place,
    /// A verdict takes the name out of the cache that answers `known`.
    verdict_empties_cache,
    /// A copy is verified before it takes the place of its source.
    copies_are_verified,
    /// A chunk that could not be read keeps its segment.
    unread_keeps_segment,
    /// A chunk whose place is bad counts as absent.
    bad_counts_as_absent,
    /// The catalog is flushed up to the removal before the file is unlinked.
    flushes_before_unlink,
    /// At opening, places in a removed segment stay readable until everything is counted.
    counts_before_settling,
    /// At opening, a point that was committed and dropped behind the cursor is never counted.
    dropped_are_not_counted,
    /// A removal is in the same commit as the new places of what was copied, or in a later one.
    copies_precede_removal,
    /// A removal takes every place in its segment out of the catalog.
    removal_drops_places,
    /// A cache on the drive counts only with the generation of the catalog.
    cache_has_generation,
    /// A cache on the drive holds only what the catalog beside it holds.
    cache_holds_committed,
    /// Copies are synced before the mark.
    syncs_before_mark,
    /// The number of a segment that a commit names is never used again.
    numbers_stay_used,
    /// A commit covers everything that was stored, whoever stored it.
    commits_whole_batch,
    /// A reader that cannot read looks up again.
    looks_up_again,
    /// The second look is at the catalog as it is then.
    looks_up_anew,
    /// References of a dropped point stay while somebody has it open.
    lease_holds_references,
    /// A lease is taken in the step that finds the point in history.
    opening_and_lease_are_one,
    /// A dropped point that is open is set aside and does not hold up the counter.
    leased_are_parked,
    /// Reopening the pool in the same process keeps the leases of its readers.
    reopening_keeps_leases,
    /// At opening, a dropped point that a reader still has open is counted.
    leased_are_counted,
    /// A step of the counter and its cursor change together.
    step_moves_cursor,
    /// Commits and drops are counted in their order.
    counts_in_order,
    /// A removal that is counted by half counts as not counted.
    half_counted_is_uncounted,
    /// Runs are told by the neighbours among the counted points, not by those in history.
    neighbours_are_counted,
}
