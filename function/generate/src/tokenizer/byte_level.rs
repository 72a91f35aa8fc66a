//! Bytes as visible characters, as byte-level models spell their vocabularies.
//!
//! A byte that is a visible character of Latin-1 stands for itself; the other 68 follow from U+0100
//! in their order, so that a space is `Ġ` (U+0120) and a line's end `Ċ` (U+010A).

/// The spelling of each byte of `text`.
pub(super) fn spelled(text: &str) -> String {
    text.bytes().map(|byte| SPELLINGS[usize::from(byte)]).collect()
}

/// Appends the bytes that `token` spells; a token with any other character stands for its own.
pub(super) fn push_bytes(token: &str, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    for character in token.chars() {
        let Some(byte) = byte(character) else {
            bytes.truncate(start);
            bytes.extend_from_slice(token.as_bytes());
            return;
        };
        bytes.push(byte);
    }
}

fn byte(spelling: char) -> Option<u8> {
    let code = u32::from(spelling);
    if let Ok(byte) = u8::try_from(code) {
        return is_visible(byte).then_some(byte);
    }
    let place = usize::try_from(code - FIRST_REPLACEMENT).ok()?;
    INVISIBLE.get(place).copied()
}

const fn is_visible(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

const FIRST_REPLACEMENT: u32 = 0x100;

/// The bytes that another character stands for, in the order of those characters.
static INVISIBLE: [u8; 68] = invisible();

static SPELLINGS: [char; 256] = spellings();

const fn invisible() -> [u8; 68] {
    let mut bytes = [0; 68];
    let (mut byte, mut place) = (0_u8, 0);
    loop {
        if !is_visible(byte) {
            bytes[place] = byte;
            place += 1;
        }
        if byte == u8::MAX {
            return bytes;
        }
        byte += 1;
    }
}

const fn spellings() -> [char; 256] {
    let mut characters = ['\0'; 256];
    let (mut byte, mut replacement) = (0_u8, FIRST_REPLACEMENT);
    loop {
        characters[byte as usize] = if is_visible(byte) {
            byte as char
        } else {
            replacement += 1;
            char::from_u32(replacement - 1).expect("below U+0144")
        };
        if byte == u8::MAX {
            return characters;
        }
        byte += 1;
    }
}
