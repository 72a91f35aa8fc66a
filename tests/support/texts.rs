//! Texts that are hard on a tokenizer, from a seed.
//!
//! Pieces of every kind that has ever split two tokenizers: all scripts, composed and decomposed accents, emoji
//! families, control characters, line ends of all systems, contractions in any case, numbers of all scripts, long
//! runs, special tokens whole and broken, bytes that were no UTF-8, code. A text is some of them in a row.

use super::random_model;

/// Choices from a seed.
pub(crate) struct Random(random_model::Random);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(random_model::Random::new(seed, "texts"))
    }

    /// Below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.draw() % limit as u64).expect("below a usize")
    }

    pub(crate) fn choose<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len())]
    }

    fn character(&mut self, first: u32, last: u32) -> char {
        let span = usize::try_from(last - first + 1).expect("32 bits");
        let code = first + u32::try_from(self.below(span)).expect("below the span");
        char::from_u32(code).unwrap_or('\u{FFFD}')
    }
}

/// All characters, some hundred a text: alone, and beside letters, digits and spaces.
pub(crate) fn all_characters() -> Vec<String> {
    let assigned = ('\0'..=char::MAX).filter(|&character| {
        // Ideographs, Hangul and private use go on for long without anything new.
        let code = u32::from(character);
        let is_dull = matches!(code, 0x3500..=0x4DA0 | 0x4F00..=0x9F80 | 0xAD00..=0xD700 | 0xE080..=0xF8C0 | 0x20080..=0x2A680 | 0x2A700..=0x2F7F0 | 0x30080..=0xE0000 | 0xE0200..);
        !is_dull || code.is_multiple_of(61)
    });
    let characters: Vec<char> = assigned.collect();
    characters
        .chunks(64)
        .flat_map(|block| {
            let beside = |before: &str, after: &str| -> String {
                block
                    .iter()
                    .flat_map(|&one| before.chars().chain([one]).chain(after.chars()))
                    .collect()
            };
            [
                block.iter().collect(),
                beside("", " "),
                beside("a", ""),
                beside("1 ", "x"),
                beside("'", ".\n"),
            ]
        })
        .collect()
}

/// A text of a few pieces; `tokens` are spellings that may occur, whole or broken.
pub(crate) fn text(random: &mut Random, tokens: &[String]) -> String {
    let pieces = random.below(12) + 1;
    (0..pieces).map(|_| piece(random, tokens)).collect()
}

fn piece(random: &mut Random, tokens: &[String]) -> String {
    match random.below(16) {
        0 | 1 => (*random.choose(PHRASES)).to_owned(),
        2 => script(random),
        3 => (*random.choose(CLUSTERS)).to_owned(),
        4 => run_of(random),
        5 => contraction(random),
        6 => digits(random),
        7 => white(random),
        8 => token(random, tokens),
        9 => bytes(random),
        10 => (*random.choose(CODE)).to_owned(),
        11 => random.character(0, 0x24F).to_string(),
        12 => random.character(0, 0x10_FFFF).to_string(),
        13 => marked(random),
        14 => " ".to_owned(),
        _ => random.choose(PHRASES).split(' ').next().unwrap_or_default().to_uppercase(),
    }
}

/// A word of one script.
fn script(random: &mut Random) -> String {
    let (first, last) = *random.choose(SCRIPTS);
    (0..=random.below(8)).map(|_| random.character(first, last)).collect()
}

fn run_of(random: &mut Random) -> String {
    let unit = *random.choose(&[
        "a", " ", "\n", "\t", "=", "-", "0", "😀", "é", "▁", "ab", "\r\n", "!", "中", "'s",
        "\u{301}", "\u{200D}", "A", "<",
    ]);
    let most = *random.choose(&[4, 20, 300]);
    unit.repeat(random.below(most) + 1)
}

fn contraction(random: &mut Random) -> String {
    let letters = *random.choose(&[
        "s", "t", "re", "ve", "m", "ll", "d", "S", "T", "RE", "Ve", "vE", "M", "LL", "lL", "D",
        "ſ", "\u{212A}", "l", "r", "sé", "ß", "ŉ",
    ]);
    let word = *random.choose(&["I", "we", " they", "don", "ö", "1", "", " "]);
    format!("{word}'{letters}")
}

fn digits(random: &mut Random) -> String {
    let zero = *random.choose(&[
        0x30, 0x660, 0x966, 0xE50, 0xFF10, 0x1D7CE, 0x2160, 0xB2, 0xBC, 0x3007, 0x2460, 0x10107,
    ]);
    (0..=random.below(9)).map(|_| random.character(zero, zero + 9)).collect()
}

fn white(random: &mut Random) -> String {
    let kinds = [
        " ", " ", " ", "\n", "\r\n", "\r", "\t", "\u{A0}", "\u{2003}", "\u{2028}", "\u{3000}",
        "\u{B}", "\u{C}", "\u{85}", "\u{1680}", "\u{200B}", "\u{FEFF}", "\u{1C}", "\u{180E}",
    ];
    (0..=random.below(6)).map(|_| *random.choose(&kinds)).collect()
}

/// A special token, or most of one.
fn token(random: &mut Random, tokens: &[String]) -> String {
    if tokens.is_empty() {
        return "<s>".to_owned();
    }
    let token = random.choose(tokens).clone();
    let end = token
        .char_indices()
        .map(|(at, _)| at)
        .nth(random.below(12))
        .filter(|_| random.below(3) == 0);
    match random.below(6) {
        0 => format!(" {token} "),
        1 => format!("a{token}\n"),
        2 => token.to_uppercase(),
        _ => token[..end.unwrap_or(token.len())].to_owned(),
    }
}

fn bytes(random: &mut Random) -> String {
    let bytes: Vec<u8> = (0..=random.below(12)).map(|_| random.0.draw().to_le_bytes()[0]).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Letters with marks in any order, which composition has to sort.
fn marked(random: &mut Random) -> String {
    let marks = [
        '\u{300}', '\u{301}', '\u{308}', '\u{323}', '\u{327}', '\u{345}', '\u{5B0}', '\u{94D}',
        '\u{3099}', '\u{1161}', '\u{11A8}', '\u{20D0}', '\u{1DCA}',
    ];
    let letter = *random.choose(&[
        'a', 'e', 'O', 'ö', 'ạ', 'α', 'ק', 'क', 'か', '\u{1100}', '가', 'Å', '\u{212B}',
        '\u{2126}', ' ', '1',
    ]);
    let marks = (0..random.below(4)).map(|_| *random.choose(&marks)).collect::<Vec<_>>();
    [letter].into_iter().chain(marks).collect()
}

pub(crate) const PHRASES: &[&str] = &[
    "The quick brown fox jumps over the lazy dog. ",
    "Once upon a time, there was",
    " don't you think it's we'll I'm they've",
    "I'LL SAY IT'S HERS",
    "Übergrößenträger straße ",
    "Ça va très bien, naïve café",
    "Привет, как дела? ",
    "今日は世界、元気ですか。",
    "안녕하세요 세계",
    "مرحبا بالعالم ",
    "שלום עולם",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "Γειά σου Κόσμε",
    "xin chào thế giới ",
    "e = mc², π ≈ 3.14159; ½ + ¼ = ¾",
    "100,000.50 USD on 2024-01-31T23:59:59Z",
    "user@example.com https://example.com/?q=a%20b#c",
    "Hello   world\n\n\nNew  paragraph\t\ttabs ",
    "  leading and trailing  ",
    "do not is n't ' quoted ' , . ! ?",
    "ǅ ǆ Ǆ İıŞ ẞ ﬁ ﬀ",
];

const CLUSTERS: &[&str] = &[
    "👨‍👩‍👧‍👦",
    "🏳️‍🌈",
    "👍🏽",
    "🇩🇪🇫🇷",
    "1️⃣",
    "❤️",
    "e\u{301}",
    "a\u{308}\u{323}",
    "각",
    "\u{1100}\u{1161}\u{11A8}",
    "क्षि",
    "தமிழ்",
    "\u{202E}abc\u{202C}",
    "\0",
    "\u{7F}",
    "\u{1B}[0m",
    "\u{FFFD}",
    "\u{FFFE}",
    "\u{E000}",
    "\u{10FFFF}",
    "\u{AD}",
    "℃№™",
    "ﷺ",
    "…—“”‘’",
];

const CODE: &[&str] = &[
    "fn main() {\n    println!(\"{}\", 1 + 2);\n}\n",
    "if (a<=b&&c!=d){return x[0]->y;}\r\n",
    "def f(x):\n\treturn x ** 2  # square\n",
    "<div class=\"a\">&nbsp;</div>",
    "SELECT * FROM t WHERE a='b';--",
    "\\begin{equation}\\frac{1}{2}\\end{equation}",
    "$ git log --oneline | head -n 5",
    "{\"a\": [1, 2.5e-3, null], \"b\\n\": \"\\u00e9\"}",
    "0xFF_u8 0b1010 1e10 __init__ camelCase snake_case SCREAMING_CASE",
];

/// First and last characters of blocks.
const SCRIPTS: &[(u32, u32)] = &[
    (0x61, 0x7A),
    (0xC0, 0x24F),
    (0x250, 0x2FF),
    (0x370, 0x3FF),
    (0x400, 0x52F),
    (0x531, 0x58F),
    (0x590, 0x5FF),
    (0x600, 0x6FF),
    (0x700, 0x74F),
    (0x780, 0x7BF),
    (0x900, 0x97F),
    (0x980, 0x9FF),
    (0xA00, 0xA7F),
    (0xB80, 0xBFF),
    (0xC00, 0xC7F),
    (0xD00, 0xD7F),
    (0xD80, 0xDFF),
    (0xE00, 0xE7F),
    (0xE80, 0xEFF),
    (0xF00, 0xFFF),
    (0x1000, 0x109F),
    (0x10A0, 0x10FF),
    (0x1100, 0x11FF),
    (0x1200, 0x137F),
    (0x13A0, 0x13FF),
    (0x1780, 0x17FF),
    (0x1800, 0x18AF),
    (0x1D00, 0x1DBF),
    (0x1E00, 0x1FFF),
    (0x2000, 0x206F),
    (0x20A0, 0x20CF),
    (0x2100, 0x218F),
    (0x2190, 0x23FF),
    (0x2C00, 0x2DFF),
    (0x3000, 0x30FF),
    (0x3100, 0x318F),
    (0x4E00, 0x4EFF),
    (0xA000, 0xA4CF),
    (0xA640, 0xA7FF),
    (0xAC00, 0xAD00),
    (0xFB00, 0xFDFF),
    (0xFE00, 0xFFEF),
    (0x10000, 0x100FF),
    (0x10400, 0x1044F),
    (0x12000, 0x120FF),
    (0x1D400, 0x1D7FF),
    (0x1E900, 0x1E95F),
    (0x1F300, 0x1F6FF),
    (0x1F900, 0x1FAFF),
    (0x20000, 0x200FF),
];
