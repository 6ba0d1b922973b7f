//! The plain text form of policies and bounds: words `key=value`, separated by blanks or commas.
//!
//! A key may stand there once; a key that nobody knows is refused with the one that is most like it, because a
//! misspelt floor that is silently left out would cost history.

use crate::RetentionError;

/// The keys of a text form.
pub(crate) struct Grammar {
    /// What is read, for messages.
    pub(crate) what: &'static str,
    /// The keys, in the order in which they are printed.
    pub(crate) keys: &'static [&'static str],
    /// A word that would be accepted.
    pub(crate) example: &'static str,
}

impl Grammar {
    /// The words of `text`, each with a known key, none twice.
    pub(crate) fn split<'a>(&self, text: &'a str) -> Result<Vec<(&'static str, &'a str)>, RetentionError> {
        let mut words: Vec<(&'static str, &str)> = Vec::new();
        let separated = text.split(|c: char| c.is_whitespace() || c == ',');
        for word in separated.filter(|word| !word.is_empty()) {
            let Some((key, value)) = word.split_once('=') else {
                return Err(RetentionError::Form {
                    what: self.what,
                    word: word.to_owned(),
                    example: self.example,
                });
            };
            let key = self.known(key)?;
            if words.iter().any(|(seen, _)| *seen == key) {
                return Err(RetentionError::Twice { what: self.what, key: key.to_owned() });
            }
            words.push((key, value));
        }
        Ok(words)
    }

    /// The error for a value that is not understood.
    pub(crate) fn refuse(&self, key: &str, value: &str, expected: &'static str) -> RetentionError {
        RetentionError::Value { what: self.what, key: key.to_owned(), value: value.to_owned(), expected }
    }

    fn known(&self, key: &str) -> Result<&'static str, RetentionError> {
        if let Some(known) = self.keys.iter().find(|known| **known == key) {
            return Ok(known);
        }
        // Half of a key is more like it than any word of the same length.
        let beginning = self.keys.iter().find(|known| key.len() > 2 && known.starts_with(key));
        let nearest = beginning.or_else(|| self.keys.iter().min_by_key(|known| distance(known, key)));
        let nearest = nearest.copied().unwrap_or_default();
        Err(RetentionError::UnknownKey {
            what: self.what,
            key: key.to_owned(),
            nearest,
            known: self.keys.join(", "),
        })
    }
}

/// How many letters must be put in, taken out or exchanged to come from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    // A key is short; what somebody types may be a whole file.
    const LENGTH_MAX: usize = 64;
    let mut row: Vec<usize> = (0..=a.chars().count()).collect();
    for (done, letter) in b.chars().take(LENGTH_MAX).enumerate() {
        let mut diagonal = done;
        let mut left = done + 1;
        for (known, above) in a.chars().zip(row.iter_mut().skip(1)) {
            let exchanged = diagonal + usize::from(known != letter);
            diagonal = *above;
            left = exchanged.min(left + 1).min(diagonal + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = done + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (a, b, expected) in
            [("last", "last", 0), ("daily", "dayly", 1), ("quota", "", 5), ("high", "hgih", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }
}
