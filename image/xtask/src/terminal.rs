//! What the commands look like on a terminal: quiet colours there, plain text everywhere else.

use std::io::IsTerminal;
use std::time::Duration;

/// Whether standard output takes colours.
pub(crate) fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn paint(code: &str, text: &str) -> String {
    if colours() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Text that stands out.
pub(crate) fn strong(text: &str) -> String {
    paint("1", text)
}

/// Text that steps back.
pub(crate) fn faint(text: &str) -> String {
    paint("2", text)
}

/// Text that can be typed.
pub(crate) fn command(text: &str) -> String {
    paint("36", text)
}

/// In front of what went well.
pub(crate) fn done_sign() -> String {
    paint("32", "ok")
}

/// In front of what went wrong.
pub(crate) fn error_sign() -> String {
    paint("31", "error:")
}

/// A length of time as people say it: `0.04 s`, `2.1 s`, `3 min 07 s`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 0.995 {
        format!("{seconds:.2} s")
    } else if seconds < 99.95 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

/// Every line of `text` behind four spaces, at most `lines` of them.
pub(crate) fn indented(text: &str, lines: usize) -> String {
    let mut all: Vec<String> =
        text.trim_end().lines().take(lines).map(|line| format!("    {line}")).collect();
    let more = text.trim_end().lines().count().saturating_sub(lines);
    if more > 0 {
        all.push(faint(&format!("    ... and {more} more")));
    }
    all.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_keeps_two_or_three_digits() {
        let cases = [
            (4, "0.00 s"),
            (40, "0.04 s"),
            (2_140, "2.1 s"),
            (99_960, "1 min 39 s"),
            (187_000, "3 min 07 s"),
        ];
        for (milliseconds, expected) in cases {
            assert_eq!(span(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn indented_text_says_how_much_it_left_out() {
        assert_eq!(indented("a\nb\n", 5), "    a\n    b");
        assert_eq!(indented("a\nb\nc\nd", 2), "    a\n    b\n    ... and 2 more");
    }
}
