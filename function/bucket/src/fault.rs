//! What goes wrong, and when: rules that the bucket consults once a request.
//!
//! Every rule counts the requests that it matches. When a rule's turn has come, by that count or by
//! chance, it fires; the first rule that fires decides what happens to the request, in the order in
//! which they were given. Chance is a hash of the seed, the rule and the count, so that a run with
//! the same order of requests meets the same faults. Rules that share the requests between them
//! ([`Faults::shared`]) share one draw too, so that each gets its share and not what others leave.
//!
//! ```
//! # use firstlight_bucket::{Action, Faults, Requests};
//! let faults = Faults::new(7)
//!     .on(Requests::get("models", "*.safetensors").nth(3), Action::ResetAfter(100_000))
//!     .on(Requests::get("models", "*").with_chance(0.01), Action::slow_down());
//! ```

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use hyper::Method;

use crate::request::Target;

/// The rules of one server.
#[derive(Debug, Default)]
pub struct Faults {
    seed: u64,
    rules: Vec<Rule>,
}

impl Faults {
    /// No rule yet; `seed` decides what chance does.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, rules: Vec::new() }
    }

    /// Adds one rule for each of `shares`: of every 1.0 of the `requests`, so much meets this. The
    /// shares are disjoint: no request meets two of them.
    ///
    /// # Panics
    /// If HTTP has no way to say what an action asks for, or the shares add up to more than all.
    #[must_use]
    pub fn shared(
        mut self,
        requests: &Requests,
        shares: impl IntoIterator<Item = (f64, Action)>,
    ) -> Self {
        let draw = self.rules.len() as u64;
        let mut from = 0.0;
        for (share, action) in shares {
            let to = from + share;
            assert!(share >= 0.0 && to <= 1.0, "a share of {share} after {from} of the requests");
            let requests = Requests { turn: Turn::Drawn { from, to }, ..requests.clone() };
            self = self.on(requests, action);
            self.rules.last_mut().expect("it was added").draw = draw;
            from = to;
        }
        self
    }

    /// Adds a rule after those that are there.
    ///
    /// # Panics
    /// If HTTP has no way to say what `action` asks for.
    #[must_use]
    pub fn on(mut self, requests: Requests, action: Action) -> Self {
        assert!(action.is_possible(), "{action:?} is no status, region or factor");
        let draw = self.rules.len() as u64;
        self.rules.push(Rule { requests, action, draw, seen: AtomicU64::new(0) });
        self
    }

    /// What happens to this request, if anything does.
    pub(crate) fn decide(&self, target: &Target) -> Option<&Action> {
        let mut decided = None;
        for rule in &self.rules {
            if rule.requests.match_target(target) {
                let count = rule.seen.fetch_add(1, Relaxed) + 1;
                let draw = || chance(self.seed, rule.draw, count);
                if rule.requests.turn.has_come(count, draw) {
                    decided = decided.or(Some(&rule.action));
                }
            }
        }
        decided
    }
}

#[derive(Debug)]
struct Rule {
    requests: Requests,
    action: Action,
    /// Rules with the same number see the same chance at the same count.
    draw: u64,
    seen: AtomicU64,
}

/// Which requests a rule is about, and which of them in turn. In names, `*` stands for any text.
#[derive(Clone, Debug)]
pub struct Requests {
    method: Option<Method>,
    bucket: String,
    key: String,
    overlapping: Option<Range<u64>>,
    turn: Turn,
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
        Self { turn: Turn::Drawn { from: 0.0, to: probability }, ..self }
    }

    fn match_target(&self, target: &Target) -> bool {
        self.method.as_ref().is_none_or(|method| *method == target.method)
            && glob(&self.bucket, &target.bucket)
            && glob(&self.key, &target.key)
            && self.overlapping.as_ref().is_none_or(|ours| overlap(ours, target.range.as_ref()))
    }
}

#[derive(Clone, Copy, Debug)]
enum Turn {
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
    fn has_come(self, count: u64, draw: impl FnOnce() -> f64) -> bool {
        match self {
            Self::Every => true,
            Self::Nth(n) => count == n,
            Self::First(n) => count <= n,
            Self::After(n) => count > n,
            Self::Drawn { from, to } => (from..to).contains(&draw()),
        }
    }
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It is answered with this status and S3 error code, unread.
    Error {
        /// Such as 503.
        status: u16,
        /// Such as `SlowDown`.
        code: &'static str,
    },
    /// 400 `AuthorizationHeaderMalformed`: what S3 says to a signature for another region than this
    /// one, the bucket's.
    WrongRegion(String),
    /// 301 `PermanentRedirect`: what an endpoint of S3 says where the bucket lives in another
    /// region, this one.
    Redirect(String),
    /// The connection is reset (RST) after so many bytes of the body, or after half of a shorter
    /// body.
    ResetAfter(u64),
    /// Nothing more is sent after so many bytes of the body, or after half of a shorter one, for as
    /// long as the client waits.
    StallAfter(u64),
    /// The connection is closed in good order (FIN) after so many bytes of the body, or after half
    /// of a shorter one.
    TruncateAfter(u64),
    /// First byte and body take `factor` times as long as they would for a connection that has the
    /// link for itself; without a link, as on S3 (75 MB/s).
    Slower {
        /// 20.0 is S3's slowest 1 %.
        factor: f64,
    },
    /// The answer begins so much later; `Duration::MAX` is never.
    Delay(Duration),
    /// The object, if it is there, gets these contents, and the request sees them.
    Replace(Bytes),
}

impl Action {
    /// 503: S3 asks for fewer requests.
    #[must_use]
    pub const fn slow_down() -> Self {
        Self::Error { status: 503, code: "SlowDown" }
    }

    /// 500.
    #[must_use]
    pub const fn internal_error() -> Self {
        Self::Error { status: 500, code: "InternalError" }
    }

    /// 403.
    #[must_use]
    pub const fn access_denied() -> Self {
        Self::Error { status: 403, code: "AccessDenied" }
    }

    fn is_possible(&self) -> bool {
        match self {
            Self::Error { status, .. } => (300..600).contains(status),
            Self::WrongRegion(region) | Self::Redirect(region) => {
                region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            }
            Self::Slower { factor } => *factor > 0.0 && *factor <= SLOWER_MAX,
            _ => true,
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

/// A number in `0.0..1.0`, by the finaliser of `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014).
fn chance(seed: u64, rule: u64, count: u64) -> f64 {
    let mut bits = [seed, rule, count].iter().fold(0_u64, |state, value| mix(state ^ value));
    bits >>= 11;
    bits as f64 / (1_u64 << 53) as f64
}

fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A first byte of a second then comes after 12 days.
const SLOWER_MAX: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;

    fn get(key: &str, range: Option<Range<u64>>) -> Target {
        Target { method: Method::GET, bucket: "models".to_owned(), key: key.to_owned(), range }
    }

    /// Which of `count` reads meet a fault, counted from 1.
    fn hits(faults: &Faults, count: u64) -> Vec<u64> {
        (1..=count).filter(|_| faults.decide(&get("a", None)).is_some()).collect()
    }

    #[test]
    fn a_rule_fires_when_its_turn_has_come() {
        let on = |requests| Faults::new(0).on(requests, Action::slow_down());
        let reads = || Requests::get("models", "a");
        let fired = |requests| {
            let faults = on(requests);
            (1..=4).filter(|_| faults.decide(&get("a", None)).is_some()).count()
        };
        assert_eq!(fired(reads()), 4);
        assert_eq!(fired(reads().first(3)), 3);
        assert_eq!(fired(reads().after(3)), 1);
        assert_eq!(fired(Requests::head("models", "a")), 0);
        assert_eq!(fired(Requests::get("other", "a")), 0);

        let third = on(reads().nth(3));
        let fired: Vec<bool> = (0..4).map(|_| third.decide(&get("a", None)).is_some()).collect();
        assert_eq!(fired, [false, false, true, false]);
    }

    #[test]
    fn the_first_rule_that_fires_decides_and_all_count() {
        let faults = Faults::new(0)
            .on(Requests::get("*", "*").nth(2), Action::StallAfter(1))
            .on(Requests::get("*", "*").after(1), Action::slow_down());
        let decided: Vec<_> = (0..3).map(|_| faults.decide(&get("a", None)).cloned()).collect();
        assert_eq!(decided, [None, Some(Action::StallAfter(1)), Some(Action::slow_down())]);
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

    #[test]
    fn chance_keeps_its_probability_and_its_seed() {
        let faults = |seed| {
            Faults::new(seed).on(Requests::get("*", "*").with_chance(0.02), Action::slow_down())
        };
        let sevens = hits(&faults(7), 10_000);
        assert!((150..250).contains(&sevens.len()), "{} of 10000 at 2 %", sevens.len());
        assert_eq!(hits(&faults(7), 10_000), sevens);
        assert_ne!(hits(&faults(8), 10_000), sevens);
    }

    #[test]
    fn shares_are_disjoint_seeded_and_what_they_say() {
        const READS: usize = 100_000;
        let met = |seed| {
            let shares = [(0.02, Action::ResetAfter(1)), (0.01, Action::slow_down())];
            let faults = Faults::new(seed).shared(&Requests::get("*", "*"), shares);
            let decided = || faults.decide(&get("a", None)).cloned();
            std::iter::repeat_with(decided).take(READS).collect::<Vec<_>>()
        };
        let first = met(7);
        for (action, share) in [(Action::ResetAfter(1), 0.02), (Action::slow_down(), 0.01)] {
            let count = first.iter().filter(|met| met.as_ref() == Some(&action)).count() as f64;
            // Five standard deviations of so many draws.
            let expected = READS as f64 * share;
            assert!((count - expected).abs() < 5.0 * expected.sqrt(), "{count} of {expected}");
        }
        assert_eq!(met(7), first);
        assert_ne!(met(8), first);
    }
}
