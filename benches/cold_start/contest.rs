//! Sets of cold starts that take turns, so that a machine that drifts drifts for all of them.
//!
//! Every round runs each set once, every other round in reverse. All sets of a round meet the same faults: the seed
//! counts rounds. Every answer has to be the one that the model gives from a local folder.

use std::path::{Path, PathBuf};

use firstlight_bucket::{Bucket, Running};
use firstlight_timeline::{Rate, Report};

use crate::args::Measure;
use crate::machine;
use crate::profile::Profile;
use crate::record::{Record, Setting};
use crate::start::{Question, Variant, objects};

/// One of the sets: a link, and a variant of the program.
pub(crate) struct Contestant {
    profile: Profile,
    server: Running,
    link: Option<Rate>,
    variant: Variant,
    setting: Setting,
    pub(crate) runs: Vec<Run>,
}

/// A run, in short and in full.
pub(crate) struct Run {
    pub(crate) record: Record,
    pub(crate) report: Report,
}

/// All sets that `args` ask for, on a model in `folder`: for each profile one, or one and its rival.
pub(crate) fn contestants(args: &Measure, profiles: &[Profile], folder: &Path) -> Vec<Contestant> {
    let variants = variants(args);
    let (commit, dirty) = machine::commit();
    let setting = Setting {
        profile: String::new(),
        model: args.model.clone(),
        prompt_tokens: args.prompt_tokens,
        variant: String::new(),
        commit,
        dirty,
        date: machine::date(),
        machine: machine::machine(),
    };
    let sets = profiles.iter().flat_map(|profile| variants.iter().map(move |v| (profile, v)));
    let contestant = |(profile, variant): (&Profile, &Variant)| Contestant {
        profile: profile.clone(),
        server: serve(profile, folder),
        link: profile.link().rate,
        variant: variant.clone(),
        setting: Setting {
            profile: profile.name.clone(),
            variant: name(variant),
            ..setting.clone()
        },
        runs: Vec::new(),
    };
    sets.map(contestant).collect()
}

/// Runs all of them, `args.runs()` times each.
///
/// # Panics
/// If an answer is not that of the model in `folder`.
pub(crate) fn run(args: &Measure, folder: &Path, contestants: &mut [Contestant]) {
    let question =
        Question { prompt: vec!["once"; args.prompt_tokens].join(" "), max_tokens: TOKENS };
    let answers: Vec<_> =
        contestants.iter().map(|set| question.local(&set.variant, folder)).collect();
    for round in 0..args.runs() {
        let turn = contestants.iter_mut().zip(&answers);
        let seed = args.seed + round as u64;
        let mut start = |(set, answer): (&mut Contestant, &String)| {
            set.start(&question, answer, seed);
        };
        if round % 2 == 0 { turn.for_each(start) } else { turn.rev().for_each(&mut start) }
    }
}

impl Contestant {
    pub(crate) fn setting(&self) -> &Setting {
        &self.setting
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.runs.iter().map(|run| run.record.clone()).collect()
    }

    fn start(&mut self, question: &Question, answer: &str, seed: u64) {
        self.server.set_faults(self.profile.faults(seed));
        let (report, said) = question.cold(&self.variant, &self.server, self.link);
        let name = self.setting.name();
        assert_eq!(said, answer, "{name}: another answer than from the folder, faults of {seed}");
        self.runs.push(Run { record: Record::new(&self.setting, seed, &report), report });
    }
}

/// The program as it is asked for, and the one that it is measured against.
fn variants(args: &Measure) -> Vec<Variant> {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_firstlight"));
    let variant = |binary: Option<&PathBuf>, arguments: &[String]| Variant {
        program: binary.cloned().unwrap_or_else(built),
        arguments: arguments.to_vec(),
        environment: Vec::new(),
    };
    let first = variant(args.binary.as_ref(), &args.with);
    let second = variant(args.against_binary.as_ref(), &args.against);
    let contested = !args.against.is_empty() || args.against_binary.is_some();
    if contested { vec![first, second] } else { vec![first] }
}

/// What tells a variant from the program as it is: arguments, and another build.
fn name(variant: &Variant) -> String {
    let Variant { program, arguments, .. } = variant;
    let other = program != Path::new(env!("CARGO_BIN_EXE_firstlight"));
    let program = other.then(|| program.display().to_string());
    program.into_iter().chain(arguments.iter().cloned()).collect::<Vec<_>>().join(" ")
}

fn serve(profile: &Profile, folder: &Path) -> Running {
    let server = Bucket::builder().objects(objects(folder)).link(profile.link());
    server.start_on_own_thread("127.0.0.1:0").expect("a free port")
}

/// Enough to see a wrong one; few enough not to be what takes time.
const TOKENS: u32 = 4;
