//! Reads Rust source far enough to tell code, comments and literals apart, line by line.
//!
//! Not a parser: it knows where strings, characters and comments begin and end and which braces belong together.
//! Source that cargo would refuse gives an answer too, only not a useful one.

/// A file, with code and comments apart; both have the lines and columns of the source.
pub(crate) struct Scan {
    code: String,
    comments: String,
}

/// A function and the lines that it takes.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of `fn`, from 1.
    pub(crate) line: usize,
    /// How many lines it has.
    pub(crate) lines: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    LineComment,
    BlockComment(usize),
    Text,
    RawText(usize),
}

impl Scan {
    /// Scans a file.
    pub(crate) fn new(source: &str) -> Self {
        let characters: Vec<char> = source.chars().collect();
        let mut scan = Self { code: String::new(), comments: String::new() };
        let mut state = State::Code;
        let mut at = 0;
        while at < characters.len() {
            let (next, length) = step(state, &characters, at);
            let kept = match (state, next) {
                (State::LineComment | State::BlockComment(_), _)
                | (_, State::LineComment | State::BlockComment(_)) => Kept::Comment,
                (State::Code, State::Code) if length == 1 => Kept::Code,
                _ => Kept::Neither,
            };
            for &character in characters.iter().skip(at).take(length) {
                scan.push(character, kept);
            }
            (state, at) = (next, at + length);
        }
        scan
    }

    fn push(&mut self, character: char, kept: Kept) {
        let blank = if character == '\n' { '\n' } else { ' ' };
        self.code.push(if kept == Kept::Code { character } else { blank });
        self.comments.push(if kept == Kept::Comment { character } else { blank });
    }

    /// The lines of code; literals and comments are blanks.
    pub(crate) fn code(&self) -> impl Iterator<Item = &str> {
        self.code.lines()
    }

    /// The lines of comments; everything else is blanks.
    pub(crate) fn comments(&self) -> impl Iterator<Item = &str> {
        self.comments.lines()
    }

    /// For every line whether it is built into the product, which what stands under `#[cfg(test)]` is not.
    pub(crate) fn production(&self) -> Vec<bool> {
        let mut lines = vec![true; self.code.lines().count()];
        for marker in ["#[cfg(test)]", "#[cfg(all(test"] {
            for (start, _) in self.code.match_indices(marker) {
                let end = item_end(&self.code, start);
                let (first, last) = (line_of(&self.code, start), line_of(&self.code, end - 1));
                lines.iter_mut().take(last).skip(first - 1).for_each(|line| *line = false);
            }
        }
        lines
    }

    /// Every function that has a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let code = &self.code;
        let mut functions = Vec::new();
        for (start, _) in code.match_indices("fn ") {
            let whole_word = !code.get(..start).is_some_and(|before| before.ends_with(is_name));
            let name: String =
                code.get(start + 3..).unwrap_or("").chars().take_while(|c| is_name(*c)).collect();
            if !whole_word || name.is_empty() {
                continue;
            }
            let end = item_end(code, start);
            if code.get(..end).is_some_and(|text| text.ends_with('}')) {
                let (line, last) = (line_of(code, start), line_of(code, end - 1));
                functions.push(Function { name, line, lines: last - line + 1 });
            }
        }
        functions
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kept {
    Code,
    Comment,
    Neither,
}

/// The state after the next few characters, and how many they are.
fn step(state: State, characters: &[char], at: usize) -> (State, usize) {
    let is = |offset: usize, wanted: char| characters.get(at + offset) == Some(&wanted);
    match state {
        State::Code => step_in_code(characters, at),
        State::LineComment => (if is(0, '\n') { State::Code } else { state }, 1),
        State::BlockComment(depth) if is(0, '*') && is(1, '/') => match depth {
            1 => (State::Code, 2),
            _ => (State::BlockComment(depth - 1), 2),
        },
        State::BlockComment(depth) if is(0, '/') && is(1, '*') => (State::BlockComment(depth + 1), 2),
        State::BlockComment(_) => (state, 1),
        State::Text if is(0, '\\') => (state, 2),
        State::Text => (if is(0, '"') { State::Code } else { state }, 1),
        State::RawText(hashes) if is(0, '"') && (1..=hashes).all(|offset| is(offset, '#')) => {
            (State::Code, 1 + hashes)
        }
        State::RawText(_) => (state, 1),
    }
}

fn step_in_code(characters: &[char], at: usize) -> (State, usize) {
    let character = |offset: usize| characters.get(at + offset).copied().unwrap_or('\0');
    let after_name = at > 0 && characters.get(at - 1).is_some_and(|c| is_name(*c));
    match (character(0), character(1)) {
        ('/', '/') => (State::LineComment, 2),
        ('/', '*') => (State::BlockComment(1), 2),
        ('"', _) => (State::Text, 1),
        ('r', '"' | '#') if !after_name || matches!(characters.get(at.wrapping_sub(1)), Some('b' | 'c')) => {
            let hashes = (1..).take_while(|&offset| character(offset) == '#').count();
            if character(1 + hashes) == '"' { (State::RawText(hashes), 2 + hashes) } else { (State::Code, 1) }
        }
        ('\'', '\\') => {
            let length = (3..12).find(|&offset| character(offset) == '\'').map_or(1, |offset| offset + 1);
            (State::Code, length)
        }
        ('\'', _) if character(2) == '\'' => (State::Code, 3),
        _ => (State::Code, 1),
    }
}

/// Where the item that starts at `start` ends: behind its semicolon, or behind the brace that closes its body.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, character) in code.get(start..).unwrap_or("").char_indices() {
        let end = start + offset + character.len_utf8();
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '}' if depth <= 1 => return end,
            '}' => depth -= 1,
            ';' if depth == 0 => return end,
            _ => {}
        }
    }
    code.len()
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The line of the byte at `offset`, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> String {
        Scan::new(source).code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn literals_and_comments_are_no_code() {
        let cases = [
            ("a \"{ // x\" b", "a b"),
            ("a 'x' b '\\'' c '\\u{1f}' d", "a b c d"),
            ("f<'a>(x: &'a str)", "f<'a>(x: &'a str)"),
            ("a r#\"b \" c\"# d br\"\\\" e", "a d b e"),
            ("a /* b /* c */ d */ e // f", "a e"),
            ("for r in r#\"{\"#", "for r in"),
            ("a \"\\\\\" b", "a b"),
        ];
        for (source, expected) in cases {
            assert_eq!(code(source), expected, "{source}");
        }
    }

    #[test]
    fn comments_stay_on_their_lines() {
        let scan = Scan::new("a // one\n\"// no\"\n/* two\nthree */ b\n");
        let comments: Vec<&str> = scan.comments().map(str::trim).collect();
        assert_eq!(comments, ["// one", "", "/* two", "three */"]);
    }

    #[test]
    fn functions_are_measured_from_fn_to_their_brace() {
        let source = "trait T {\n    fn none(&self);\n}\nfn one() { \"}\"; }\nfn three<const N: usize>(x: [u8; 3])\n-> u8 {\n    0\n}\nconst F: fn(u8) = f;\n";
        let functions = Scan::new(source).functions();
        let found: Vec<_> = functions.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(found, [("one", 4, 1), ("three", 5, 4)]);
    }

    #[test]
    fn tests_are_no_production_wherever_they_stand() {
        let source =
            "#[cfg(test)]\nmod tests;\nfn a() {}\n#[cfg(test)]\nmod more {\n    fn b() {}\n}\nfn c() {}\n";
        assert_eq!(Scan::new(source).production(), [false, false, true, false, false, false, false, true]);
    }
}
