//! The forms of a start, on starts that are made up.
//!
//! Every form of every sample is left in the folder `CARGO_TARGET_TMPDIR` to be looked at.
mod sample;

#[test]
fn look() {
    for (name, report) in sample::all() {
        for columns in [80, 100, 120] {
            println!("{name} {columns}\n{}", report.waterfall(columns, false));
        }
        let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(dir.join(format!("{name}.html")), report.html()).unwrap();
        std::fs::write(dir.join(format!("{name}.trace.json")), report.perfetto()).unwrap();
        std::fs::write(dir.join(format!("{name}.ansi")), report.waterfall(110, true)).unwrap();
    }
}
