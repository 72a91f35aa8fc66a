//! The tables: which figures there are to be, whether they were measured or not.

use super::sizes::Sizes;

/// A table of figures, each found by its row and its column.
pub(crate) struct Section {
    /// By which figures name it.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) rows: Vec<String>,
    pub(crate) columns: Vec<String>,
}

/// All of them, in the order of the page.
pub(crate) fn sections(sizes: &Sizes) -> Vec<Section> {
    vec![
        limits(),
        tests(),
        section("gemv", "Few rows, GB/s of weights (share of the copy bandwidth)")
            .rows(products(sizes))
            .columns(counted(&sizes.gemv_rows, "row").chain([ERROR.to_owned()])),
        section("gemm", "Many rows, TFLOP/s (share of the matrix peak)")
            .rows(products(sizes))
            .columns(counted(&sizes.gemm_rows, "row").chain([ERROR.to_owned()])),
        section("peer", "The same by torch.matmul, TFLOP/s (share of the matrix peak)")
            .rows(matrices(sizes))
            .columns(counted(&sizes.gemm_rows, "row")),
        section("attention", "Attention, by the positions that are seen")
            .rows(
                sizes.models.iter().flat_map(|model| {
                    ATTENTIONS.map(|(_, label)| format!("{}: {label}", model.name))
                }),
            )
            .columns(counted(&sizes.contexts, "position").chain([ERROR.to_owned()])),
        section("passes", "Whole models, weights resident, tokens/s (share of the limit)")
            .rows(sizes.models.iter().map(|model| model.name.to_owned()))
            .columns(PASSES),
        ring(sizes),
        section("boot", "Fresh processes: what a start of the device takes, p50, ms")
            .rows(sizes.models.iter().map(|model| model.name.to_owned()))
            .columns(BOOT),
        section("starts", "Cold starts, fresh processes (TTFT beside bytes / rates)")
            .rows(
                sizes.models.iter().flat_map(|model| {
                    SOURCES.map(|source| format!("{} from {source}", model.name))
                }),
            )
            .columns(STARTS),
    ]
}

fn limits() -> Section {
    section("limits", "What the machine can do").columns([MEASURED]).rows(LIMITS)
}

fn tests() -> Section {
    section("tests", "Against the CPU and the references of transformers")
        .rows(SUITES)
        .columns(["passed", "failed"])
}

fn ring(sizes: &Sizes) -> Section {
    section("ring", "From a file in the page cache through the ring to the device, GB/s")
        .rows(sizes.rings.iter().map(|&bytes| mebibytes(bytes)))
        .columns(["touched and pinned, ms".to_owned(), "nothing read".to_owned()])
        .columns(counted(&sizes.readers, "reader"))
}

fn section(name: &'static str, title: &str) -> Section {
    Section { name, title: title.to_owned(), rows: Vec::new(), columns: Vec::new() }
}

impl Section {
    fn rows(mut self, rows: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.rows.extend(rows.into_iter().map(Into::into));
        self
    }

    fn columns(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.columns.extend(columns.into_iter().map(Into::into));
        self
    }
}

/// Those of models, and others.
fn products(sizes: &Sizes) -> Vec<String> {
    let of_models = sizes.models.iter();
    let of_models =
        of_models.flat_map(|model| PRODUCTS.map(|product| format!("{} {product}", model.name)));
    of_models.chain(matrices(sizes)).collect()
}

fn matrices(sizes: &Sizes) -> Vec<String> {
    sizes.matrices.iter().map(|&matrix| matrix_name(matrix)).collect()
}

/// Of a weight.
pub(crate) fn matrix_name((outputs, inputs): (usize, usize)) -> String {
    format!("{outputs} x {inputs}")
}

/// `1 row`, `8 rows`.
pub(crate) fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

fn counted(numbers: &[usize], of: &str) -> impl Iterator<Item = String> {
    numbers.iter().map(move |&number| count(number, of))
}

/// Of a ring.
pub(crate) fn mebibytes(bytes: usize) -> String {
    format!("{} MiB", bytes as f64 / f64::from(1 << 20))
}

pub(crate) const MEASURED: &str = "measured";
pub(crate) const COPY_RATE: &str = "copy on the device, read and written, GB/s";
pub(crate) const MATRIX_RATE: &str = "matrix units, bf16 by mma.sync from registers, TFLOP/s";
pub(crate) const PINNED_RATE: &str = "pinned memory to the device, GB/s";
pub(crate) const PAGEABLE_RATE: &str = "pageable memory to the device, GB/s";
pub(crate) const PINNED_MS: &str = "pinned memory from the driver, ms/GiB";
pub(crate) const TOUCHED_MS: &str = "the ring's memory, touched, ms/GiB";
pub(crate) const REGISTERED_MS: &str = "touched memory, pinned, ms/GiB";
const LIMITS: [&str; 7] =
    [COPY_RATE, MATRIX_RATE, PINNED_RATE, PAGEABLE_RATE, PINNED_MS, TOUCHED_MS, REGISTERED_MS];

pub(crate) const SUITES: [&str; 3] =
    ["operations (device)", "model fixtures (model)", "answers of the demo model"];

pub(crate) const PRODUCTS: [&str; 5] = ["q, k, v", "output", "gate and up", "down", "vocabulary"];

/// Whether it is of one row, and what it is called.
pub(crate) const ATTENTIONS: [(bool, &str); 2] = [
    (true, "1 row, GB/s of the cache (share of the copy bandwidth)"),
    (false, "a prompt's last rows, TFLOP/s (share of the matrix peak)"),
];

pub(crate) const PREFILL: &str = "prefill of a prompt";
pub(crate) const DECODE: &str = "decode, a pass a token";
pub(crate) const GRAPHS: &str = "decode of the program";
pub(crate) const NO_GRAPHS: &str = "without CUDA graphs";
const PASSES: [&str; 4] = [PREFILL, DECODE, GRAPHS, NO_GRAPHS];

/// Labels of the spans of a start.
pub(crate) const BOOT_SPANS: [&str; 5] =
    ["driver", "context", "ring touched", "kernels", "ring pinned"];
pub(crate) const READY: &str = "ready after";
const BOOT: [&str; 6] = ["driver", "context", "ring touched", "kernels", "ring pinned", READY];

pub(crate) const SOURCES: [&str; 2] = ["S3 of this machine", "files in the page cache"];

pub(crate) const TTFT: &str = "TTFT p50, ms";
pub(crate) const TTFT_MAX: &str = "max, ms";
pub(crate) const RATE: &str = "weights arrived at, GB/s";
pub(crate) const FLOOR: &str = "bytes / rates, ms";
pub(crate) const CONTEXT: &str = "context, ms";
const STARTS: [&str; 5] = [TTFT, TTFT_MAX, RATE, FLOOR, CONTEXT];

pub(crate) const ERROR: &str = "largest error";
