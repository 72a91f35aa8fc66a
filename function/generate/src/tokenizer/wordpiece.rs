//! The algorithm of BERT: a word is the longest token that it begins with, then the longest that goes on, each
//! after the first marked by a prefix such as `##`. A word that cannot be made so is one unknown
//! token.

use super::vocabulary::Vocabulary;

/// The model of BERT and its kin.
pub(super) struct WordPiece {
    pub(super) unknown: u32,
    /// What the spelling of a token that continues a word begins with.
    pub(super) prefix: String,
    /// A word with more characters is unknown without being looked at.
    pub(super) max_characters: usize,
}

impl WordPiece {
    /// Appends the ids of one word.
    pub(super) fn encode(&self, word: &str, vocabulary: &Vocabulary, ids: &mut Vec<u32>) {
        let before = ids.len();
        let is_short = word.chars().nth(self.max_characters).is_none();
        if !is_short || self.pieces(word, vocabulary, ids).is_none() {
            ids.truncate(before);
            ids.push(self.unknown);
        }
    }

    fn pieces(&self, word: &str, vocabulary: &Vocabulary, ids: &mut Vec<u32>) -> Option<()> {
        let mut spelling = String::with_capacity(self.prefix.len() + word.len());
        let mut rest = word;
        while !rest.is_empty() {
            spelling.clear();
            spelling.push_str(if rest.len() < word.len() { &self.prefix } else { "" });
            let prefix_bytes = spelling.len();
            spelling.push_str(rest);
            ids.push(longest(&mut spelling, prefix_bytes, vocabulary)?);
            rest = &rest[spelling.len() - prefix_bytes..];
        }
        Some(())
    }
}

/// Shortens `spelling` to the longest token, of which at least a character follows the prefix.
fn longest(spelling: &mut String, prefix_bytes: usize, vocabulary: &Vocabulary) -> Option<u32> {
    while spelling.len() > prefix_bytes {
        if let Some(id) = vocabulary.id(spelling.as_bytes()) {
            return Some(id);
        }
        spelling.pop();
    }
    None
}
