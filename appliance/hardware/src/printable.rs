//! Text from a disk, made fit to be shown: whoever made the disk may have chosen it to harm a terminal.

/// Longest text of a disk that is kept, in bytes.
const LENGTH_MAX: usize = 256;

/// The printable part of a text, in one line, without blanks around it.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..LENGTH_MAX).unwrap_or(bytes));
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    let shown = |c: char| match c {
        _ if is_blank(c) => ' ',
        // Beyond ASCII there are characters that turn a line around, or that look like others.
        ' '..='~' => c,
        _ => '?',
    };
    text.trim_matches(is_blank).chars().map(shown).collect()
}

/// The same, or nothing if nothing is left.
pub(crate) fn some_printable(bytes: &[u8]) -> Option<String> {
    Some(printable(bytes)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_printable_text_is_left_and_not_too_much_of_it() {
        assert_eq!(printable(b"  WDC WD40EFRX \n"), "WDC WD40EFRX");
        assert_eq!(printable(b"\x1b[2Ja\0b\xffc\xe2\x80\xaed"), "[2Ja b?c?d");
        assert_eq!(printable(&[b'x'; 10_000]).len(), LENGTH_MAX);
        assert_eq!(some_printable(b" \0\n"), None);
    }
}
