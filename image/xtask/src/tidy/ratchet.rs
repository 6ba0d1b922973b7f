//! Sizes over the limit that are known; the list only gets shorter and its numbers only go down.

/// A file, what is too long in it (`file`, or the name of a function), and how many lines that has.
pub(crate) const KNOWN: &[(&str, &str, usize)] = &[];

/// Judges `lines` against `limit`, given what is known of it; says what is wrong.
pub(crate) fn judge(known: Option<usize>, lines: usize, limit: usize) -> Option<String> {
    match known {
        None if lines > limit => Some(format!("{lines} lines, {limit} are allowed")),
        Some(known) if lines > known => Some(format!("{lines} lines, it had {known} and should shrink")),
        Some(known) if lines < known => {
            Some(format!("{lines} lines, the ratchet says {known}: take it down"))
        }
        Some(known) if known <= limit => Some(format!("{lines} lines are allowed: take it off the ratchet")),
        _ => None,
    }
}

/// What is known of `what` in `path`.
pub(crate) fn known(path: &str, what: &str) -> Option<usize> {
    KNOWN.iter().find(|(file, thing, _)| *file == path && *thing == what).map(|(_, _, lines)| *lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_may_only_go_down() {
        let cases = [
            (None, 70, None),
            (None, 71, Some("71 lines, 70 are allowed")),
            (Some(90), 90, None),
            (Some(90), 91, Some("91 lines, it had 90 and should shrink")),
            (Some(90), 80, Some("80 lines, the ratchet says 90: take it down")),
            (Some(60), 60, Some("60 lines are allowed: take it off the ratchet")),
        ];
        for (known, lines, expected) in cases {
            assert_eq!(judge(known, lines, 70).as_deref(), expected, "{known:?} {lines}");
        }
    }
}
