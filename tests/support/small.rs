//! Small tokenizers of every shape that is run here, from a seed.
//!
//! Their tokens are pieces of [`PHRASES`](super::texts::PHRASES), put together pair by pair as training would, so that
//! texts meet their merges.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::texts::{PHRASES, Random};

/// One of each shape, by name.
pub(crate) fn all() -> Vec<(&'static str, Value)> {
    let random = &mut Random::new(1);
    let mut bytes = |count| Words::bytes(random, count);
    let word = |regex: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
            byte_level(false, false)]})
    };
    let digits = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": true}, byte_level(false, true)]});
    let mut files = vec![
        ("gpt2", bytes(400).bpe(&json!({})).with("pre_tokenizer", byte_level(false, true))),
        ("roberta", bytes(300).bpe(&json!({})).with("pre_tokenizer", byte_level(true, true))
            .with("post_processor", json!({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0],
                                           "trim_offsets": true, "add_prefix_space": true}))),
        ("smollm2", bytes(500).bpe(&json!({})).with("pre_tokenizer", digits)),
        ("llama3", bytes(900).bpe(&json!({"ignore_merges": true})).with("pre_tokenizer", word(LLAMA3))
            .with("post_processor", json!({"type": "Sequence", "processors": [byte_level(true, false), template()]}))),
        ("qwen2", bytes(700).in_pairs().bpe(&json!({"continuing_subword_prefix": "", "end_of_word_suffix": ""}))
            .with("pre_tokenizer", word(QWEN2)).with("normalizer", json!({"type": "NFC"}))),
        ("byte_level_without_regex", bytes(300).bpe(&json!({})).with("pre_tokenizer", byte_level(false, false))),
    ];
    for (_, file) in &mut files {
        file["decoder"] = byte_level(true, true);
    }
    let fallback = json!({"unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true});
    files.push((
        "llama2",
        Words::marked(random, 300)
            .bpe(&fallback)
            .with(
                "normalizer",
                json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")]}),
            )
            .with("post_processor", template())
            .with(
                "decoder",
                json!({"type": "Sequence", "decoders": [
            replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}),
            ),
    ));
    files.push((
        "gemma",
        Words::marked(random, 500)
            .in_pairs()
            .bpe(&fallback)
            .with("normalizer", replace(" ", "▁"))
            .with(
                "pre_tokenizer",
                json!({"type": "Split", "pattern": {"String": " "},
                                      "behavior": "MergedWithPrevious", "invert": false}),
            )
            .with(
                "decoder",
                json!({"type": "Sequence", "decoders": [
            replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}]}),
            ),
    ));
    for (name, lowercase) in [("bert_uncased", true), ("bert_cased", false)] {
        files.push((name, Words::pieces(random, 600, lowercase)));
    }
    files
}

/// A tokenizer with parts that no model puts together.
pub(crate) fn any(random: &mut Random) -> Value {
    let flags = json!({"unk_token": *random.choose(&[Some("<unk>"), None]), "fuse_unk": random.below(2) == 0,
                       "byte_fallback": random.below(2) == 0, "ignore_merges": random.below(2) == 0});
    let mut words =
        if random.below(2) == 0 { Words::bytes(random, 200) } else { Words::marked(random, 200) };
    for _ in 0..random.below(30) {
        words.lose(random);
    }
    let normalizers = [
        json!(null),
        json!({"type": "NFC"}),
        replace(" ", "▁"),
        replace(" ", ""),
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁▁"}, {"type": "NFC"}]}),
        bert_normalizer(true, true),
        bert_normalizer(false, false),
    ];
    let splits = [
        json!(null),
        byte_level(random.below(2) == 0, random.below(2) == 0),
        json!({"type": "BertPreTokenizer"}),
        json!({"type": "Digits", "individual_digits": false}),
        json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false}),
        json!({"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Removed", "invert": true}),
        json!({"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}, byte_level(true, true)]}),
    ];
    let decoders = [
        json!(null),
        byte_level(true, true),
        json!({"type": "WordPiece", "prefix": "▁", "cleanup": true}),
        json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, replace("▁", "  "),
                                                {"type": "Strip", "content": " ", "start": 3, "stop": 0}]}),
    ];
    let mut file = words.bpe(&flags);
    file["normalizer"] = random.choose(&normalizers).clone();
    file["pre_tokenizer"] = random.choose(&splits).clone();
    file["decoder"] = random.choose(&decoders).clone();
    let contents = [
        "<|a|>",
        "<|a",
        "the",
        "The",
        " é",
        "<s>x",
        "\n\n",
        "ing",
        "fox jumps",
        "中",
        "e\u{301}",
        "▁▁",
        "lazy ",
    ];
    let added = file["added_tokens"].as_array_mut().expect("a list");
    for content in contents {
        if random.below(2) == 0 {
            let [single_word, lstrip, rstrip, normalized, special] =
                [(); 5].map(|()| random.below(3) == 0);
            // Whoever is stripped of spaces has none: the library would trip over its own offsets.
            let strips = content.trim() == content;
            added.push(json!({"id": 0, "content": content, "single_word": single_word, "lstrip": lstrip && strips,
                              "rstrip": rstrip && strips, "normalized": normalized, "special": special}));
        }
    }
    file
}

/// Tokens in the order of their ids, and merges in that of their ranks.
pub(crate) struct Words {
    tokens: Vec<String>,
    known: HashSet<String>,
    merges: Vec<(String, String)>,
    in_pairs: bool,
}

impl Words {
    /// Bytes as visible characters, and pieces of phrases spelled so.
    fn bytes(random: &mut Random, count: usize) -> Self {
        let alphabet = (0..=255).map(|byte| visible(byte).to_string());
        let source: Vec<String> =
            PHRASES.iter().map(|phrase| phrase.bytes().map(visible).collect()).collect();
        Self::new(specials().chain(alphabet), &source, random, count)
    }

    /// `▁` for a space, bytes as `<0xE2>`.
    fn marked(random: &mut Random, count: usize) -> Self {
        let bytes = (0..=255).map(|byte: u8| format!("<0x{byte:02X}>"));
        let source: Vec<String> = PHRASES.iter().map(|phrase| phrase.replace(' ', "▁")).collect();
        let letters: HashSet<char> = source[..9].iter().flat_map(|phrase| phrase.chars()).collect();
        let mut letters: Vec<String> = letters.into_iter().map(String::from).collect();
        letters.sort_unstable();
        Self::new(specials().chain(bytes).chain(letters), &source, random, count)
    }

    /// Words and the parts of words, as BERT has them.
    fn pieces(random: &mut Random, count: usize, lowercase: bool) -> Value {
        let mut tokens: Vec<String> =
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "'", "中"]
                .map(str::to_owned)
                .into();
        let letters = ('a'..='z').chain('A'..='Z').chain('0'..='9').chain("éüßпрмт界안".chars());
        tokens.extend(letters.flat_map(|letter| [letter.to_string(), format!("##{letter}")]));
        for _ in 0..count {
            let phrase = if lowercase {
                random.choose(PHRASES).to_lowercase()
            } else {
                (*random.choose(PHRASES)).to_owned()
            };
            let word: Vec<char> =
                phrase.split(' ').nth(random.below(5)).unwrap_or_default().chars().collect();
            if !word.is_empty() {
                let start = random.below(word.len());
                let end = start + 1 + random.below(word.len() - start);
                let prefix = if start == 0 { "" } else { "##" };
                tokens.push(
                    word[start..end]
                        .iter()
                        .fold(prefix.to_owned(), |text, letter| text + &letter.to_string()),
                );
            }
        }
        let mut seen = HashSet::new();
        tokens.retain(|token| seen.insert(token.clone()));
        let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
        json!({
            "version": "1.0", "added_tokens": (0..5).map(|id| added(id, specials[id])).collect::<Vec<_>>(),
            "normalizer": bert_normalizer(lowercase, true), "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": lowercase},
            "truncation": {"max_length": 8, "strategy": "LongestFirst", "stride": 0}, "padding": null,
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 20, "vocab": ids(&tokens)}
        })
    }

    fn new(
        alphabet: impl Iterator<Item = String>,
        source: &[String],
        random: &mut Random,
        count: usize,
    ) -> Self {
        let tokens: Vec<String> = alphabet.collect();
        let known = tokens.iter().cloned().collect();
        let mut words = Self { tokens, known, merges: Vec::new(), in_pairs: false };
        for _ in 0..count {
            let phrase: Vec<char> = random.choose(source).chars().collect();
            let start = random.below(phrase.len());
            let length = random.below(8).min(phrase.len() - start);
            words
                .learn(phrase[start..start + length].iter().map(char::to_string).collect(), random);
        }
        words
    }

    /// Adds the merges that make one token of `parts`, in any order.
    fn learn(&mut self, mut parts: Vec<String>, random: &mut Random) {
        if !parts.iter().all(|part| self.known.contains(part)) {
            return;
        }
        while parts.len() > 1 {
            let at = random.below(parts.len() - 1);
            let right = parts.remove(at + 1);
            let joined = parts[at].clone() + &right;
            if self.known.insert(joined.clone()) {
                self.tokens.push(joined.clone());
            }
            // Now and then a pair is there twice.
            let merge = (parts[at].clone(), right);
            if !self.merges.contains(&merge) || random.below(50) == 0 {
                self.merges.push(merge);
            }
            parts[at] = joined;
        }
    }

    /// Takes a token away, if no merge needs it.
    fn lose(&mut self, random: &mut Random) {
        let token = random.choose(&self.tokens).clone();
        let is_needed = self.merges.iter().any(|(left, right)| {
            *left == token || *right == token || left.clone() + right == token
        });
        if !is_needed && !token.starts_with('<') | token.starts_with("<0x") {
            self.tokens.retain(|other| *other != token);
        }
    }

    fn in_pairs(mut self) -> Self {
        self.in_pairs = true;
        self
    }

    fn bpe(&self, fields: &Value) -> Value {
        let merges: Vec<Value> = self
            .merges
            .iter()
            .map(|(left, right)| {
                if self.in_pairs { json!([left, right]) } else { json!(format!("{left} {right}")) }
            })
            .collect();
        let mut model =
            json!({"type": "BPE", "dropout": null, "vocab": ids(&self.tokens), "merges": merges});
        for (name, value) in fields.as_object().expect("fields") {
            model[name] = value.clone();
        }
        let added: Vec<Value> =
            (0..3).map(|id| added(id, SPECIALS[id])).chain([added(9999, "<|im_end|>")]).collect();
        json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
               "pre_tokenizer": null, "post_processor": null, "decoder": null, "model": model})
    }
}

/// Setting a field in a chain.
trait With {
    fn with(self, field: &str, value: Value) -> Self;
}

impl With for Value {
    fn with(mut self, field: &str, value: Value) -> Self {
        self[field] = value;
        self
    }
}

fn ids(tokens: &[String]) -> Map<String, Value> {
    tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect()
}

fn specials() -> impl Iterator<Item = String> {
    SPECIALS.iter().map(|&token| token.to_owned())
}

fn added(id: usize, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": true})
}

fn byte_level(add_prefix_space: bool, use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": use_regex})
}

fn replace(text: &str, content: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": text}, "content": content})
}

fn bert_normalizer(lowercase: bool, clean_text: bool) -> Value {
    json!({"type": "BertNormalizer", "clean_text": clean_text, "handle_chinese_chars": true, "strip_accents": null,
           "lowercase": lowercase})
}

fn template() -> Value {
    let begin = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    json!({"type": "TemplateProcessing", "single": [begin, text("A")], "pair": [begin, text("A"), text("B")],
           "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}})
}

/// The character by which byte-level models write a byte.
fn visible(byte: u8) -> char {
    let is_visible = |byte: u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_visible(byte) {
        return char::from(byte);
    }
    let place = (0..byte).filter(|&before| !is_visible(before)).count();
    char::from_u32(0x100 + u32::try_from(place).expect("below 68")).expect("Latin")
}

const SPECIALS: [&str; 3] = ["<s>", "</s>", "<unk>"];

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
