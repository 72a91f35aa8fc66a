//! Our tokenizer and the library's, of one file: they must say the same.

use firstlight_generate::{Detokenizer, Tokenizer};

use super::texts::{self, Random};

/// Two readings of one `tokenizer.json`.
pub(crate) struct Twins {
    pub(crate) ours: Tokenizer,
    library: tokenizers::Tokenizer,
    /// Spellings of added tokens.
    added: Vec<String>,
    /// Past the largest id.
    ids_end: u32,
}

impl Twins {
    pub(crate) fn parse(tokenizer_json: &[u8]) -> Self {
        let mut library = tokenizers::Tokenizer::from_bytes(tokenizer_json).expect("it parses");
        library.with_padding(None).with_truncation(None).expect("none is always allowed");
        let ours = Tokenizer::parse(tokenizer_json).expect("it parses");
        let added = library.get_added_vocabulary().get_vocab().keys().cloned().collect();
        let largest = library.get_vocab(true).values().copied().max();
        Self { ours, library, added, ids_end: largest.map_or(0, |id| id + 1) }
    }

    /// That the file is not left to the library: what this is about.
    pub(crate) fn assert_run_here(&self) {
        let description = format!("{:?}", self.ours);
        assert!(description.ends_with("run here)"), "{description}");
    }

    /// The same ids, with special tokens around and without, and the same text of them.
    pub(crate) fn agree_on(&self, text: &str) {
        for add_special in [false, true] {
            let expected = self.library.encode_fast(text, add_special).expect("it takes any text");
            let ids = self.ours.encode(text, add_special).expect("it takes any text");
            assert_eq!(ids, expected.get_ids(), "{text:?}");
        }
        let ids = self.ours.encode(text, false).expect("it takes any text");
        self.agree_on_ids(&ids);
    }

    pub(crate) fn agree_on_ids(&self, ids: &[u32]) {
        let expected = self.library.decode(ids, true).expect("it takes any ids");
        let text = self.ours.decode(ids).expect("it takes any ids");
        assert_eq!(text, expected, "{ids:?}");
    }

    /// Every id and every spelling, and a few that are none.
    pub(crate) fn agree_on_vocabulary(&self) {
        let library = &self.library;
        assert_eq!(self.ours.vocabulary_size(), library.get_vocab_size(true));
        for id in 0..self.ids_end + 300 {
            let expected = library.id_to_token(id);
            assert_eq!(self.ours.token(id), expected, "{id}");
            let special = |token: &String| library.get_added_vocabulary().is_special_token(token);
            assert_eq!(self.ours.is_special(id), expected.as_ref().is_some_and(special), "{id}");
            let token = expected.unwrap_or_else(|| format!("no token {id}"));
            assert_eq!(self.ours.token_id(&token), library.token_to_id(&token), "{token:?}");
        }
        let added = library.get_added_vocabulary().get_added_tokens_decoder();
        let mut special: Vec<u32> =
            added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        special.sort_unstable();
        assert_eq!(self.ours.special_ids(), special);
    }

    /// Texts and ids from a seed.
    pub(crate) fn agree_on_many(&self, seed: u64, count: usize) {
        let random = &mut Random::new(seed);
        for _ in 0..count {
            self.agree_on(&texts::text(random, &self.added));
            let ids = self.random_ids(random);
            self.agree_on_ids(&ids);
        }
    }

    /// A stream of tokens says the same as all of them, as long as no run of bytes is wrong, or looks so: a U+FFFD of
    /// the text itself is held back as the beginning of a character, and not for as long as several of them are.
    pub(crate) fn streams(&self, seed: u64, count: usize) {
        let random = &mut Random::new(seed);
        for _ in 0..count {
            let text = texts::text(random, &self.added).replace('\u{fffd}', "?");
            let ids = self.ours.encode(&text, false).expect("it takes any text");
            let mut stream = Detokenizer::new(&self.ours);
            let mut streamed = String::new();
            for &id in &ids {
                streamed += &stream.push(id).expect("it takes any id");
            }
            streamed += &stream.finish().expect("it takes any id");
            let expected = self.library.decode(&ids, true).expect("ids");
            assert_eq!(streamed, expected, "{text:?}");
            assert_eq!(self.joined(&ids), expected, "{text:?}");
        }
    }

    /// What the tokens of a text add, one by one, to the first of them.
    fn joined(&self, ids: &[u32]) -> String {
        let mut shown =
            ids.iter().filter(|id| self.ours.token(**id).is_some() && !self.ours.is_special(**id));
        let first = shown.next().map(|first| self.ours.decode(&[*first]).expect("it takes any id"));
        let first = first.unwrap_or_default();
        if first.contains('\u{fffd}') {
            // A part of a character begins it.
            let bytes: Vec<u8> =
                ids.iter().flat_map(|id| self.ours.bytes(*id).expect("it takes any id")).collect();
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        let rest: Vec<u8> =
            shown.flat_map(|id| self.ours.bytes(*id).expect("it takes any id")).collect();
        first + &String::from_utf8_lossy(&rest)
    }

    /// Most of them low, where bytes and special tokens are, some beyond the vocabulary.
    fn random_ids(&self, random: &mut Random) -> Vec<u32> {
        let length = random.below(24);
        (0..length)
            .map(|_| {
                let limit = *random.choose(&[300, 300, self.ids_end, self.ids_end + 50]);
                u32::try_from(random.below(limit as usize)).expect("an id")
            })
            .collect()
    }
}
