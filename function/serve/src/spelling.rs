//! The tokens of an answer, as they are told to who asks how likely they were.
//!
//! Within a text the space before a word is part of the word, so that the texts of all tokens
//! together are the answer. A character may be spread over several tokens: each of them is then told
//! as U+FFFD, and has bytes of its own. Special tokens, such as the end of a text, are told by their
//! names; they are no part of the answer and have no bytes.

use firstlight_generate::{Logprob, Logprobs, Tokenizer};

/// A token that stands in an answer, and those that could have stood there.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) token: Likely,
    pub(crate) top: Vec<Likely>,
    /// Characters of the answer that stand before it.
    pub(crate) offset: usize,
}

/// A token, and how likely it was.
#[derive(Debug)]
pub(crate) struct Likely {
    pub(crate) spelling: Spelling,
    /// Of the first token of a prompt nobody knows.
    pub(crate) logprob: Option<f32>,
}

/// A token for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spelling {
    pub(crate) text: String,
    /// What it adds to the answer.
    pub(crate) bytes: Option<Vec<u8>>,
}

/// Spells the tokens of one answer, from the first to the last.
pub(crate) struct Speller {
    tokenizer: Tokenizer,
    /// Whether the next token begins the text, and not only the part of it that is told.
    begins_text: bool,
    offset: usize,
}

impl Speller {
    /// Of an answer that begins with its prompt, or that follows it.
    pub(crate) fn new(tokenizer: &Tokenizer, begins_text: bool) -> Self {
        Self { tokenizer: tokenizer.clone(), begins_text, offset: 0 }
    }

    /// The next token.
    pub(crate) fn tell(&mut self, id: u32, logprobs: Option<Logprobs>) -> Told {
        let (chosen, top) = match logprobs {
            Some(Logprobs { chosen, top }) => (Some(chosen.logprob), top),
            None => (None, Vec::new()),
        };
        let likely = |Logprob { id, logprob }: Logprob| Likely {
            spelling: self.spelling(id),
            logprob: Some(logprob),
        };
        let top = top.into_iter().map(likely).collect();
        let token = Likely { spelling: self.spelling(id), logprob: chosen };
        let offset = self.offset;
        if let Some(bytes) = &token.spelling.bytes {
            self.offset += characters(bytes);
            self.begins_text = false;
        }
        Told { token, top, offset }
    }

    fn spelling(&self, id: u32) -> Spelling {
        if self.tokenizer.is_special(id) {
            return Spelling { text: self.tokenizer.token(id).unwrap_or_default(), bytes: None };
        }
        let bytes = self.first_bytes(id).unwrap_or_else(|| self.tokenizer.bytes(id));
        // A decoder that fails has said so in the answer itself.
        let bytes = bytes.unwrap_or_default();
        Spelling { text: String::from_utf8_lossy(&bytes).into_owned(), bytes: Some(bytes) }
    }

    /// Those of a token that begins the text, where it is a text by itself.
    fn first_bytes(&self, id: u32) -> Option<firstlight_generate::Result<Vec<u8>>> {
        let text = self.begins_text.then(|| self.tokenizer.decode(&[id]))?;
        let is_part = text.as_ref().is_ok_and(|text| text.contains(char::REPLACEMENT_CHARACTER));
        (!is_part).then(|| text.map(String::into_bytes))
    }
}

/// How many characters begin in these bytes.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte).cast_signed() >= CONTINUED).count()
}

/// In UTF-8 the bytes after a character's first are `0b10……`: signed, they are below this.
const CONTINUED: i8 = -0x40;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `▁` for a space, one put before the text, and bytes as `<0xE2>`, as Llama 2 has it.
    fn tokenizer() -> Tokenizer {
        let pieces = ["<unk>", "<s>", "</s>", "▁Once", "▁a", "b", "<0xE2>", "<0x82>", "<0xAC>"];
        let vocabulary: serde_json::Map<_, _> =
            pieces.iter().enumerate().map(|(id, piece)| ((*piece).to_owned(), json!(id))).collect();
        let special = |id: u32| {
            json!({"id": id, "content": pieces[id as usize], "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false, "special": true})
        };
        let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
        let file = json!({
            "version": "1.0", "added_tokens": [special(0), special(1), special(2)],
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")]},
            "decoder": {"type": "Sequence", "decoders": [
                replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
                      "vocab": vocabulary, "merges": []},
        });
        Tokenizer::parse(file.to_string().as_bytes()).unwrap()
    }

    fn told(begins_text: bool, ids: &[u32]) -> Vec<(String, Option<Vec<u8>>, usize)> {
        let mut speller = Speller::new(&tokenizer(), begins_text);
        let told = ids.iter().map(|&id| speller.tell(id, None));
        told.map(|it| (it.token.spelling.text, it.token.spelling.bytes, it.offset)).collect()
    }

    #[test]
    fn words_keep_their_space_but_for_the_first_of_a_text() {
        let [once, a, b] = [" Once", " a", "b"];
        let of = |text: &str, offset| (text.to_owned(), Some(text.as_bytes().to_vec()), offset);
        assert_eq!(told(false, &[3, 4, 5]), [of(once, 0), of(a, 5), of(b, 7)]);
        let begin = ("<s>".to_owned(), None, 0);
        assert_eq!(told(true, &[1, 3, 4]), [begin, of("Once", 0), of(a, 4)]);
    }

    #[test]
    fn parts_of_a_character_have_their_bytes_and_one_character_together() {
        let part = |byte: u8, offset| ("\u{FFFD}".to_owned(), Some(vec![byte]), offset);
        let end = ("</s>".to_owned(), None, 2);
        let b = ("b".to_owned(), Some(b"b".to_vec()), 1);
        for begins_text in [false, true] {
            assert_eq!(
                told(begins_text, &[6, 7, 8, 5, 2]),
                [part(0xE2, 0), part(0x82, 1), part(0xAC, 1), b.clone(), end.clone()]
            );
        }
    }

    #[test]
    fn what_could_have_stood_there_is_spelled_as_what_does() {
        let likely = |id| Logprob { id, logprob: -1.0 };
        let logprobs = Logprobs { chosen: likely(3), top: vec![likely(3), likely(4)] };
        for (begins_text, spellings) in [(true, ["Once", "a"]), (false, [" Once", " a"])] {
            let told = Speller::new(&tokenizer(), begins_text).tell(3, Some(logprobs.clone()));
            assert_eq!(told.token.spelling.text, spellings[0]);
            let top: Vec<_> = told.top.iter().map(|it| it.spelling.text.as_str()).collect();
            assert_eq!(top, spellings);
        }
    }
}
