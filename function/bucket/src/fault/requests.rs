//! Which requests a rule is about, by name and range, and which of them in turn.

use std::ops::Range;

use hyper::Method;

use crate::request::Target;

/// Which requests a rule is about, and which of them in turn. In names, `*` stands for any text.
#[derive(Clone, Debug)]
pub struct Requests {
    method: Option<Method>,
    bucket: String,
    key: String,
    overlapping: Option<Range<u64>>,
    pub(super) turn: Turn,
}

impl Requests {
    /// Reads of objects.
    #[must_use]
    pub fn get(bucket: &str, key: &str) -> Self {
        Self { method: Some(Method::GET), ..Self::any(bucket, key) }
    }

    /// Questions about objects: `HEAD`.
    #[must_use]
    pub fn head(bucket: &str, key: &str) -> Self {
        Self { method: Some(Method::HEAD), ..Self::any(bucket, key) }
    }

    /// All requests, also those to the bucket itself where `key` matches the empty text.
    #[must_use]
    pub fn any(bucket: &str, key: &str) -> Self {
        Self {
            method: None,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            overlapping: None,
            turn: Turn::Every,
        }
    }

    /// Only those that ask for some byte of `range`; a read of the whole object does.
    #[must_use]
    pub fn overlapping(self, range: Range<u64>) -> Self {
        Self { overlapping: Some(range), ..self }
    }

    /// Only the `n`th of them, counted from 1.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        Self { turn: Turn::Nth(n), ..self }
    }

    /// Only the first `n` of them.
    #[must_use]
    pub fn first(self, n: u64) -> Self {
        Self { turn: Turn::First(n), ..self }
    }

    /// All but the first `n` of them.
    #[must_use]
    pub fn after(self, n: u64) -> Self {
        Self { turn: Turn::After(n), ..self }
    }

    /// Each of them with this probability.
    #[must_use]
    pub fn with_chance(self, probability: f64) -> Self {
        self.drawn(0.0, probability)
    }

    /// Only those whose chance, which is below 1, falls into `from..to`.
    pub(super) fn drawn(self, from: f64, to: f64) -> Self {
        Self { turn: Turn::Drawn { from, to }, ..self }
    }

    pub(super) fn match_target(&self, target: &Target) -> bool {
        self.method.as_ref().is_none_or(|method| *method == target.method)
            && glob(&self.bucket, &target.bucket)
            && glob(&self.key, &target.key)
            && self.overlapping.as_ref().is_none_or(|ours| overlap(ours, target.range.as_ref()))
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    Every,
    Nth(u64),
    First(u64),
    After(u64),
    /// When chance, which is below 1, falls into this.
    Drawn {
        from: f64,
        to: f64,
    },
}

impl Turn {
    pub(super) fn has_come(self, count: u64, draw: impl FnOnce() -> f64) -> bool {
        match self {
            Self::Every => true,
            Self::Nth(n) => count == n,
            Self::First(n) => count <= n,
            Self::After(n) => count > n,
            Self::Drawn { from, to } => (from..to).contains(&draw()),
        }
    }
}

/// Whether `text` is what `pattern` describes: on a mismatch the last `*` takes one character more.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((star_p, star_t)) = star {
            star = Some((star_p, star_t + 1));
            (p, t) = (star_p + 1, star_t + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Without a range of its own, a request asks for every byte.
fn overlap(ours: &Range<u64>, asked: Option<&Range<u64>>) -> bool {
    asked.is_none_or(|asked| asked.start < ours.end && ours.start < asked.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(key: &str, range: Option<Range<u64>>) -> Target {
        Target { method: Method::GET, bucket: "models".to_owned(), key: key.to_owned(), range }
    }

    #[test]
    fn ranges_and_names_select() {
        let rule = Requests::get("m*", "*.safetensors").overlapping(100..200);
        for (key, range, expected) in [
            ("a/b.safetensors", Some(0..101), true),
            ("a/b.safetensors", Some(199..300), true),
            ("a/b.safetensors", None, true),
            ("a/b.safetensors", Some(0..100), false),
            ("a/b.safetensors", Some(200..300), false),
            ("a/b.json", None, false),
        ] {
            assert_eq!(rule.match_target(&get(key, range.clone())), expected, "{key} {range:?}");
        }
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*b*b", "abab", true),
            ("a**", "a", true),
            ("*.json", "x.json.bak", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
