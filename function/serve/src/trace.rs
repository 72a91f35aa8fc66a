//! Which request is which: W3C trace context (<https://www.w3.org/TR/trace-context/>), level 1.
//!
//! A `traceparent` that came with a request goes on in its log lines and in its response, with a
//! span of our own as the parent; without one, a trace begins here.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// One request's place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    /// The trace.
    id: u128,
    /// The caller's span, if there was one.
    pub(crate) parent: Option<u64>,
    /// Ours.
    span: u64,
    flags: u8,
}

impl Trace {
    /// Continues what a header says; begins anew where it says nothing that can be understood.
    pub(crate) fn from_header(header: Option<&[u8]>) -> Self {
        let parsed = header.and_then(|bytes| std::str::from_utf8(bytes).ok()).and_then(parse);
        let (id, parent, flags) = match parsed {
            Some((id, parent, flags)) => (id, Some(parent), flags),
            None => (random_128(), None, 0),
        };
        Self { id, parent, span: random_64(), flags }
    }

    /// The trace's id, as it is written.
    pub(crate) fn id(&self) -> String {
        format!("{:032x}", self.id)
    }
}

/// As the header is written.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.id, self.span, self.flags)
    }
}

/// `version-trace-parent-flags`, lower-case hexadecimal digits; a later version may have more.
fn parse(header: &str) -> Option<(u128, u64, u8)> {
    let mut fields = header.trim().split('-');
    let version = digits(fields.next()?, 2)?;
    let (id, parent) = (digits(fields.next()?, 32)?, digits(fields.next()?, 16)?);
    let flags = digits(fields.next()?, 2)?;
    let is_known = version != 0xff && (version > 0 || fields.next().is_none());
    let parent = u64::try_from(parent).ok()?;
    (is_known && id != 0 && parent != 0).then_some((id, parent, u8::try_from(flags).ok()?))
}

fn digits(text: &str, count: usize) -> Option<u128> {
    let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_whole = text.len() == count && text.bytes().all(is_lower_hex);
    if is_whole { u128::from_str_radix(text, 16).ok() } else { None }
}

/// From the operating system, by way of the keys of a hash map: it need not be secret, only
/// different.
fn random_64() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    // Processes that were restored from one snapshot have the same keys, but not the same time.
    hasher.write_u128(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos());
    hasher.finish().max(1)
}

/// The same, longer.
pub(crate) fn random_128() -> u128 {
    (u128::from(random_64()) << 64) | u128::from(random_64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_goes_on_with_a_span_of_its_own() {
        let trace = Trace::from_header(Some(HEADER.as_bytes()));
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.parent, Some(0x00f0_67aa_0ba9_02b7));
        let told = trace.to_string();
        assert!(told.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && told.ends_with("-01"));
        assert_ne!(told, HEADER);
    }

    #[test]
    fn what_the_specification_rules_out_begins_a_new_trace() {
        for header in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Trace::from_header(Some(header.as_bytes())).parent, None, "{header}");
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(Trace::from_header(Some(later.as_bytes())).parent.is_some());
    }

    proptest! {
        #[test]
        fn no_header_panics_and_what_is_told_can_be_read(header: Vec<u8>) {
            let trace = Trace::from_header(Some(&header));
            let again = Trace::from_header(Some(trace.to_string().as_bytes()));
            prop_assert_eq!((again.id, again.parent), (trace.id, Some(trace.span)));
        }
    }
}
