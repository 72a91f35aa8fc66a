//! A cursor over JSON text, for the two parts of a `tokenizer.json` that are large.
//!
//! A vocabulary and its merges are hundreds of thousands of short strings. Here a string is a slice
//! of the file, found eight bytes at a time; only one with a backslash is copied. Everything else in
//! the file is small and goes to `serde_json`.
//!
//! The cursor refuses what is not JSON, and more: whoever asks for a number gets plain digits or a
//! refusal. It does not look at UTF-8, which is checked where texts are kept.

use serde::Deserialize;

use super::unknown::{Known, Unknown};

/// Where the reading is.
#[derive(Clone)]
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What stands between two quotes.
#[derive(Clone, Copy)]
pub(super) struct Literal<'a> {
    pub(super) raw: &'a [u8],
    pub(super) has_escapes: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next byte that is not white space, without taking it.
    #[inline]
    pub(super) fn peek(&mut self) -> Known<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.skip_space(),
                Some(&byte) => return Ok(byte),
                None => return Err(Unknown::json("its end")),
            }
        }
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Known<()> {
        if self.peek()? != byte {
            return Err(Unknown::json("another mark"));
        }
        self.at += 1;
        Ok(())
    }

    /// After an element: whether another follows. Takes the comma, or the closing mark.
    #[inline]
    pub(super) fn another(&mut self, close: u8) -> Known<bool> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Ok(true),
            _ if byte == close => Ok(false),
            _ => Err(Unknown::json("no comma")),
        }
    }

    /// After the opening mark: whether there are no elements. Takes the closing mark then.
    pub(super) fn is_empty(&mut self, close: u8) -> Known<bool> {
        let is_empty = self.peek()? == close;
        self.at += usize::from(is_empty);
        Ok(is_empty)
    }

    /// Nothing but white space is left.
    pub(super) fn end(&mut self) -> Known<()> {
        match self.peek() {
            Ok(_) => Err(Unknown::json("more after its end")),
            Err(_) => Ok(()),
        }
    }

    #[inline]
    pub(super) fn string(&mut self) -> Known<Literal<'a>> {
        self.expect(b'"')?;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            self.at += ordinary(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') if self.at + 1 < self.bytes.len() => {
                    has_escapes = true;
                    self.at += 2;
                }
                _ => return Err(Unknown::json("a control character in a string")),
            }
        }
        let raw = &self.bytes[start..self.at];
        self.at += 1;
        Ok(Literal { raw, has_escapes })
    }

    /// A key of an object, with the colon after it.
    #[inline]
    pub(super) fn key(&mut self) -> Known<Literal<'a>> {
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// A whole number without sign, as ids are.
    #[inline]
    pub(super) fn number(&mut self) -> Known<u32> {
        let first = self.peek()?;
        let start = self.at;
        let mut number = 0_u64;
        while let Some(digit) = self.bytes.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            number = number * 10 + u64::from(digit - b'0');
            self.at += 1;
            if self.at - start > MAX_DIGITS {
                return Err(Unknown::json("a number beyond 32 bits"));
            }
        }
        let leading_zero = first == b'0' && self.at - start > 1;
        let goes_on = matches!(self.bytes.get(self.at), Some(b'.' | b'e' | b'E'));
        if self.at == start || leading_zero || goes_on {
            return Err(Unknown::json("no whole number"));
        }
        u32::try_from(number).map_err(|_| Unknown::json("a number beyond 32 bits"))
    }

    /// A value of any type, by `serde_json`.
    pub(super) fn value<T: Deserialize<'a>>(&mut self) -> Known<T> {
        self.peek()?;
        let mut values = serde_json::Deserializer::from_slice(&self.bytes[self.at..]).into_iter();
        let value = values.next().ok_or_else(|| Unknown::json("its end"))?;
        let value = value.map_err(|error| Unknown::because(&error))?;
        self.at += values.byte_offset();
        Ok(value)
    }

    /// Passes over a value that has to be one of `T`.
    pub(super) fn checked<T: Deserialize<'a>>(&mut self) -> Known<()> {
        self.value::<T>().map(|_| ())
    }

    /// White space comes in runs as long as the lines are indented.
    fn skip_space(&mut self) {
        self.at += 1;
        while let Some(chunk) = self.bytes[self.at..].first_chunk::<8>() {
            let other = u64::from_le_bytes(*chunk) ^ (ONES * u64::from(b' '));
            let spaces = other.trailing_zeros() as usize / 8;
            self.at += spaces;
            if spaces < 8 {
                return;
            }
        }
    }
}

impl Literal<'_> {
    /// Appends what the literal stands for, and refuses escapes that stand for nothing.
    pub(super) fn push_to(self, text: &mut Vec<u8>) -> Known<()> {
        if !self.has_escapes {
            text.extend_from_slice(self.raw);
            return Ok(());
        }
        let mut quoted = Vec::with_capacity(self.raw.len() + 2);
        quoted.push(b'"');
        quoted.extend_from_slice(self.raw);
        quoted.push(b'"');
        let plain: String =
            serde_json::from_slice(&quoted).map_err(|error| Unknown::because(&error))?;
        text.extend_from_slice(plain.as_bytes());
        Ok(())
    }
}

/// How many bytes from the first are neither a quote, a backslash nor a control character.
#[inline]
fn ordinary(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let found = marks(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = &bytes[at..];
    at + rest.iter().position(|&byte| is_mark(byte)).unwrap_or(rest.len())
}

fn is_mark(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// The top bit of each byte that is a mark. Bytes above the lowest mark may be reported wrongly, by
/// the borrow of a subtraction; nobody looks at them.
#[inline]
fn marks(word: u64) -> u64 {
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let is_quote = quote.wrapping_sub(ONES) & !quote;
    let is_backslash = backslash.wrapping_sub(ONES) & !backslash;
    let is_control = word.wrapping_sub(ONES * 0x20) & !word;
    (is_quote | is_backslash | is_control) & (ONES * 0x80)
}

/// A one in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// Those of the largest 32-bit number.
const MAX_DIGITS: usize = 10;

#[cfg(test)]
mod tests;
