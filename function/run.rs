//! One cold start, one answer.

use std::error::Error;
use std::io::{ErrorKind, Write, stdout};

use firstlight_device::Device;
use firstlight_generate::{
    ChatTemplate, DEFAULT_MAX_TOKENS, Error as TextError, Flags, Generation, GenerationRequest,
    Message, Settings as Generating, Step,
};
use firstlight_model::{
    DEFAULT_CHUNK_ROWS, Decoder, Group, PromptRows, Sequence, Settings as Decoding, Spec,
    StageOrder,
};
use firstlight_timeline::{Counter, Mark, Timeline};
use tokio::runtime::Runtime;

use crate::args::{RunArgs, SamplingArgs};
use crate::failure::Failure;
use crate::processor::{Chosen, Opening, Processor, TensorOf};
use crate::progress::Progress;
use crate::start::{self, Begun, Foreseen, Known, Ready};
use crate::{embedding, prompt, report};

/// Starts the model, answers the prompt on standard output, and tells how it went.
pub(crate) fn run(args: &RunArgs, timeline: &Timeline) -> Result<(), Failure> {
    started(args, timeline).map_err(|failure| explained(failure, args))
}

/// A prompt alone, where MODEL is set, is taken for the model.
fn explained(failure: Failure, args: &RunArgs) -> Failure {
    let named = args.model_variable.clone().filter(|named| *named != args.model);
    match (named, &args.prompt, &failure) {
        (
            Some(variable),
            None,
            Failure::NoPrompt | Failure::NoConfig { .. } | Failure::Store(_),
        ) => {
            let (model, failure) = (args.model.clone(), Box::new(failure));
            Failure::PromptAsModel { model, variable, failure }
        }
        _ => failure,
    }
}

fn started(args: &RunArgs, timeline: &Timeline) -> Result<(), Failure> {
    report::begin(timeline, &args.report)?;
    let prompt = prompt::read(args.prompt.as_deref())?;
    let threads = args.machine.threads();
    let opening = Opening::begin(&args.machine, threads, &args.store, timeline);
    let runtime = start::runtime(threads)?;
    let answer = answer(args, &prompt, &runtime, opening, timeline);
    runtime.shutdown_background();
    report::tell(timeline, &args.report, answer)
}

fn answer(
    args: &RunArgs,
    prompt: &str,
    runtime: &Runtime,
    opening: Opening,
    timeline: &Timeline,
) -> Result<(), Failure> {
    let template = start::chat_template(args.chat_template.as_deref())?;
    let reading = start::read_and_choose(&args.model, &args.store, template, opening, timeline);
    let (ready, chosen) = runtime.block_on(reading)?;
    let start = Start { args, prompt, runtime, timeline, ready };
    let _guard = runtime.enter();
    match chosen {
        Chosen::Cpu(cpu) => start.answer(cpu),
        Chosen::Gpu(gpu) => start.answer(*gpu),
    }
}

/// A start for which it is known what computes.
struct Start<'a> {
    args: &'a RunArgs,
    prompt: &'a str,
    runtime: &'a Runtime,
    timeline: &'a Timeline,
    ready: Ready,
}

impl Start<'_> {
    fn answer<P: Processor>(self, processor: P) -> Result<(), Failure> {
        let Self { args, prompt, runtime, timeline, ready } = self;
        let Ready { known, tokenizer, texts } = ready;
        let foreseen = foreseen(args, prompt);
        let begun = start::stream(&processor, &known, &args.store, foreseen, timeline)?;
        let progress = Progress::follow(&known.reader, begun.fetched_bytes);
        let tokenizer = runtime.block_on(tokenizer)??;
        let mut texts = runtime.block_on(texts)??;
        if args.sampling.ignore_eos {
            texts.generation.eos_token_id.clear();
        }
        let text = prompt_text(args, prompt, texts.template)?;
        let ids = tokenizer.encode(&text, !args.chat)?;
        timeline.mark(Mark::PromptEncoded);
        timeline.count(Counter::PromptTokens, ids.len() as u64);
        let settings = Generating::merge(flags(&args.sampling), &texts.generation)?;
        let context_length = known.spec.max_position_embeddings;
        let answer_tokens = settings.stop.max_tokens() as usize;
        let request = GenerationRequest {
            prompt_ids: &ids,
            vocabulary_size: known.spec.vocab_size,
            context_length,
            sampling: settings.sampling,
            stop: settings.stop,
        };
        let generation = Generation::new(&tokenizer, request)?;
        let rows = prompt_rows(&processor, &known, &begun, &ids, timeline)?;
        let capacity = context_length.min(ids.len().saturating_add(answer_tokens));
        let answer = Answer { ids, rows, capacity, generation };
        processor.compute(|device| answer.generate(known.spec, begun, device, progress, timeline))
    }
}

/// What the weights need not wait for. What the model's authors recommend as its longest answer is not known yet.
fn foreseen(args: &RunArgs, prompt: &str) -> Foreseen {
    Foreseen::Answer {
        prompt_bytes: prompt.len() + args.system.as_ref().map_or(0, String::len),
        tokens: args.sampling.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS) as usize,
    }
}

/// The prompt as the model reads it.
fn prompt_text(
    args: &RunArgs,
    prompt: &str,
    template: Result<ChatTemplate, TextError>,
) -> Result<String, Failure> {
    if !args.chat {
        return Ok(prompt.to_owned());
    }
    let system = args.system.iter().map(Message::system);
    let messages: Vec<_> = system.chain([Message::user(prompt)]).collect();
    Ok(template?.render(&messages, true)?)
}

/// The embedding rows of the prompt's tokens, where the table comes last.
fn prompt_rows<P: Processor>(
    processor: &P,
    known: &Known,
    begun: &Begun<TensorOf<P>>,
    ids: &[u32],
    timeline: &Timeline,
) -> Result<Option<PromptRows<TensorOf<P>>>, Failure> {
    if begun.order == StageOrder::EmbeddingFirst {
        return Ok(None);
    }
    let rows = embedding::rows(known, &begun.plan_limits, ids.iter().copied(), timeline)?;
    Ok(Some(PromptRows { table: processor.tensor(rows.table)?, ids: rows.ids }))
}

/// An answer that is about to be given.
struct Answer<T> {
    ids: Vec<u32>,
    rows: Option<PromptRows<T>>,
    /// Positions of the prompt and the longest answer.
    capacity: usize,
    generation: Generation,
}

impl<T> Answer<T> {
    /// The first pass, which pulls the layers as they arrive, and then token by token.
    fn generate<D: Device<Tensor = T>>(
        mut self,
        spec: Spec,
        begun: Begun<T>,
        device: D,
        progress: Progress,
        timeline: &Timeline,
    ) -> Result<(), Failure> {
        let computing = begun.layers.computing();
        let settings = Decoding {
            order: begun.order,
            blocks: Sequence::blocks_for(self.capacity),
            chunk_rows: DEFAULT_CHUNK_ROWS,
            logits_rows: 1,
        };
        let groups = begun.layers.map(|layer| layer.map(start::group));
        let mut decoder = Decoder::new(device, spec, settings, groups)?;
        if let Some(rows) = self.rows {
            decoder.give_rows(rows);
        }
        let mut sequence = Sequence::alone(settings.blocks);
        sequence.forward(&mut decoder, &self.ids)?;
        let mut step = next(&mut self.generation, &decoder)?;
        computing.end();
        drop(progress);
        loop {
            timeline.mark(Mark::FirstToken);
            timeline.count(Counter::Tokens, 1);
            if !print(&step.text)? || step.finish.is_some() {
                break;
            }
            sequence.forward(&mut decoder, &[step.token])?;
            step = next(&mut self.generation, &decoder)?;
            computing.end();
        }
        timeline.mark(Mark::LastToken);
        print("\n").map(drop)
    }
}

/// The token that follows: drawn by the device where it can, so that the logits stay there.
fn next<D: Device, I, E>(
    generation: &mut Generation,
    decoder: &Decoder<D, I>,
) -> Result<Step, Failure>
where
    I: Iterator<Item = Result<Group<D::Tensor>, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let drawn = decoder.draw(&[generation.draw()])?;
    Ok(match drawn[..] {
        [Some(token)] => generation.accept(token)?,
        _ => generation.step(&decoder.logits()?)?,
    })
}

/// Writes a piece of the answer at once; says whether anybody still reads.
fn print(text: &str) -> Result<bool, Failure> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::io("standard output")(error)),
    }
}

fn flags(args: &SamplingArgs) -> Flags {
    Flags {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        presence_penalty: args.presence_penalty,
        frequency_penalty: args.frequency_penalty,
        seed: args.seed,
        max_tokens: args.max_tokens,
        min_tokens: None,
        stop_strings: args.stop.clone(),
        stop_ids: Vec::new(),
    }
}
