//! The regular expressions by which byte-level models split a text, written out by hand.
//!
//! There are three that most models share. Each begins where the match before ended and takes the
//! first alternative that fits, so that a match is one look at the next characters:
//!
//! ```text
//! We'll  go...42\n   x        GPT-2
//! --~~~---~~~--~---~~-        We | 'll | " " | " go" | ... | 42 | "\n  " | " x"
//! ```
//!
//! Every character belongs to a match: the alternatives cover letters, numbers, space and the rest.

use super::classes::Class;

/// One of the known expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Words with the one space before them.
    Gpt2,
    /// Words with any one mark before them, numbers in groups of three.
    Llama3,
    /// Words with any one mark before them, digits alone.
    Qwen2,
}

impl Pattern {
    /// The pattern that is written so.
    pub(super) fn written(regex: &str) -> Option<Self> {
        let known = [Self::Gpt2, Self::Llama3, Self::Qwen2];
        known.into_iter().find(|pattern| pattern.regex() == regex)
    }

    pub(super) fn regex(self) -> &'static str {
        match self {
            Self::Gpt2 => {
                r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
            }
            Self::Llama3 => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
            Self::Qwen2 => {
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            }
        }
    }

    /// The length in bytes of the match at the start of `text`, which is not empty.
    #[inline]
    pub(super) fn first(self, text: &str) -> usize {
        match self {
            Self::Gpt2 => gpt2(text),
            Self::Llama3 => llama3(text, 3),
            Self::Qwen2 => llama3(text, 1),
        }
    }
}

fn gpt2(text: &str) -> usize {
    if let Some(length) = contraction(text, Case::Lower) {
        return length;
    }
    let words = text.strip_prefix(' ').unwrap_or(text);
    match class_at(words) {
        None | Some(Class::Space) => space(text),
        Some(class) => text.len() - words.len() + run(words, class, usize::MAX),
    }
}

fn llama3(text: &str, most_digits: usize) -> usize {
    if let Some(length) = contraction(text, Case::Any) {
        return length;
    }
    let class = class_at(text).unwrap_or(Class::Space);
    match class {
        Class::Letter => return run(text, Class::Letter, usize::MAX),
        Class::Number => return run(text, Class::Number, most_digits),
        Class::Space | Class::Other => {}
    }
    let mark = text.chars().next().map_or(0, char::len_utf8);
    let after = &text[mark..];
    if !text.starts_with(['\r', '\n']) && class_at(after) == Some(Class::Letter) {
        return mark + run(after, Class::Letter, usize::MAX);
    }
    let marks = text.strip_prefix(' ').unwrap_or(text);
    if class_at(marks) == Some(Class::Other) {
        let end = text.len() - marks.len() + run(marks, Class::Other, usize::MAX);
        return end + line_ends(&text[end..]);
    }
    let whole = run(text, Class::Space, usize::MAX);
    match text[..whole].rfind(['\r', '\n']) {
        Some(last) => last + 1,
        None => space(text),
    }
}

/// `\s+(?!\S)|\s+`: white space, but for its last character where a word follows that may want it.
fn space(text: &str) -> usize {
    let whole = run(text, Class::Space, usize::MAX);
    let last = text[..whole].chars().next_back().map_or(0, char::len_utf8);
    if whole == text.len() || whole == last { whole } else { whole - last }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Lower,
    Any,
}

/// `'s|'t|'re|'ve|'m|'ll|'d`.
#[inline]
fn contraction(text: &str, case: Case) -> Option<usize> {
    let mut letters = text.strip_prefix('\'')?.chars().map(|letter| folded(letter, case));
    match letters.next()? {
        // U+017F, the long s, is an s to whoever ignores case.
        '\u{17F}' if case == Case::Any => Some('\''.len_utf8() + '\u{17F}'.len_utf8()),
        's' | 't' | 'm' | 'd' => Some(2),
        'r' | 'v' if letters.next() == Some('e') => Some(3),
        'l' if letters.next() == Some('l') => Some(3),
        _ => None,
    }
}

fn folded(letter: char, case: Case) -> char {
    match case {
        Case::Lower => letter,
        Case::Any => letter.to_ascii_lowercase(),
    }
}

#[inline]
fn class_at(text: &str) -> Option<Class> {
    text.chars().next().map(Class::of)
}

/// The length of the characters of one class at the start, at most `most` of them.
#[inline]
fn run(text: &str, class: Class, most: usize) -> usize {
    let mut characters = text.char_indices().take(most);
    let other = characters.find(|&(_, character)| Class::of(character) != class);
    match (other, most) {
        (Some((end, _)), _) => end,
        (None, usize::MAX) => text.len(),
        (None, _) => text.char_indices().nth(most).map_or(text.len(), |(end, _)| end),
    }
}

fn line_ends(text: &str) -> usize {
    text.len() - text.trim_start_matches(['\r', '\n']).len()
}

#[cfg(test)]
mod tests;
