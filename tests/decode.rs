//! A token on a GPU, on the stand-in for its driver: one launch of what recurs, and four bytes that come back.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod support;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use firstlight_device::cuda::{self, Activations};
use firstlight_device::{Cuda, DType, Device, Error, Linear, Tensor};
use firstlight_generate::{Sampler, Sampling, SamplingOptions};
use firstlight_kernels::reference::check::numbers;
use firstlight_stand_in::{Checks, Schedule, StandIn};
use support::demo_model::demo_model;
use support::process::{Finished, Firstlight};

/// The stand-in, as at its start. One test at a time.
fn stand_in(schedule: Schedule) -> (MutexGuard<'static, ()>, &'static StandIn) {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let stand_in = firstlight_stand_in::load();
    stand_in.reset();
    stand_in.schedule(schedule);
    (one, stand_in)
}

fn open() -> Cuda {
    Cuda::open(firstlight_stand_in::device()).unwrap()
}

/// `(rows, columns)`
fn table(device: &Cuda, values: &[f32], columns: usize) -> cuda::Tensor {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect::<Bytes>();
    let shape = vec![values.len() / columns, columns];
    device.upload(&Tensor::from_bytes(bytes, DType::F32, shape).unwrap()).unwrap()
}

/// What has no answer but by the whole way: no top-k and no top-p, each alone, both, and the likeliest.
fn options() -> [SamplingOptions; 7] {
    let warm = SamplingOptions { temperature: 1.0, ..SamplingOptions::default() };
    [
        SamplingOptions::default(),
        warm,
        SamplingOptions { temperature: 0.6, ..warm },
        SamplingOptions { top_k: 20, ..warm },
        SamplingOptions { top_p: 0.9, ..warm },
        SamplingOptions { temperature: 0.8, top_k: 50, top_p: 0.95, ..warm },
        SamplingOptions { temperature: 2.5, top_k: 3, top_p: 0.5, ..warm },
    ]
}

/// Logits like those of a text: some far above many. Some are equal to others, since they have few digits.
fn logits(vocabulary: usize, seed: u64) -> Vec<f32> {
    let round = |x: f32| (x * 64.0).round() / 64.0;
    numbers(vocabulary, seed, 2.0).into_iter().map(|x| round(x * x * x)).collect()
}

/// Rounding may move a draw that falls between two tokens: where it does is counted.
#[test]
fn a_device_draws_the_tokens_of_the_host() {
    const VOCABULARY: usize = 600;
    const ROWS: u32 = 24;
    let (_one, stand_in) = stand_in(Schedule::Lazy);
    let device = open();
    let (mut count, mut others) = (0, 0);
    for (seed, options) in (0..).zip(options()) {
        let values: Vec<_> =
            (0..u64::from(ROWS)).map(|row| logits(VOCABULARY, 100 * seed + row)).collect();
        let table = table(&device, &values.concat(), VOCABULARY);
        let mut x = device.activations(ROWS as usize, VOCABULARY).unwrap();
        device.embed(&table, &(0..ROWS).collect::<Vec<_>>(), &mut x).unwrap();
        let sampler = |row: u64| {
            let options = SamplingOptions { seed: 1000 * seed + row, ..options };
            Sampler::new(Sampling::new(options).unwrap(), &[])
        };
        let mut samplers: Vec<_> = (0..u64::from(ROWS)).map(sampler).collect();
        for _ in 0..6 {
            let offers: Vec<_> = samplers.iter_mut().map(Sampler::draw).collect();
            let tokens = device.draw(&x, &offers).unwrap();
            for ((sampler, values), token) in samplers.iter_mut().zip(&values).zip(tokens) {
                count += 1;
                others += i32::from(token != Some(sampler.sample(values).unwrap()));
            }
        }
    }
    assert_eq!(stand_in.take_reports(), [""; 0]);
    assert!(others * 1000 <= count, "{others} of {count} are other tokens");
}

/// Vocabularies at whose sizes the kernel goes other ways: fewer tokens than threads, one more, more likely ones than
/// are looked at apart, and all of them equal.
#[test]
fn a_device_draws_from_vocabularies_of_all_sizes() {
    let (_one, stand_in) = stand_in(Schedule::Random(5));
    let device = open();
    let warm = SamplingOptions { temperature: 1.0, seed: 3, ..SamplingOptions::default() };
    let options = [SamplingOptions { top_k: 7, ..warm }, SamplingOptions { top_p: 0.7, ..warm }];
    for vocabulary in [1, 2, 1024, 1025, 4100] {
        for values in [logits(vocabulary, 9), vec![-0.5; vocabulary]] {
            let table = table(&device, &values, vocabulary);
            let mut x = device.activations(1, vocabulary).unwrap();
            device.embed(&table, &[0], &mut x).unwrap();
            for options in options {
                let mut sampler = Sampler::new(Sampling::new(options).unwrap(), &[]);
                let drawn = device.draw(&x, &[sampler.draw()]).unwrap();
                assert_eq!(
                    drawn,
                    [Some(sampler.sample(&values).unwrap())],
                    "{vocabulary} {options:?}"
                );
            }
        }
    }
    assert_eq!(stand_in.take_reports(), [""; 0]);
}

/// Names of what was enqueued.
fn enqueued(stand_in: &StandIn) -> Vec<String> {
    let names = |line: String| Some(line.strip_prefix("enqueue ")?.split_once(' ')?.1.to_owned());
    stand_in.journal().into_iter().filter_map(names).collect()
}

/// Products, one after another, of which only the number of rows is different.
struct Steps {
    device: Cuda,
    weight: cuda::Tensor,
    x: Activations,
    out: Activations,
}

impl Steps {
    const MOST_ROWS: usize = 40;

    fn new(device: Cuda) -> Self {
        let weight = table(&device, &numbers(64, 1, 1.0), 8);
        let [x, out] = [(); 2].map(|()| device.activations(Self::MOST_ROWS, 8).unwrap());
        Self { device, weight, x, out }
    }

    fn run(&mut self, rows: usize) -> Result<(), Error> {
        let Self { device, weight, x, out } = self;
        let by = || Linear { weight, bias: None };
        device.set_rows(x, rows);
        device.set_rows(out, rows);
        device.as_one(|| {
            device.linear(x, by(), out)?;
            device.linear_add(x, by(), out)
        })
    }
}

#[test]
fn what_comes_again_is_captured_and_then_launched() {
    let (_one, stand_in) = stand_in(Schedule::Lazy);
    let mut steps = Steps::new(open());
    let launches = |steps: &mut Steps, rows| {
        stand_in.reset();
        steps.run(rows).unwrap();
        enqueued(stand_in)
    };
    assert_eq!(launches(&mut steps, 1), ["gemv_f32", "gemv_f32"]);
    assert_eq!(launches(&mut steps, 2), ["gemv_rows_f32", "gemv_rows_f32"]);
    for rows in [1, 2, 1, 1] {
        assert_eq!(launches(&mut steps, rows), ["graph of 2"]);
    }
    drop(steps);
    assert_eq!((stand_in.live_graphs(), stand_in.take_reports().len()), (0, 0));
}

#[test]
fn only_so_many_steps_are_remembered() {
    let (_one, stand_in) = stand_in(Schedule::Lazy);
    let mut steps = Steps::new(open());
    for round in 0..3 {
        (1..=Steps::MOST_ROWS).for_each(|rows| steps.run(rows).unwrap());
        assert_eq!(
            stand_in.live_graphs(),
            0,
            "round {round}: each was forgotten before it came again"
        );
    }
    for rows in [1, 1, 2, 2, 2] {
        steps.run(rows).unwrap();
    }
    assert_eq!(stand_in.live_graphs(), 2);
}

#[test]
fn a_driver_that_captures_nothing_launches_kernels() {
    const UNSUPPORTED: u32 = 801;
    for call in ["cuStreamBeginCapture_v2", "cuLaunchKernel", "cuGraphInstantiateWithFlags"] {
        let (_one, stand_in) = stand_in(Schedule::Lazy);
        let mut steps = Steps::new(open());
        steps.run(1).unwrap();
        stand_in.reset();
        stand_in.fail(call, 1, UNSUPPORTED);
        for _ in 0..2 {
            steps.run(1).unwrap();
        }
        assert_eq!(enqueued(stand_in), ["gemv_f32"; 4], "{call}");
        steps.device.read(&steps.out).unwrap();
        assert_eq!((stand_in.live_graphs(), stand_in.take_reports().len()), (0, 0), "{call}");
    }
}

/// The real binary, which finds the stand-in where it looks for a driver.
struct Run {
    model: PathBuf,
    library: PathBuf,
}

impl Run {
    fn new() -> Self {
        let model = demo_model();
        Self { model, library: firstlight_stand_in::library(Checks::Off) }
    }

    /// 32 tokens of an answer, and what was enqueued for them.
    fn answer(&self, device: &str, variables: &[(&'static str, &str)]) -> (Finished, Vec<String>) {
        let journal = tempfile::NamedTempFile::new().unwrap();
        let run = Firstlight::new(["run", self.model.to_str().unwrap(), "Once upon a time"]);
        let run = run.env("LD_LIBRARY_PATH", self.library.parent().unwrap());
        let setting = format!("journal={}", journal.path().display());
        let run = run.env("FIRSTLIGHT_STAND_IN", setting).env("FIRSTLIGHT_DEVICE", device);
        let run = run.env("FIRSTLIGHT_RING", "1MiB").env("FIRSTLIGHT_MAX_TOKENS", "32");
        let run = run.env("FIRSTLIGHT_IGNORE_EOS", "true");
        let finished = run.envs(variables.iter().copied()).run().success();
        let text = std::fs::read_to_string(journal.path()).unwrap();
        let names = |line: &str| Some(line.strip_prefix("enqueue ")?.split_once(' ')?.1.to_owned());
        (finished, text.lines().filter_map(names).collect())
    }
}

#[test]
fn an_answer_is_the_same_with_and_without_graphs_and_on_the_cpu() {
    let run = Run::new();
    let greedy = ("FIRSTLIGHT_TEMPERATURE", "0");
    let (expected, _) = run.answer("cpu", &[greedy]);
    let (plain, launches) = run.answer("cuda", &[greedy, ("FIRSTLIGHT_NO_CUDA_GRAPHS", "true")]);
    assert_eq!(plain.stdout, expected.stdout);
    assert!(!launches.iter().any(|name| name.starts_with("graph of")));
    let (graphs, launches) = run.answer("cuda", &[greedy]);
    assert_eq!(graphs.stdout, expected.stdout);
    assert_steps(&launches);
}

/// A pass for the prompt and one step are launched kernel by kernel; all other steps as one.
fn assert_steps(launches: &[String]) {
    let passes: Vec<_> = launches.split_inclusive(|name| name == "sample").collect();
    assert_eq!(passes.len(), 33, "one for each token, and what the process does at its end");
    let graphs = |pass: &[String]| pass.iter().filter(|name| name.starts_with("graph of")).count();
    let kernels = |pass: &[String]| pass.iter().filter(|name| name.contains("gemv")).count();
    for (index, pass) in passes[..32].iter().enumerate() {
        let expected = usize::from(index >= 2);
        assert_eq!(graphs(pass), expected, "{index}: {pass:?}");
        assert_eq!(kernels(pass) == 0, index >= 2, "{index}: {pass:?}");
    }
    let back: Vec<_> = launches.iter().filter(|name| name.ends_with("from the device")).collect();
    assert!(
        back.len() == 32 && back.iter().all(|name| *name == "copy of 4 bytes from the device"),
        "{back:?}"
    );
}

#[test]
fn a_seed_gives_the_answer_of_the_cpu() {
    let run = Run::new();
    for seed in ["1", "2", "3"] {
        let variables = [
            ("FIRSTLIGHT_TEMPERATURE", "0.9"),
            ("FIRSTLIGHT_TOP_K", "40"),
            ("FIRSTLIGHT_TOP_P", "0.95"),
            ("FIRSTLIGHT_SEED", seed),
        ];
        let (expected, _) = run.answer("cpu", &variables);
        let (answer, launches) = run.answer("cuda", &variables);
        assert_eq!(answer.stdout, expected.stdout, "seed {seed}");
        assert_steps(&launches);
    }
}
