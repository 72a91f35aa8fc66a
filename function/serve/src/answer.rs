//! From a request's body to its answer, whole or streamed: what chat and completions share.
//!
//! ```text
//! body ──► fields ──► (the model speaks) ──► prompts ──► jobs ──► first event ──► head ──► the rest
//! ```
//!
//! What is wrong with the fields is told at once. Then the request waits until the tokenizer is
//! there, and its jobs wait in the engine for the weights. The head of the response goes out with
//! the first event, so that an error before it is a status, and a cold start's timing a header. A
//! stream's goes out sooner where that takes long, for balancers cut what says nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use firstlight_generate::engine::{self, Event, Token};
use firstlight_generate::{Bias, Finish, Logprobs, Settings, Tokenizer};
use tokio::time::timeout;

use crate::choices::{Choices, Work};
use crate::fields::{Fields, wrong_value};
use crate::form::{Choice, Form, Letterhead, Usage};
use crate::metrics::Arrival;
use crate::options::{MAX_CHOICES, Options, Stream};
use crate::speech::{Prompt, Speech};
use crate::spelling::Speller;
use crate::sse::Events;
use crate::{Refusal, Server, json, timing};

/// A request that was read.
pub(crate) trait Ask: Send + 'static {
    /// The interface that it is of.
    const FORM: Form;

    /// Its prompts, as tokens. This may take a while.
    fn prompts(&mut self, speech: &Speech) -> Result<Vec<Prompt>, Refusal>;

    /// What is to be done with them.
    fn wanted(self) -> Wanted;
}

/// What is to be done with prompts.
pub(crate) struct Wanted {
    pub(crate) options: Options,
    pub(crate) logprobs: Option<u8>,
    pub(crate) echo: Echo,
}

/// Whether an answer begins with its prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    No,
    Before,
    /// It is the prompt, and no more.
    Alone,
}

/// Answers a request whose fields `read` understands.
pub(crate) async fn answer<A: Ask>(
    server: Server,
    request: Request,
    read: fn(&Fields<'_>) -> Result<A, Refusal>,
) -> Result<Response, Refusal> {
    let arrival = Arrival { at: Instant::now(), is_cold: server.is_cold() };
    let asked = json::read(&server, request, read).await?;
    let speech = server.model().speech().await?;
    let begun = {
        let (server, speech) = (server.clone(), Arc::clone(&speech));
        server.clone().work(usize::MAX, move || begin(&server, &speech, asked, arrival)).await?
    };
    let letterhead = Letterhead::new(A::FORM, server.model());
    let mut response = begun.response(letterhead).await?;
    if arrival.is_cold {
        timing::tell(server.model().timeline(), response.headers_mut());
    }
    Ok(response)
}

/// Makes jobs of a request.
fn begin<A: Ask>(
    server: &Server,
    speech: &Speech,
    mut asked: A,
    arrival: Arrival,
) -> Result<Begun, Refusal> {
    let in_prompt = |refusal| match refusal {
        Refusal::Generate(error) => Refusal::Prompt { param: A::FORM.prompt_param(), error },
        other => other,
    };
    let prompts = asked.prompts(speech).map_err(in_prompt)?;
    let Wanted { options, logprobs, echo } = asked.wanted();
    let answers = options.choices;
    let most = MAX_CHOICES / prompts.len();
    if answers > most {
        let allowed = format!("1 to {most} where there are {} prompts", prompts.len());
        return Err(wrong_value("n", answers.to_string(), allowed));
    }
    let stream = options.stream;
    let prompt_logprobs = logprobs.filter(|_| echo != Echo::No);
    let work = work::<A>(server, speech, options, logprobs, prompt_logprobs)?;
    let progress = Progress::new(&prompts, answers, echo, &speech.tokenizer);
    let choices = Choices::submit(server, speech, prompts, &work, arrival)?;
    let quiet_time = server.limits().quiet_time;
    Ok(Begun { choices, progress, stream, has_logprobs: logprobs.is_some(), quiet_time })
}

fn work<A: Ask>(
    server: &Server,
    speech: &Speech,
    options: Options,
    logprobs: Option<u8>,
    prompt_logprobs: Option<u8>,
) -> Result<Work, Refusal> {
    let max_tokens = Some(answer_tokens(server, speech, &options)?);
    let Options { mut flags, bias, choices: answers, .. } = options;
    flags.max_tokens = max_tokens;
    let vocabulary_size = speech.engine.limits().vocabulary_size;
    Ok(Work {
        settings: Settings::merge(flags, &speech.defaults)?,
        bias: Bias::new(bias, vocabulary_size)?,
        logprobs,
        prompt_logprobs,
        answers,
        param: A::FORM.prompt_param(),
    })
}

/// How long an answer may be: as asked for, as the model's authors say, or to the end of the
/// context.
fn answer_tokens(server: &Server, speech: &Speech, options: &Options) -> Result<u32, Refusal> {
    let limit = server.limits().answer_tokens.map_or(u32::MAX, u32::from);
    let beyond = options.asked_tokens.iter().find(|(_, tokens)| *tokens > limit);
    if let Some((param, tokens)) = beyond {
        let allowed = format!("1 to {limit}, which is the limit of this server");
        return Err(wrong_value(*param, tokens.to_string(), allowed));
    }
    let usual = options.flags.max_tokens.or(speech.defaults.max_new_tokens);
    Ok(usual.unwrap_or(u32::MAX).min(limit))
}

/// Jobs that the engine has taken.
struct Begun {
    choices: Choices,
    progress: Progress,
    stream: Option<Stream>,
    has_logprobs: bool,
    /// How long a stream may say nothing.
    quiet_time: Duration,
}

impl Begun {
    async fn response(self, mut letterhead: Letterhead) -> Result<Response, Refusal> {
        letterhead.has_logprobs = self.has_logprobs;
        let Some(stream) = self.stream else { return self.whole(&letterhead).await };
        letterhead.promises_usage = stream.include_usage;
        self.streamed(letterhead).await
    }

    async fn whole(mut self, letterhead: &Letterhead) -> Result<Response, Refusal> {
        let choices = (0..self.progress.choices()).map(|_| Choice::default());
        let mut whole: Vec<Choice> = choices.collect();
        while !self.progress.is_over() {
            let event = self.choices.next().await;
            let (index, piece) = self.progress.take(event)?;
            let Some(piece) = piece else { continue };
            whole[index].text += &piece.text;
            whole[index].logprobs.extend(piece.logprobs);
            whole[index].finish = piece.finish;
        }
        let body = letterhead.whole(&whole, self.progress.usage());
        let mut response = Response::new(Body::from(body));
        let kind = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response)
    }

    async fn streamed(mut self, letterhead: Letterhead) -> Result<Response, Refusal> {
        let first = timeout(self.quiet_time, self.first()).await;
        let first = first.ok().transpose()?;
        let events = Events::new(letterhead, self.choices, self.progress, self.quiet_time);
        let mut response = Response::new(Body::new(events.after(first)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // nginx would collect the events otherwise.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }

    /// The first piece of any choice.
    async fn first(&mut self) -> Result<(usize, Choice), Refusal> {
        loop {
            let event = self.choices.next().await;
            if let (index, Some(piece)) = self.progress.take(event)? {
                return Ok((index, piece));
            }
        }
    }
}

/// How far the choices of a request are.
pub(crate) struct Progress {
    choices: Vec<Written>,
    unfinished: usize,
    usage: Usage,
    echo: Echo,
}

/// How far one of them is.
struct Written {
    /// The prompt that it is to begin with, if any, until it has begun.
    prefix: Option<Prompt>,
    speller: Speller,
}

impl Progress {
    /// Of so many answers to each prompt.
    fn new(prompts: &[Prompt], answers: usize, echo: Echo, tokenizer: &Tokenizer) -> Self {
        let choice = |prompt: &Prompt| Written {
            prefix: prompt.echo.is_some().then(|| prompt.clone()),
            speller: Speller::new(tokenizer, prompt.echo.is_some()),
        };
        let choices = prompts.iter().flat_map(|prompt| (0..answers).map(move |_| choice(prompt)));
        Self {
            choices: choices.collect(),
            unfinished: prompts.len() * answers,
            usage: Usage::new(prompts.iter().map(|prompt| prompt.ids.len()).sum(), 0),
            echo,
        }
    }

    pub(crate) fn choices(&self) -> usize {
        self.choices.len()
    }

    /// Whether every choice has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.unfinished == 0
    }

    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// What an event adds to which choice.
    pub(crate) fn take(
        &mut self,
        event: Option<(usize, Event)>,
    ) -> Result<(usize, Option<Choice>), Refusal> {
        let (index, event) = event.ok_or(Refusal::BrokenOff)?;
        let piece = match event {
            Event::Started => None,
            Event::Failed(error) => return Err(Refusal::of_engine(error)),
            Event::Prompt(probabilities) => self.begin(index, probabilities),
            // The engine makes one token at least.
            Event::Token(_) if self.echo == Echo::Alone => self.begin(index, Vec::new()),
            Event::Token(token) => Some(self.go_on(index, token)),
            Event::Finished { finish, usage } => Some(self.end(finish, usage)),
        };
        Ok((index, piece))
    }

    /// What an answer begins with, the first time.
    fn begin(&mut self, index: usize, probabilities: Vec<Option<Logprobs>>) -> Option<Choice> {
        let Written { prefix, speller } = &mut self.choices[index];
        let Prompt { ids, echo } = prefix.take()?;
        let tokens = ids.into_iter().zip(probabilities);
        let logprobs = tokens.map(|(id, logprobs)| speller.tell(id, logprobs)).collect();
        Some(Choice { text: echo.unwrap_or_default(), logprobs, finish: None })
    }

    fn go_on(&mut self, index: usize, token: Token) -> Choice {
        let mut piece = self.begin(index, Vec::new()).unwrap_or_default();
        piece.text += &token.text;
        if let Some(logprobs) = token.logprobs {
            let told = self.choices[index].speller.tell(token.id, Some(logprobs));
            piece.logprobs.push(told);
        }
        piece
    }

    fn end(&mut self, finish: Finish, usage: engine::Usage) -> Choice {
        self.unfinished -= 1;
        let (finish, tokens) = match self.echo {
            Echo::Alone => (Finish::Length, 0),
            Echo::No | Echo::Before => (finish, usage.generated_tokens),
        };
        let completion_tokens = self.usage.completion_tokens + tokens;
        self.usage = Usage::new(self.usage.prompt_tokens, completion_tokens);
        Choice { finish: Some(finish), ..Choice::default() }
    }
}

#[cfg(test)]
mod tests {
    use firstlight_timeline::Timeline;
    use http_body_util::BodyExt;
    use serde_json::json;
    use tower_service::Service;

    use super::*;
    use crate::speech::tests::speech;
    use crate::{Limits, Model, Settings as HowServed};

    /// What `body` is asked for is never computed.
    #[tokio::test]
    async fn a_stream_that_waits_long_says_so_and_ends_with_what_went_wrong() {
        let (speech, worker) = speech();
        let model = Model::new(vec!["story".to_owned()], Timeline::start(None));
        model.speaks(speech);
        let limits = Limits { quiet_time: Duration::from_millis(10), ..Limits::default() };
        let server = Server::new(model, HowServed { limits, ..HowServed::default() });

        let body = json!({"model": "story", "messages": [{"role": "user", "content": "a"}],
                          "stream": true});
        let request =
            Request::post("/v1/chat/completions").header(CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = server.router().call(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        let mut body = response.into_body();
        for _ in 0..3 {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(frame, ": the answer has not begun\n\n");
        }
        drop(worker);
        let rest = body.collect().await.unwrap().to_bytes();
        let rest = String::from_utf8(rest.to_vec()).unwrap();
        let (_, error) = rest.rsplit_once("data: ").unwrap();
        let error: serde_json::Value = serde_json::from_str(error).unwrap();
        assert_eq!(error["error"]["code"], "engine_failed");
    }
}
