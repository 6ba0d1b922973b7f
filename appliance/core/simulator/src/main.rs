//! The program of `cargo xtask sim`: goes through a run on all processors and says what it came to.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use pool::planted::Planted;
use simulator::{Breach, Counts, Fates, Run, history};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(run) = parse(&arguments) else {
        eprintln!("usage: simulator --seed N --points N");
        return ExitCode::from(2);
    };
    match go_through(run) {
        Ok((counts, trace)) => {
            let Counts { points, nested, faults, backups, dropped, freed, scrubbed, rounds, .. } = counts;
            let (mended, cuts, drives) = (counts.mended, counts.cuts, counts.drives);
            println!("seed {}, trace {trace}", run.seed);
            println!(
                "{points} crash points, {nested} more inside recoveries, {faults} failing calls, {backups} backups, \
                 {dropped} points dropped, {freed} bytes given back, {scrubbed} bytes scrubbed in {rounds} rounds, \
                 {mended} copies mended"
            );
            println!("{}", cuts.in_words());
            let Fates { points, lost, rebuilt, returned, added, evacuated } = drives;
            println!(
                "{points} of them over several drives: {lost} drives lost, {rebuilt} rebuilds, {returned} drives \
                 returned, {added} added, {evacuated} evacuated: no breach"
            );
            let missing = cuts.missing();
            if missing.is_empty() {
                return ExitCode::SUCCESS;
            }
            eprintln!("too seldom for a run of this length: {}", missing.join(", "));
            ExitCode::FAILURE
        }
        Err(breach) => {
            eprintln!("{breach}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Option<Run> {
    let mut run = Run { seed: 1, points: 100_000 };
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return None };
        match name.as_str() {
            "--seed" => run.seed = value.parse().ok()?,
            "--points" => run.points = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(run)
}

/// All histories, one thread for each processor; the first breach ends it.
fn go_through(run: Run) -> Result<(Counts, String), Breach> {
    let waiting = Mutex::new(run.histories());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let found = Mutex::new((Vec::new(), None::<Breach>));
    let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while lock().1.is_none()
                    && let Some((seed, points)) = next()
                {
                    match history(seed, points, Planted::default()) {
                        Ok(outcome) => lock().0.push((seed, outcome)),
                        Err(breach) => lock().1 = Some(breach),
                    }
                }
            });
        }
    });
    let (mut outcomes, breach) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(breach) = breach {
        return Err(breach);
    }
    outcomes.sort_unstable_by_key(|(seed, _)| seed.wrapping_sub(run.seed));
    let mut trace = blake3::Hasher::new();
    let mut sum = Counts::default();
    for (_, outcome) in outcomes {
        trace.update(&outcome.trace);
        sum.points += outcome.counts.points;
        sum.nested += outcome.counts.nested;
        sum.faults += outcome.counts.faults;
        sum.backups += outcome.counts.backups;
        sum.dropped += outcome.counts.dropped;
        sum.freed += outcome.counts.freed;
        sum.scrubbed += outcome.counts.scrubbed;
        sum.rounds += outcome.counts.rounds;
        sum.mended += outcome.counts.mended;
        sum.cuts.add(&outcome.counts.cuts);
        let (all, one) = (&mut sum.drives, outcome.counts.drives);
        all.points += one.points;
        all.lost += one.lost;
        all.rebuilt += one.rebuilt;
        all.returned += one.returned;
        all.added += one.added;
        all.evacuated += one.evacuated;
    }
    Ok((sum, trace.finalize().to_hex()[..16].to_owned()))
}
