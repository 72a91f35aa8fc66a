//! Figures for people: three digits and a unit, decimal prefixes.

/// A duration: `0.42 ms`, `31.0 ms`, `8.31 s`, `125 s`.
#[must_use]
pub fn duration(ms: f64) -> String {
    if ms < 999.5 {
        format!("{} ms", three_digits(ms))
    } else {
        format!("{} s", three_digits(ms / 1e3))
    }
}

/// An amount of bytes: `512 B`, `29.8 MB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    prefixed(bytes as f64, "B")
}

/// A rate in bytes a second: `124 MB/s`.
#[must_use]
pub fn rate(bytes_per_s: f64) -> String {
    prefixed(bytes_per_s, "B/s")
}

/// A count with its noun: `1 retry`, `2 retries`.
#[must_use]
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn prefixed(value: f64, unit: &str) -> String {
    let mut scaled = value;
    let mut prefixes = ["", "k", "M", "G", "T", "P"].into_iter();
    let mut prefix = prefixes.next().unwrap_or_default();
    for next in prefixes {
        if scaled < 999.5 {
            break;
        }
        scaled /= 1e3;
        prefix = next;
    }
    format!("{} {prefix}{unit}", three_digits(scaled))
}

fn three_digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_shown_and_a_carry_moves_on() {
        for (ms, text) in [
            (0.0, "0.00 ms"),
            (0.421, "0.42 ms"),
            (9.996, "10.0 ms"),
            (99.97, "100 ms"),
            (999.6, "1.00 s"),
            (8_312.0, "8.31 s"),
            (125_000.0, "125 s"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn prefixes_are_decimal() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_000), "1.00 kB");
        assert_eq!(bytes(999_600), "1.00 MB");
        assert_eq!(bytes(988_097_824), "988 MB");
        assert_eq!(bytes(u64::MAX), "18447 PB");
        assert_eq!(rate(124.6e6), "125 MB/s");
        assert_eq!(rate(0.0), "0.00 B/s");
    }

    #[test]
    fn nouns_follow_their_number() {
        assert_eq!(count(1, "retry", "retries"), "1 retry");
        assert_eq!(count(0, "retry", "retries"), "0 retries");
    }
}
