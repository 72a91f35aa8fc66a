//! The forms of a start, on starts that are made up.
//!
//! Every form of every sample is left in `target/tmp`, to be looked at.

mod sample;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use firstlight_timeline::{FetchReport, Lane, Mark, Outcome, Report, SpanReport};
use serde_json::Value;

#[test]
fn the_waterfall_is_as_it_was_approved() {
    for (name, report, approved) in [
        ("tiny", sample::tiny(), include_str!("golden/tiny.txt")),
        ("real", sample::real(), include_str!("golden/real.txt")),
    ] {
        let drawn = report.waterfall(80, false);
        let path = leave(&format!("{name}.txt"), &drawn);
        assert!(drawn == approved, "{drawn}\nif this is meant: cp {path} tests/golden/{name}.txt");
    }
}

#[test]
fn the_waterfall_keeps_within_its_columns() {
    for (name, report) in sample::all() {
        for columns in [80, 97, 120, 160] {
            for colour in [false, true] {
                let drawn = report.waterfall(columns, colour);
                let longest = drawn.lines().map(|line| plain(line).chars().count()).max();
                assert!(longest <= Some(columns), "{name} on {columns}: {longest:?}\n{drawn}");
            }
        }
        leave(&format!("{name}.ansi"), &report.waterfall(110, true));
    }
}

#[test]
fn colour_changes_nothing_but_colour_and_legend() {
    for (_, report) in sample::all() {
        let rows = |drawn: &str| {
            let rows = drawn.lines().map(plain).filter(|line| !line.contains("waiting"));
            rows.collect::<Vec<_>>()
        };
        assert_eq!(rows(&report.waterfall(100, true)), rows(&report.waterfall(100, false)));
        assert!(!report.waterfall(100, false).contains('\x1b'));
    }
}

#[test]
fn overlap_is_seen() {
    let drawn = sample::real().waterfall(100, false);
    let begins = |label: &str, glyphs: &[char]| {
        let row = drawn.lines().find(|line| line.trim_start().starts_with(label)).expect(label);
        row.chars().position(|c| glyphs.contains(&c)).expect(label)
    };
    let first_work = begins("layer 0", &['▖', '▗', '▄']);
    let last_byte = begins("first token", &['◆']);
    assert!(first_work < begins("layer 22", &['▐', '▕', '█']));
    assert!(first_work < last_byte);
}

#[test]
fn a_start_survives_json() {
    for (name, report) in sample::all() {
        let line = report.json_line(true);
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Report>(&line).unwrap(), report, "{name}");
        leave(&format!("{name}.json"), &line);
        let short: Report = serde_json::from_str(&report.json_line(false)).unwrap();
        assert_eq!(short, Report { spans: vec![], fetches: vec![], ..report });
    }
}

#[test]
fn the_names_of_the_line_are_stable() {
    let line: Value = serde_json::from_str(&sample::real().json_line(true)).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&line).join(" "),
        "started_unix_ms description ttft_ms floor_ms ttft_over_floor split weight_bytes \
         link_bytes_per_s network_busy_ms gb_per_s tokens_per_s marks_ms counters spans_dropped \
         fetches_dropped spans fetches"
    );
    assert_eq!(
        names(&line["fetches"][0]).join(" "),
        "object start_byte end_byte stage requested_ms first_byte_ms done_ms bytes attempt hedge \
         outcome"
    );
    let marks: Vec<_> = Mark::ALL.iter().map(|mark| mark.name().replace(' ', "_")).collect();
    assert_eq!(names(&line["marks_ms"]), marks);
}

#[test]
fn the_trace_is_in_the_trace_event_format_and_its_slices_nest() {
    for (name, report) in sample::all() {
        let text = report.perfetto();
        leave(&format!("{name}.trace.json"), &text);
        let trace: Value = serde_json::from_str(&text).unwrap();
        let mut threads: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
        for event in trace["traceEvents"].as_array().unwrap() {
            assert!(event["pid"].is_u64() && event["name"].is_string(), "{event}");
            let tid = event["tid"].as_u64().unwrap();
            match event["ph"].as_str().unwrap() {
                "M" => assert!(event["args"].is_object()),
                "i" => assert!(event["ts"].is_u64() && event["s"] == "p"),
                "C" => assert!(event["ts"].is_u64() && event["args"]["bytes"].is_number()),
                "X" => {
                    let from = event["ts"].as_u64().unwrap();
                    let to = from + event["dur"].as_u64().unwrap();
                    threads.entry(tid).or_default().push((from, to));
                }
                other => panic!("an event of phase `{other}`"),
            }
        }
        threads.into_values().for_each(assert_nested);
        let is_whole = |event: &&Value| event["args"]["object"].is_string();
        let whole = trace["traceEvents"].as_array().unwrap().iter().filter(is_whole).count();
        assert_eq!(whole, report.fetches.len(), "{name}");
    }
}

#[test]
fn the_page_needs_nothing_else() {
    for (name, report) in sample::all() {
        let page = report.html();
        leave(&format!("{name}.html"), &page);
        for foreign in ["http:", "https:", "src=", "@import", "<link", "<iframe"] {
            assert!(!page.contains(foreign), "{name}: {foreign}");
        }
        assert_eq!(page.matches("url(").count(), page.matches("url(#").count());
        for tag in ["g", "svg", "table", "tr", "section", "div", "p", "title", "text"] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{name}: <{tag}>");
        }
    }
}

#[test]
fn a_part_of_a_page_has_no_style_and_no_script_in_place() {
    for (name, report) in sample::all() {
        let part = report.html_part(true);
        leave(&format!("{name}.part.html"), &part);
        for forbidden in ["<style", " style=", "<script", " onclick="] {
            assert!(!part.contains(forbidden), "{name}: {forbidden}");
        }
    }
}

#[test]
fn a_start_that_is_not_over_is_no_failure() {
    let fails = |report: &Report, is_over| report.html_part(is_over).contains("class='card bad'");
    let mut report = Report { ttft_ms: None, ..sample::real() };
    assert!(fails(&report, true) && !fails(&report, false));
    assert!(report.html_part(false).contains("to the last layer"));
    report.marks_ms.clear();
    assert!(fails(&report, true) && !fails(&report, false));
    report.fetches[0].outcome = Outcome::Failed("gone".to_owned());
    assert!(fails(&report, false));
}

#[test]
fn names_from_outside_stay_text() {
    let evil = "</title><script>alert(1)</script>' onload='x\" onload=\"y&\x1b[2J";
    let report = named(evil);
    let page = report.html();
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    assert!(!page.contains("' onload") && !page.contains("\" onload") && !page.contains('\x1b'));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&#39; onload=&#39;x&quot;"));
    assert!(!report.waterfall(100, false).contains('\x1b'));
    assert!(serde_json::from_str::<Value>(&report.perfetto()).is_ok());
}

#[test]
fn no_form_shows_a_number_that_is_none() {
    let mut reports: Vec<_> = sample::all().into();
    reports.push(("damaged", damaged()));
    for (name, report) in reports {
        let page = report.html();
        let (page, _) = page.split_once("<script>").unwrap();
        let forms =
            [page, &report.waterfall(100, false), &report.perfetto(), &report.json_line(true)];
        for form in forms {
            let mut words = form.split(|c: char| !c.is_alphanumeric());
            let bad = words.find(|word| ["NaN", "inf", "Infinity"].contains(word));
            assert_eq!(bad, None, "{name}: {form}");
        }
    }
}

/// Slices of a thread in order: each ends within the slices that are open when it begins.
fn assert_nested(mut slices: Vec<(u64, u64)>) {
    slices.sort_by_key(|(from, to)| (*from, u64::MAX - to));
    let mut open: Vec<u64> = Vec::new();
    for (from, to) in slices {
        open.retain(|end| *end > from);
        assert!(open.iter().all(|end| to <= *end), "[{from}, {to}) crosses one of {open:?}");
        open.push(to);
    }
}

/// A report in which every name is `name`.
fn named(name: &str) -> Report {
    let mut report = sample::real();
    for value in report.description.values_mut() {
        name.clone_into(value);
    }
    for span in &mut report.spans {
        name.clone_into(&mut span.label);
    }
    for fetch in &mut report.fetches {
        name.clone_into(&mut fetch.object);
        name.clone_into(&mut fetch.stage);
        fetch.outcome = Outcome::Failed(name.to_owned());
    }
    report.ttft_ms = None;
    report
}

/// What no start gives, but a file may: ends before beginnings, instants, numbers without measure.
fn damaged() -> Report {
    let times = [0.0, -3.0, 1e300, 5.0];
    let pairs = times.into_iter().flat_map(|from| times.map(|to| (from, to)));
    let span = |(from_ms, to_ms)| SpanReport {
        lane: Lane::Compute,
        label: String::new(),
        from_ms,
        to_ms,
        bytes: Some(u64::MAX),
    };
    let fetch = |(requested_ms, done_ms)| FetchReport {
        object: String::new(),
        start_byte: u64::MAX,
        end_byte: 0,
        stage: "layer 18446744073709551615".to_owned(),
        requested_ms,
        first_byte_ms: Some(done_ms),
        done_ms,
        bytes: u64::MAX,
        attempt: 0,
        hedge: true,
        outcome: Outcome::Complete,
    };
    Report {
        ttft_ms: Some(0.0),
        floor_ms: Some(0.0),
        ttft_over_floor: Some(0.0),
        weight_bytes: u64::MAX,
        link_bytes_per_s: Some(u64::MAX),
        spans: pairs.clone().map(span).collect(),
        fetches: pairs.map(fetch).collect(),
        marks_ms: Mark::ALL.map(|mark| (mark, -1.0)).into(),
        ..Report::default()
    }
}

/// `line` without the colours.
fn plain(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, text)| text))
}

/// Writes a form for people to look at, and gives its path.
fn leave(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("cargo made the folder");
    path.display().to_string()
}
