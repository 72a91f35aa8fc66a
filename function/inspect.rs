//! What a model is, what would be fetched in which order, and how long that takes: from config.json, the heads of its
//! shards and its small files alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Write as _, stdout};

use firstlight_device::Team;
use firstlight_load::Checkpoint;
use firstlight_plan::Plan;
use firstlight_timeline::{Rate, Timeline};
use serde::Serialize;
use serde_json::Value;

use crate::args::InspectArgs;
use crate::failure::Failure;
use crate::start;
use crate::subject::{self, Found, Subject};

/// Prints what `args.model` is. One without a tokenizer is no whole model, which is the last word on it.
pub(crate) fn inspect(args: &InspectArgs, timeline: &Timeline) -> Result<(), Failure> {
    let runtime = start::runtime(Team::default_threads())?;
    let found = runtime.block_on(subject::find(args, timeline));
    runtime.shutdown_background();
    let found = found?;
    let inspection = Inspection::new(args, &found, found.subject(args)?);
    let text = if args.json {
        serde_json::to_string_pretty(&inspection).expect("string keys, finite numbers") + "\n"
    } else {
        inspection.text(args)
    };
    match stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            return Err(Failure::io("standard output")(error));
        }
        _ => {}
    }
    match found.tokenizer_bytes {
        Some(_) => Ok(()),
        None => Err(Failure::NoTokenizer { location: found.known.location.to_string() }),
    }
}

/// Everything that is told, in the order in which it is told.
#[derive(Serialize)]
struct Inspection {
    location: String,
    device: String,
    model: Value,
    /// The same for a reader.
    #[serde(skip)]
    rows: Vec<(&'static str, String)>,
    tokenizer_bytes: Option<u64>,
    weight_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kv_cache_dtype: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kv_cache_bytes_per_position: Option<u64>,
    dtypes: BTreeMap<String, Count>,
    shards: Vec<ShardLine>,
    order: &'static str,
    stages: Vec<StageLine>,
    fetches: Vec<FetchLine>,
    fetched_bytes: u64,
    arena_bytes: u64,
    predictions: Vec<Prediction>,
    tensors: Vec<TensorLine>,
    unused: Vec<String>,
}

#[derive(Default, Serialize)]
struct Count {
    tensors: usize,
    bytes: u64,
}

#[derive(Serialize)]
struct ShardLine {
    name: String,
    bytes: u64,
    tensors: usize,
    version: String,
}

#[derive(Serialize)]
struct StageLine {
    name: String,
    tensors: usize,
    bytes: u64,
    fetches: usize,
    /// Bytes of this stage and all before it: what has crossed the wire when it can be computed.
    bytes_so_far: u64,
}

#[derive(Serialize)]
struct FetchLine {
    stage: String,
    shard: String,
    start: u64,
    end: u64,
    tensors: usize,
}

#[derive(Serialize)]
struct TensorLine {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    shard: String,
    start: u64,
    end: u64,
}

#[derive(Serialize)]
struct Prediction {
    link: String,
    link_bytes_per_s: u64,
    /// What the connections carry together, where that is less than the link.
    reached_bytes_per_s: u64,
    floor_s: f64,
    first_token_s: f64,
}

impl Inspection {
    fn new(args: &InspectArgs, found: &Found, subject: Subject) -> Self {
        let Subject { rows, facts, device, cache, plan, order, needed_bytes } = subject;
        let checkpoint = &found.known.checkpoint;
        Self {
            location: found.known.location.to_string(),
            device,
            model: facts,
            rows,
            tokenizer_bytes: found.tokenizer_bytes,
            weight_bytes: plan.weight_bytes(),
            kv_cache_dtype: cache.as_ref().map(|cache| cache.dtype.to_string()),
            kv_cache_bytes_per_position: cache.map(|cache| cache.bytes_per_position),
            dtypes: dtypes(&plan),
            shards: shards(checkpoint),
            order,
            stages: stages(&plan),
            fetches: fetches(checkpoint, &plan),
            fetched_bytes: plan.fetched_bytes(),
            arena_bytes: plan.arena_bytes,
            predictions: args.link.iter().map(|link| predict(args, needed_bytes, *link)).collect(),
            tensors: tensors(checkpoint),
            unused: start::unused(&plan, checkpoint).map(str::to_owned).collect(),
        }
    }

    fn text(&self, args: &InspectArgs) -> String {
        let mut out = format!("{}\n\n", self.location);
        for (key, value) in &self.rows {
            line(&mut out, &format!("  {key:<24} {value}"));
        }
        let tokenizer = self.tokenizer_bytes.map_or_else(|| "missing".to_owned(), bytes);
        line(&mut out, &format!("  {:<24} {tokenizer}", "tokenizer"));
        line(&mut out, &format!("  {:<24} {}", "weights", bytes(self.weight_bytes)));
        line(&mut out, &format!("  {:<24} {}", "device", self.device));
        if let Some((cached, dtype)) =
            self.kv_cache_bytes_per_position.zip(self.kv_cache_dtype.as_ref())
        {
            line(&mut out, &format!("  {:<24} {cached} bytes a position, in {dtype}", "kv cache"));
        }
        self.write_files(&mut out);
        self.write_plan(&mut out, args);
        self.write_predictions(&mut out, args);
        out
    }

    fn write_files(&self, out: &mut String) {
        line(out, "\nFiles");
        for ShardLine { name, bytes: size, tensors, version } in &self.shards {
            line(
                out,
                &format!("  {name:<36} {:>10}  {tensors:>5} tensors  {version}", bytes(*size)),
            );
        }
        for (dtype, Count { tensors, bytes: size }) in &self.dtypes {
            line(out, &format!("  {dtype:<36} {:>10}  {tensors:>5} tensors", bytes(*size)));
        }
        if !self.unused.is_empty() {
            line(out, &format!("  not used: {}", self.unused.join(", ")));
        }
    }

    fn write_plan(&self, out: &mut String, args: &InspectArgs) {
        line(out, &format!("\nFetch plan: {}", self.order));
        line(
            out,
            &format!(
                "  {:<20} {:>8} {:>10} {:>8} {:>10}",
                "stage", "tensors", "bytes", "ranges", "so far"
            ),
        );
        for stage in &self.stages {
            let StageLine { name, tensors, bytes: size, fetches, bytes_so_far } = stage;
            let (size, so_far) = (bytes(*size), bytes(*bytes_so_far));
            line(out, &format!("  {name:<20} {tensors:>8} {size:>10} {fetches:>8} {so_far:>10}"));
        }
        let (ranges, fetched) = (self.fetches.len(), bytes(self.fetched_bytes));
        line(out, &format!("  {ranges} ranges, {fetched} with the gaps between tensors"));
        if args.fetches {
            line(out, "\nRanges");
            for FetchLine { stage, shard, start, end, tensors } in &self.fetches {
                let size = bytes(end - start);
                line(
                    out,
                    &format!("  {stage:<20} {shard} {start}..{end}  {size}, {tensors} tensors"),
                );
            }
        }
        if args.tensors {
            line(out, "\nTensors");
            for TensorLine { name, dtype, shape, shard, start, end } in &self.tensors {
                line(
                    out,
                    &format!(
                        "  {name:<52} {dtype:<5} {shape:<20?} {shard} {start}..{end}",
                        shape = Shape(shape)
                    ),
                );
            }
        }
    }

    fn write_predictions(&self, out: &mut String, args: &InspectArgs) {
        let (ms, connection) = (args.first_byte_ms, args.connection_rate);
        let in_flight = args.store.ranges_in_flight;
        line(
            out,
            &format!(
                "\nCold start, predicted for {ms} ms to a first byte, {in_flight} connections of {connection}"
            ),
        );
        line(out, &format!("  {:>10} {:>12} {:>14}", "link", "floor", "first token"));
        for Prediction { link, floor_s, first_token_s, reached_bytes_per_s, link_bytes_per_s } in
            &self.predictions
        {
            let bound = if reached_bytes_per_s < link_bytes_per_s {
                format!("  bound by the connections: {:.2} GB/s", *reached_bytes_per_s as f64 / 1e9)
            } else {
                String::new()
            };
            line(out, &format!("  {link:>10} {floor_s:>10.2} s {first_token_s:>12.2} s{bound}"));
        }
    }
}

/// Prints as `[2, 3]`, padded as a whole.
struct Shape<'a>(&'a [u64]);

impl std::fmt::Debug for Shape<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:?}", self.0))
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{}", text.trim_end()).expect("a string takes everything");
}

fn dtypes(plan: &Plan) -> BTreeMap<String, Count> {
    let mut counts = BTreeMap::<String, Count>::new();
    for placed in plan.stages.iter().flat_map(|stage| &stage.tensors) {
        let count = counts.entry(placed.dtype.to_string()).or_default();
        count.tensors += 1;
        count.bytes += placed.arena.end - placed.arena.start;
    }
    counts
}

fn shards(checkpoint: &Checkpoint) -> Vec<ShardLine> {
    let shards = checkpoint.manifest.shards().iter().zip(&checkpoint.objects);
    let line = |(shard, object): (&firstlight_plan::Shard, &firstlight_store::Object)| ShardLine {
        name: shard.name.clone(),
        bytes: shard.size,
        tensors: shard.header.tensors().count(),
        version: object.version.to_string(),
    };
    shards.map(line).collect()
}

fn stages(plan: &Plan) -> Vec<StageLine> {
    let mut bytes_so_far = 0;
    let line = |stage: &firstlight_plan::StagePlan| {
        bytes_so_far += stage.bytes;
        StageLine {
            name: stage.name.clone(),
            tensors: stage.tensors.len(),
            bytes: stage.bytes,
            fetches: stage.fetches.len(),
            bytes_so_far,
        }
    };
    plan.stages.iter().map(line).collect()
}

fn fetches(checkpoint: &Checkpoint, plan: &Plan) -> Vec<FetchLine> {
    let line = |fetch: &firstlight_plan::Fetch| FetchLine {
        stage: plan.stages[fetch.stage].name.clone(),
        shard: checkpoint.manifest.shards()[fetch.shard].name.clone(),
        start: fetch.range.start,
        end: fetch.range.end,
        tensors: fetch.places.len(),
    };
    plan.fetches.iter().map(line).collect()
}

fn tensors(checkpoint: &Checkpoint) -> Vec<TensorLine> {
    let manifest = &checkpoint.manifest;
    let line = |(shard, entry): (usize, &firstlight_plan::TensorEntry)| TensorLine {
        name: entry.name.clone(),
        dtype: entry.dtype.to_string(),
        shape: entry.shape.clone(),
        shard: manifest.shards()[shard].name.clone(),
        start: entry.range.start,
        end: entry.range.end,
    };
    manifest.tensors().map(line).collect()
}

/// Two round trips (the heads, the first range), then all bytes that the first token needs, at what the link or the
/// connections carry, whichever is less. The arithmetic of the last layer is not in it: it is milliseconds.
fn predict(args: &InspectArgs, needed_bytes: u64, link: Rate) -> Prediction {
    let first_byte_s = args.first_byte_ms as f64 / 1e3;
    let range_bytes = (args.store.range_mib << 20) as f64;
    let connection = args.connection_rate.bytes_per_s() as f64;
    let effective = range_bytes / (first_byte_s + range_bytes / connection);
    let reached =
        (effective * f64::from(args.store.ranges_in_flight)).min(link.bytes_per_s() as f64);
    Prediction {
        link: link.to_string(),
        link_bytes_per_s: link.bytes_per_s(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate, below the link's"
        )]
        reached_bytes_per_s: reached as u64,
        floor_s: needed_bytes as f64 / link.bytes_per_s() as f64,
        first_token_s: 2.0 * first_byte_s + needed_bytes as f64 / reached,
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
