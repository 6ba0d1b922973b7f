//! A fold takes as long, and reads and writes as much, in a pool of 50 GB as in one of 1 GB.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Stdio};

use serde_json::Value;

/// As many chunks as 1, 10 and 50 GB have at 128 KiB each.
const POOLS: [u64; 3] = [8_000, 80_000, 400_000];

/// What some folds cost in a pool of so many chunks besides: the least of each figure, for the machine has other things to do
/// as well.
fn least_costs(chunks: u64) -> [f64; 3] {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_throughput"));
    command.arg("fold").arg(folder.path()).arg(chunks.to_string());
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    let least = |figure: &dyn Fn(&Value) -> f64| {
        figures["folds"].as_array().unwrap().iter().map(figure).fold(f64::INFINITY, f64::min)
    };
    let figure = |fold: &Value, name: &str| fold[name].as_f64().unwrap();
    ["bytes_read", "bytes_written", "seconds"].map(|name| least(&|fold| figure(fold, name)))
}

#[test]
fn a_fold_costs_as_much_in_a_small_pool_as_in_a_large_one() {
    let costs = POOLS.map(least_costs);
    println!("bytes read and written, and seconds: {costs:?}");
    for figure in 0..3 {
        let most = costs.iter().map(|cost| cost[figure]).fold(0.0, f64::max);
        let least = costs.iter().map(|cost| cost[figure]).fold(f64::INFINITY, f64::min);
        assert!(least > 0.0 && most <= 2.0 * least, "bytes read and written, and seconds: {costs:?}");
    }
}
