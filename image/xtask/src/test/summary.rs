//! One line about what a step said: how many tests it ran, or what the simulator reached.

/// The summary in the output of a step, if there is one.
pub(crate) fn of(output: &str) -> Option<String> {
    nextest(output).or_else(|| harness(output)).or_else(|| simulator(output))
}

/// The line of nextest that ends a run, without its time.
fn nextest(output: &str) -> Option<String> {
    let line = output.lines().rev().find(|line| line.trim_start().starts_with("Summary ["))?;
    Some(line.split_once(']')?.1.trim().to_owned())
}

/// The sum of all lines of the standard test harness.
fn harness(output: &str) -> Option<String> {
    let counts = |line: &str| -> Option<u64> {
        let rest = line.strip_prefix("test result: ok. ")?;
        rest.split_once(" passed")?.0.parse().ok()
    };
    let results: Vec<u64> = output.lines().filter_map(counts).collect();
    (!results.is_empty()).then(|| format!("{} tests run", results.iter().sum::<u64>()))
}

/// The last line of the simulator, which names its crash points.
fn simulator(output: &str) -> Option<String> {
    output.lines().last().filter(|line| line.contains("crash points")).map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_output_has_its_summary() {
        let cases = [
            (
                "x\n     Summary [   3.041s] 12 tests run: 12 passed, 4 skipped\n",
                Some("12 tests run: 12 passed, 4 skipped"),
            ),
            (
                "test result: ok. 3 passed; 0 failed\nx\ntest result: ok. 4 passed; 0 failed\n",
                Some("7 tests run"),
            ),
            ("seed 1\n20000 crash points, 0 breaches\n", Some("20000 crash points, 0 breaches")),
            ("Finished\n", None),
            ("", None),
        ];
        for (output, expected) in cases {
            assert_eq!(of(output).as_deref(), expected, "{output}");
        }
    }
}
