//! Token ids to text, piece by piece.
//!
//! What a token says depends on its neighbours: a character may be spread over several tokens, and
//! the space before a word is dropped at the start of a text only. So a token is decoded together
//! with those before it, and the piece that it adds is the difference:
//!
//! ```text
//! window:   [ tokens handed out already | tokens that came since ]
//! text:     [ emitted                   | the next piece | U+FFFD ]
//! ```
//!
//! U+FFFD at the end stands for the first bytes of a character whose other bytes may still come: it
//! is held back. When the text ends in a whole character the window moves on, so that its length
//! stays a few tokens.
//!
//! The pieces together are the decoding of the whole sequence, with one exception: `tokenizers`
//! decodes a run of byte tokens (`<0xE2>`) in which *any* byte is wrong as U+FFFD throughout.
//! Characters of such a run that were whole when they came have been handed out and stay.

use crate::{Result, Tokenizer};

/// The text of a growing sequence of tokens.
#[derive(Debug)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    window: Vec<u32>,
    /// How many tokens at the front of `window` are only there as context.
    settled: usize,
    /// The text of `window` that has been handed out.
    emitted: String,
}

impl Detokenizer {
    /// Starts at the beginning of a text.
    #[must_use]
    pub fn new(tokenizer: &Tokenizer) -> Self {
        let tokenizer = tokenizer.clone();
        Self { tokenizer, window: Vec::new(), settled: 0, emitted: String::new() }
    }

    /// Starts after a prompt, whose text is not repeated: the first word keeps its space.
    pub fn after(tokenizer: &Tokenizer, prompt_ids: &[u32]) -> Result<Self> {
        let mut detokenizer = Self::new(tokenizer);
        let shown = prompt_ids.iter().rev().filter(|&&id| has_text(tokenizer, id));
        detokenizer.window = shown.copied().take(CONTEXT_TOKENS).collect();
        detokenizer.window.reverse();
        detokenizer.settle()?;
        Ok(detokenizer)
    }

    /// Takes one token and returns the text that is now certain: often a word, sometimes nothing.
    pub fn push(&mut self, id: u32) -> Result<String> {
        if !has_text(&self.tokenizer, id) {
            return Ok(String::new());
        }
        self.window.push(id);
        let text = self.text()?;
        let certain = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        if certain.len() == text.len() {
            self.move_on(&text)
        } else if self.window.len() - self.settled > MAX_HELD_TOKENS {
            self.give_up(&text)
        } else {
            let piece = self.piece(certain);
            self.emitted.push_str(&piece);
            Ok(piece)
        }
    }

    /// The text that was held back, if any: the sequence ends here.
    pub fn finish(&mut self) -> Result<String> {
        let text = self.text()?;
        let piece = self.piece(&text);
        self.emitted = text;
        Ok(piece)
    }

    /// The text of the window. It begins with what was emitted: where a wrong byte turned a whole
    /// run of byte tokens into U+FFFD, the window begins anew after the tokens that were handed
    /// out.
    fn text(&mut self) -> Result<String> {
        let text = self.tokenizer.decode(&self.window)?;
        if text.starts_with(&self.emitted) {
            return Ok(text);
        }
        self.window.drain(..self.settled);
        self.settled = 0;
        self.emitted.clear();
        self.tokenizer.decode(&self.window)
    }

    /// What `text` has more than was emitted.
    fn piece(&self, text: &str) -> String {
        text.get(self.emitted.len()..).unwrap_or_default().to_owned()
    }

    /// The text is whole: hands it out and keeps the latest tokens as context. Tokens without text
    /// of their own stay, because a text that begins after them would lose its space.
    fn move_on(&mut self, text: &str) -> Result<String> {
        let piece = self.piece(text);
        if !piece.is_empty() {
            self.window.drain(..self.settled);
            self.settle()?;
        }
        Ok(piece)
    }

    fn settle(&mut self) -> Result<()> {
        self.settled = self.window.len();
        self.emitted = self.tokenizer.decode(&self.window)?;
        Ok(())
    }

    /// More tokens than a character can have did not become one, so they never will: hands them out
    /// as U+FFFD, all but the latest, which may be the beginning of a good character.
    fn give_up(&mut self, text: &str) -> Result<String> {
        let latest = self.window.split_off(self.window.len() - UNFINISHED_TOKENS);
        let latest_text = self.tokenizer.decode(&latest)?;
        let open = latest_text.strip_suffix(char::REPLACEMENT_CHARACTER);
        let piece = match open {
            Some(_) => self.piece(&text[..text.len() - char::REPLACEMENT_CHARACTER.len_utf8()]),
            None => self.piece(text),
        };
        self.settled = if open.is_some() { 0 } else { latest.len() };
        open.unwrap_or(&latest_text).clone_into(&mut self.emitted);
        self.window = latest;
        Ok(piece)
    }
}

/// Special tokens are not shown, and a model's vocabulary may have ids that its tokenizer has not.
fn has_text(tokenizer: &Tokenizer, id: u32) -> bool {
    tokenizer.token(id).is_some() && !tokenizer.is_special(id)
}

/// Enough of a prompt for the first token to be decoded as one that follows: a word's parts, or a
/// character's bytes.
const CONTEXT_TOKENS: usize = 4;

/// An unfinished character of UTF-8 has at most three bytes, and a token at least one.
const UNFINISHED_TOKENS: usize = 3;

/// Two characters of four bytes: well past the point at which bytes without a character are known
/// to be wrong. It bounds the window, and with it the work for a token.
const MAX_HELD_TOKENS: usize = 8;

#[cfg(test)]
mod tests;
