//! The command that serves: a socket from the first moment, and a model behind it as soon as it is there.
//!
//! ```text
//! main     bind ─┬─ accept, answer … ──────────────────────────────── told to stop ─ drain ─ end
//! compute        └─ read ─ plan ─ stream ─ engine ─ layers as they arrive, pass by pass …
//! ```
//!
//! The socket is bound before anything is asked of the store. A thread of its own loads and computes; what it learns
//! goes into the [`Model`] that the handlers see. A load that failed leaves the server up, to say why to everybody who
//! asks, unless the process shall end by it.

use std::fs;
use std::net::Ipv6Addr;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use firstlight_generate::Engine;
use firstlight_load::Stamps;
use firstlight_model::{Draw, Embeds, Error as ModelError, Kind, Passes, Rows};
use firstlight_serve::{
    Keys, Limits, Listener, Memory, Model, Ready, Server, Settings, Speech, State,
};
use firstlight_store::Location;
use firstlight_timeline::Timeline;
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::args::{HttpArgs, ReadyWhen, ServeArgs};
use crate::failure::Failure;
use crate::memory::Needs;
use crate::processor::{Chosen, Opening, Processor};
use crate::start::Known;
use crate::{embed, engine, report, start};

/// How long the last pass may take once nobody waits for it. One of 512 rows of a large model takes half of it.
const LAST_PASS: Duration = Duration::from_secs(2);
/// How often idle files are looked at: no platform asks more often whether an instance lives.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Serves until it is told to stop, or until nobody has asked for anything for long enough.
pub(crate) fn serve(args: ServeArgs, timeline: &Timeline) -> Result<(), Failure> {
    report::begin(timeline, &args.report)?;
    let place = args.place.model()?;
    let settings = settings(&args.http)?;
    let listener = listen(&args.http)?;
    tell_who_may_ask(&settings.keys, &listener);
    let args = Arc::new(args);
    let begun = Begun::begin(&args, settings, place, timeline)?;
    let result = begun.runtime.block_on(until_stopped(&begun, listener, &args.http));
    let ended = begun.end();
    let written = report::write(&timeline.report(), &args.report.timeline);
    result?;
    ended?;
    written
}

/// A server whose model is being loaded.
pub(crate) struct Begun {
    pub(crate) server: Server,
    pub(crate) runtime: Runtime,
    model: Model,
    /// How the thread that computes ended.
    ended: Receiver<Result<(), Failure>>,
}

impl Begun {
    /// Begins the load of the model at a place.
    pub(crate) fn begin(
        args: &Arc<ServeArgs>,
        settings: Settings,
        place: String,
        timeline: &Timeline,
    ) -> Result<Self, Failure> {
        let template = start::chat_template(args.chat_template.as_deref())?;
        let threads = args.machine.threads();
        let opening = Opening::begin(&args.machine, threads, &args.store, timeline);
        let model = Model::new(names(&args.http.served_model_name, &place), timeline.clone());
        let server = Server::new(model.clone(), settings);
        let runtime = start::runtime(threads)?;
        let load = Load {
            args: Arc::clone(args),
            place,
            template,
            timeline: timeline.clone(),
            model: model.clone(),
            io: runtime.handle().clone(),
        };
        let ended = load.spawn(opening)?;
        Ok(Self { server, runtime, model, ended })
    }

    /// There will be no answer, for a reason that the load does not know.
    pub(crate) fn fail(&self, failure: &Failure) {
        self.model.has_failed(failure.to_string());
    }

    /// Ends everything, and says how that which computes ended.
    pub(crate) fn end(self) -> Result<(), Failure> {
        let ended = end_of(&self.ended, self.model.state());
        self.runtime.shutdown_background();
        ended
    }
}

fn listen(args: &HttpArgs) -> Result<Listener, Failure> {
    let HttpArgs { host, port, .. } = args;
    let name = match host.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{host}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    };
    let failure = |source| Failure::Io { what: format!("listening at {name}"), source };
    let listener = Listener::bind((host.as_str(), *port)).map_err(failure)?;
    let address = listener.address().map_err(failure)?;
    tracing::info!("listening at http://{address}");
    Ok(listener)
}

/// Whether a key is needed. That a secret was not set, or not mounted, is seen nowhere else.
fn tell_who_may_ask(keys: &Keys, listener: &Listener) {
    let address = listener.address().map(|address| address.ip());
    if !keys.is_empty() {
        tracing::info!("requests need one of {} API keys", keys.len());
    } else if address.is_ok_and(|address| address.is_loopback()) {
        tracing::info!("requests need no API key; they come from this machine alone");
    } else {
        tracing::warn!(
            "requests need no API key, and others than this machine may send them: FIRSTLIGHT_API_KEY is not set"
        );
    }
}

/// What requests may call the model: the hub's name for it or the last part of its address, or as it was called here.
fn names(given: &[String], place: &str) -> Vec<String> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let place = &shown(place);
    let whole = place.trim_end_matches('/');
    let short = match whole.strip_prefix("hf://") {
        Some(name) => name.split('@').next(),
        None => whole.rsplit('/').next(),
    };
    let short = short.filter(|short| !short.is_empty()).unwrap_or(place);
    let mut names = vec![short.to_owned(), whole.to_owned(), place.to_owned()];
    names.dedup();
    names
}

/// Names are told to everybody: what a URL has before `@` or behind `?` is often a secret.
fn shown(place: &str) -> String {
    match place.parse() {
        Ok(location @ Location::Http { .. }) => location.to_string(),
        _ => place.to_owned(),
    }
}

pub(crate) fn settings(args: &HttpArgs) -> Result<Settings, Failure> {
    let seconds = |seconds: NonZero<u32>| Duration::from_secs(seconds.get().into());
    let limits = Limits {
        body_bytes: usize::try_from(args.body_limit.bytes).unwrap_or(usize::MAX),
        head_time: seconds(args.client_timeout),
        body_time: seconds(args.client_timeout),
        stall_time: seconds(args.client_timeout),
        idle_time: seconds(args.keep_alive),
        connections: args.connections.get().into(),
        answer_tokens: args.max_answer_tokens,
        ..Limits::default()
    };
    let ready = match args.ready {
        ReadyWhen::Accepting => Ready::Accepting,
        ReadyWhen::Loaded => Ready::Loaded,
    };
    Ok(Settings { limits, keys: keys(args)?, ready, cors: args.cors.clone(), page: !args.no_ui })
}

/// Those of the environment and those of the file. What was given and has no key in it would open the door to
/// everybody: a secret that is empty.
fn keys(args: &HttpArgs) -> Result<Keys, Failure> {
    let mut keys = Keys::default();
    if let Some(text) = &args.api_key {
        keys = keys.and(some_keys(text, "FIRSTLIGHT_API_KEY")?);
    }
    if let Some(path) = &args.api_key_file {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(Failure::io(name.as_str()))?;
        keys = keys.and(some_keys(&text, &name)?);
    }
    Ok(keys)
}

/// The keys of a text that has some.
fn some_keys(text: &str, name: &str) -> Result<Keys, Failure> {
    let keys = Keys::parse(text);
    if keys.is_empty() { Err(Failure::NoKeys { name: name.to_owned() }) } else { Ok(keys) }
}

async fn until_stopped(begun: &Begun, listener: Listener, args: &HttpArgs) -> Result<(), Failure> {
    let Begun { server, model, .. } = begun;
    let mut told = Told::new()?;
    let idle = async {
        match args.idle_exit {
            Some(seconds) => server.idle(Duration::from_secs(seconds.get().into())).await,
            None => std::future::pending().await,
        }
    };
    let failed = async {
        if args.exit_on_failure { model.failed().await } else { std::future::pending().await }
    };
    let stop = async {
        tokio::select! {
            name = told.next() => tracing::info!("{name}: what runs is finished, nothing more is taken"),
            () = idle => tracing::info!("nobody has asked for anything for long enough"),
            // Who waits for an answer has been told, and why is in the log.
            () = failed => {}
        }
    };
    let give_up = async {
        tokio::select! {
            () = told_again() => {}
            () = sleep(Duration::from_secs(args.drain.into())) => {}
        }
        tracing::warn!("what still runs is broken off");
    };
    let is_over = server.listen(listener, stop, give_up).await;
    is_over.map(drop).map_err(Failure::io("serving"))
}

/// Somebody lost patience.
async fn told_again() {
    match Told::new() {
        Ok(mut told) => drop(told.next().await),
        Err(_) => std::future::pending().await,
    }
}

/// The signals that ask for an end.
struct Told {
    terminate: Signal,
    interrupt: Signal,
}

impl Told {
    fn new() -> Result<Self, Failure> {
        let signal = |kind| signal(kind).map_err(Failure::io("listening for signals"));
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// How the thread that computes ended, where it has anything to say in time.
fn end_of(ended: &Receiver<Result<(), Failure>>, state: State) -> Result<(), Failure> {
    let patience = match state {
        // One that failed says so next.
        State::Ready | State::Failed => LAST_PASS,
        State::Starting | State::Loading => Duration::ZERO,
    };
    ended.recv_timeout(patience).unwrap_or(Ok(()))
}

/// The load of a model, and all that is computed with it.
struct Load {
    args: Arc<ServeArgs>,
    /// Where the model is.
    place: String,
    /// What takes the place of the model's.
    template: Option<Vec<u8>>,
    timeline: Timeline,
    model: Model,
    /// Where everything is read.
    io: Handle,
}

impl Load {
    /// Begins it on a thread of its own, which says how it ended.
    fn spawn(self, opening: Opening) -> Result<Receiver<Result<(), Failure>>, Failure> {
        let (sender, ended) = channel();
        let work = move || {
            let result = self.run(opening);
            if let Err(failure) = &result {
                tracing::error!(error = %failure, "the model cannot be served");
                self.model.has_failed(failure.to_string());
            }
            // Nobody listens where the process is about to end.
            drop(sender.send(result));
        };
        let thread = thread::Builder::new().name("compute".into());
        thread.spawn(work).map_err(Failure::io("starting the thread that computes"))?;
        Ok(ended)
    }

    fn run(&self, opening: Opening) -> Result<(), Failure> {
        let _guard = self.io.enter();
        let Self { args, place, template, timeline, .. } = self;
        let cache = opening.cache;
        let reading = start::read(place, &args.store, template.clone(), Kind::parse, timeline);
        let chosen = opening.chosen(timeline);
        let (ready, chosen) = self.io.block_on(async { tokio::try_join!(reading, chosen) })?;
        self.model.is_loading();
        let start::Ready { known, tokenizer, texts } = ready;
        let Known { reader, location, config, spec, checkpoint } = known;
        match spec {
            Kind::Decoder(spec) => {
                timeline.describe("architecture", spec.architecture);
                let known = Known { reader, location, config, spec, checkpoint };
                let chosen = chosen.keeping(cache, known.dtype())?;
                self.answer(chosen, start::Ready { known, tokenizer, texts })
            }
            Kind::Encoder(spec) => {
                timeline.describe("architecture", spec.architecture);
                let sentence = self.io.block_on(embed::read_sentence(reader.clone()))?;
                engine::check_context(&args.engine, sentence.max_tokens(&spec))?;
                let known = Known { reader, location, config, spec, checkpoint };
                self.embed(chosen, embed::Ready { known, sentence, tokenizer })
            }
        }
    }

    fn answer(&self, chosen: Chosen, ready: start::Ready) -> Result<(), Failure> {
        match chosen {
            Chosen::Cpu(cpu) => self.compute(cpu, ready),
            Chosen::Gpu(gpu) => self.compute(*gpu, ready),
        }
    }

    fn embed(&self, chosen: Chosen, ready: embed::Ready) -> Result<(), Failure> {
        match chosen {
            Chosen::Cpu(cpu) => self.compute_embeddings(cpu, ready),
            Chosen::Gpu(gpu) => self.compute_embeddings(*gpu, ready),
        }
    }

    fn compute_embeddings<P: Processor>(
        &self,
        processor: P,
        ready: embed::Ready,
    ) -> Result<(), Failure> {
        let Self { args, timeline, model, io, .. } = self;
        let begun = ready.begin(&processor, &args.store, io, timeline)?;
        let embed::Begun { embedder, worker, weights, needs } = begun;
        self.announce(&needs);
        model.embeds(embedder);
        let stamps = self.watched(weights.stamps());
        processor.compute(|device| {
            let passes = weights.on(device)?;
            let (model, stamps) = (model.clone(), stamps.clone());
            let passes = Announced { passes, model, stamps, is_ready: false };
            worker.run(passes).map_err(Failure::Embedder)
        })?;
        // Where nobody asked for anything since, the worker has not seen it.
        Ok(stamps.check()?)
    }

    /// These files, from now on looked after.
    fn watched(&self, stamps: Stamps) -> Stamps {
        if !stamps.is_empty() {
            self.io.spawn(look_after(stamps.clone(), self.model.clone()));
        }
        stamps
    }

    /// What the process will need, but for what requests and answers bring along.
    fn announce(&self, needs: &Needs) {
        tracing::info!("needs {} bytes of memory: {needs}", needs.bytes());
        let &Needs { weight_bytes, cache_bytes, result_bytes, .. } = needs;
        self.model.needs(Memory { weight_bytes, cache_bytes, result_bytes });
    }

    fn compute<P: Processor>(&self, processor: P, ready: start::Ready) -> Result<(), Failure> {
        let Self { args, timeline, model, io, .. } = self;
        let start::Ready { known, tokenizer, texts } = ready;
        let foreseen = engine::foreseen(&processor, &args.engine, &known.spec)?;
        let begun = start::stream(&processor, &known, &args.store, foreseen, timeline)?;
        let (limits, needs) = engine::limits(&processor, &args.engine, &known.spec, begun.needs)?;
        self.announce(&needs);
        timeline.describe("kv_cache_tokens", needs.positions.to_string());
        let tokenizer = io.block_on(tokenizer)??;
        let texts = io.block_on(texts)??;
        let (engine, worker) = Engine::new(tokenizer.clone(), limits);
        model.speaks(Speech::new(tokenizer, texts.template, texts.generation, engine));
        let stamps = self.watched(begun.layers.stamps());
        processor.compute(|device| {
            let passes = engine::model(device, known, begun, &limits, timeline)?;
            let (model, stamps) = (model.clone(), stamps.clone());
            let passes = Announced { passes, model, stamps, is_ready: false };
            worker.run(passes).map_err(Failure::Engine)
        })?;
        Ok(stamps.check()?)
    }
}

/// Looks after files that are used where they lie, also while nobody asks for anything: an instance whose weights were
/// changed is not alive.
async fn look_after(stamps: Stamps, model: Model) {
    while model.state() != State::Failed {
        sleep(LOOK_AGAIN).await;
        let stamps = stamps.clone();
        // A file system may take its time.
        if let Ok(Err(error)) = spawn_blocking(move || stamps.check()).await {
            tracing::error!(%error, "the model cannot be served any more");
            model.has_failed(error.to_string());
        }
    }
}

/// A model that says when all of its weights are there, and computes with no others.
struct Announced<P> {
    passes: P,
    model: Model,
    stamps: Stamps,
    is_ready: bool,
}

impl<P> Announced<P> {
    /// Before a pass, lest pages are touched that are gone, and behind it, lest its results are told.
    fn check(&self) -> Result<(), ModelError> {
        self.stamps.check().map_err(|error| ModelError::Load(Box::new(error)))
    }

    fn announce(&mut self) {
        if !self.is_ready {
            self.is_ready = true;
            self.model.is_ready();
            tracing::info!("the model is loaded");
        }
    }
}

impl<E: Embeds> Embeds for Announced<E> {
    fn max_rows(&self) -> usize {
        self.passes.max_rows()
    }

    fn max_texts(&self) -> usize {
        self.passes.max_texts()
    }

    /// Takes all the weights that are still to come.
    fn embed(&mut self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.check()?;
        let embeddings = self.passes.embed(texts)?;
        self.check()?;
        self.announce();
        Ok(embeddings)
    }

    fn pull(&mut self) -> Result<bool, ModelError> {
        let more = self.passes.pull()?;
        if !more {
            self.announce();
        }
        Ok(more)
    }
}

impl<P: Passes> Passes for Announced<P> {
    /// Asked after the first pass, too.
    fn pull(&mut self) -> Result<bool, ModelError> {
        let more = self.passes.pull()?;
        if !more {
            self.announce();
        }
        Ok(more)
    }

    fn forward(&mut self, rows: &[Rows<'_>]) -> Result<(), ModelError> {
        self.check()?;
        self.passes.forward(rows)
    }

    fn open(&mut self, rows: &[Rows<'_>]) -> Result<(), ModelError> {
        self.check()?;
        self.passes.open(rows)
    }

    fn join(&mut self, rows: &[Rows<'_>]) -> Result<(), ModelError> {
        self.passes.join(rows)
    }

    fn advance(&mut self) -> Result<bool, ModelError> {
        self.passes.advance()
    }

    fn logits(&mut self) -> Result<Vec<f32>, ModelError> {
        self.check()?;
        self.passes.logits()
    }

    fn draw(&mut self, draws: &[Option<Draw>]) -> Result<Vec<Option<u32>>, ModelError> {
        self.check()?;
        self.passes.draw(draws)
    }

    fn forward_all(&mut self, rows: Rows<'_>) -> Result<Vec<f32>, ModelError> {
        self.check()?;
        let logits = self.passes.forward_all(rows)?;
        self.check()?;
        Ok(logits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_model_have_no_secret() {
        for (place, expected) in [
            ("s3://models/llama-3.2-1b/", ["llama-3.2-1b", "s3://models/llama-3.2-1b"]),
            ("hf://owner/name@main", ["owner/name", "hf://owner/name@main"]),
            ("https://me:secret@host/m?signature=secret", ["m", "https://host/m"]),
        ] {
            let names = names(&[], place);
            for name in expected {
                assert!(names.iter().any(|known| known == name), "{names:?}");
            }
            assert!(!names.iter().any(|name| name.contains("secret")), "{names:?}");
        }
    }
}
