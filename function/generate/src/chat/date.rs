//! `strftime_now`: the date for templates that tell the model what day it is.
//!
//! In UTC: a function has no other time zone, and a prompt should not depend on where it runs.
//! Month and day names are those of the C locale.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in UTC, split up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    year: i64,
    /// From 1.
    month: usize,
    /// From 1.
    day: i64,
    /// From 0, Sunday.
    weekday: usize,
    /// From 1.
    day_of_year: i64,
    second_of_day: i64,
}

impl Date {
    /// The moment of the call.
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_unix(i64::try_from(since.as_secs()).unwrap_or(0))
    }

    /// The moment so many seconds after 1970-01-01 00:00:00, by counting down years and months.
    fn from_unix(seconds: i64) -> Self {
        let days = seconds.div_euclid(SECONDS_A_DAY);
        // The calendar repeats every 400 years, and 1970 + 400 n begins as 1970 does.
        let mut year = 1970 + 400 * days.div_euclid(DAYS_IN_400_YEARS);
        let mut day_of_year = days.rem_euclid(DAYS_IN_400_YEARS);
        while day_of_year >= days_in_year(year) {
            day_of_year -= days_in_year(year);
            year += 1;
        }
        let (mut month, mut day) = (1, day_of_year);
        while day >= days_in_month(year, month) {
            day -= days_in_month(year, month);
            month += 1;
        }
        Self {
            year,
            month,
            day: day + 1,
            weekday: usize::try_from((days + 4).rem_euclid(7)).expect("0 to 6"),
            day_of_year: day_of_year + 1,
            second_of_day: seconds.rem_euclid(SECONDS_A_DAY),
        }
    }

    /// The moment in the form of C's `strftime`, or the directive that is not known.
    pub(super) fn format(&self, form: &str) -> Result<String, char> {
        let mut written = String::with_capacity(form.len());
        let mut chars = form.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                written.push(c);
                continue;
            }
            let is_short = chars.as_str().starts_with('-');
            let directive = if is_short { chars.nth(1) } else { chars.next() }.unwrap_or('%');
            let field = self.directive(directive).ok_or(directive)?;
            written.push_str(if is_short { unpadded(&field) } else { &field });
        }
        Ok(written)
    }

    fn directive(&self, directive: char) -> Option<String> {
        let (hour, minute) = (self.second_of_day / 3600, self.second_of_day / 60 % 60);
        let second = self.second_of_day % 60;
        let month = MONTHS[self.month - 1];
        let weekday = WEEKDAYS[self.weekday];
        Some(match directive {
            'Y' => self.year.to_string(),
            'y' => format!("{:02}", self.year % 100),
            'm' => format!("{:02}", self.month),
            'B' => month.to_owned(),
            'b' | 'h' => month[..3].to_owned(),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.day_of_year),
            'A' => weekday.to_owned(),
            'a' => weekday[..3].to_owned(),
            'H' => format!("{hour:02}"),
            'I' => format!("{:02}", (hour + 11) % 12 + 1),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'F' => format!("{}-{:02}-{:02}", self.year, self.month, self.day),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'Z' => "UTC".to_owned(),
            'z' => "+0000".to_owned(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

/// A number without the zeros or spaces before it, but for its last digit.
fn unpadded(field: &str) -> &str {
    let digits = field.trim_start_matches(['0', ' ']);
    if digits.is_empty() { &field[field.len().saturating_sub(1)..] } else { digits }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_year(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in_month(year: i64, month: usize) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const SECONDS_A_DAY: i64 = 86_400;
const DAYS_IN_400_YEARS: i64 = 146_097;
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected forms were made with `date -u -d @SECONDS +FORM`.
    #[test]
    fn moments_are_written_as_date_writes_them() {
        let written = |seconds, form| Date::from_unix(seconds).format(form).unwrap();
        assert_eq!(written(0, "%a %A %F %T"), "Thu Thursday 1970-01-01 00:00:00");
        assert_eq!(written(951_827_696, "%d %b %Y, %j"), "29 Feb 2000, 060");
        assert_eq!(
            written(1_735_689_599, "%A %d %B %y %I:%M:%S %p"),
            "Tuesday 31 December 24 11:59:59 PM"
        );
        assert_eq!(written(4_107_542_400, "%F %j %-m %-d|%e"), "2100-03-01 060 3 1| 1");
        assert_eq!(written(1_700_000_000, "%-H %-M %-S 100%%"), "22 13 20 100%");
        assert_eq!(written(-1, "%F %T"), "1969-12-31 23:59:59");
    }

    #[test]
    fn days_follow_each_other_without_a_gap() {
        let mut before = Date::from_unix(0);
        for day in 1..60_000 {
            let date = Date::from_unix(day * SECONDS_A_DAY);
            assert_eq!(date.weekday, (before.weekday + 1) % 7);
            let is_next_day = date.day == before.day + 1 && date.month == before.month;
            assert!(is_next_day || date.day == 1 && before.day >= 28, "{before:?} {date:?}");
            before = date;
        }
    }

    #[test]
    fn a_directive_that_is_not_known_is_named() {
        assert_eq!(Date::from_unix(0).format("%d %Q"), Err('Q'));
        assert_eq!(Date::from_unix(0).format("half %"), Ok("half %".to_owned()));
    }

    #[test]
    fn now_is_after_this_was_written() {
        assert!(Date::now().year >= 2025);
    }
}
