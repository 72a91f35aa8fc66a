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

mod action;
mod requests;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use action::Action;
pub use requests::Requests;

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
            self = self.on(requests.clone().drawn(from, to), action);
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

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::*;

    fn get(key: &str) -> Target {
        let (bucket, key) = ("models".to_owned(), key.to_owned());
        Target { method: Method::GET, bucket, key, range: None }
    }

    /// Which of `count` reads meet a fault, counted from 1.
    fn hits(faults: &Faults, count: u64) -> Vec<u64> {
        (1..=count).filter(|_| faults.decide(&get("a")).is_some()).collect()
    }

    #[test]
    fn a_rule_fires_when_its_turn_has_come() {
        let on = |requests| Faults::new(0).on(requests, Action::slow_down());
        let reads = || Requests::get("models", "a");
        let fired = |requests| {
            let faults = on(requests);
            (1..=4).filter(|_| faults.decide(&get("a")).is_some()).count()
        };
        assert_eq!(fired(reads()), 4);
        assert_eq!(fired(reads().first(3)), 3);
        assert_eq!(fired(reads().after(3)), 1);
        assert_eq!(fired(Requests::head("models", "a")), 0);
        assert_eq!(fired(Requests::get("other", "a")), 0);

        let third = on(reads().nth(3));
        let fired: Vec<bool> = (0..4).map(|_| third.decide(&get("a")).is_some()).collect();
        assert_eq!(fired, [false, false, true, false]);
    }

    #[test]
    fn the_first_rule_that_fires_decides_and_all_count() {
        let faults = Faults::new(0)
            .on(Requests::get("*", "*").nth(2), Action::StallAfter(1))
            .on(Requests::get("*", "*").after(1), Action::slow_down());
        let decided: Vec<_> = (0..3).map(|_| faults.decide(&get("a")).cloned()).collect();
        assert_eq!(decided, [None, Some(Action::StallAfter(1)), Some(Action::slow_down())]);
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
            let decided = || faults.decide(&get("a")).cloned();
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
