//! OpenAI's HTTP interface to one model, from before its first byte is there.
//!
//! A process that was woken by a request must not turn it away: the socket is bound first, requests
//! wait while the model is loaded, and their prompts are computed as its layers arrive. Here is all
//! that is about HTTP; the answers come from the engine of `generate`, and how far the load is, from
//! whoever loads, by way of [`Model`].
//!
//! [`Server::router`] is a service without a socket, so that a platform that delivers requests in
//! its own way can call the same handlers; [`Server::listen`] puts it behind a [`Listener`].
//!
//! # Layout, in the order in which a request meets them
//!
//! - [`Listener`] (`listener`): connections, their limits and their end; `places`: how many;
//!   `connection`: what each is at; `stall`: clients that do not read
//! - `router`: what is at which address; `server`: what all handlers share, and the limits
//! - `journal`: a line of log for each request; `trace`: which is which; `activity`: how many
//! - `cors`, `keys`: who may ask
//! - `health`, `status`, `models`, `metrics`: about the instance; `openapi`: what it serves;
//!   `page`: for people
//! - `json`: bodies; `fields`, `options`, `prompts`: what is asked for, field by field
//! - `chat`, `completions`: the two interfaces to the engine; `answer`: what both do; `embeddings`
//! - [`Model`] (`model`): how far the load is; [`Speech`] (`speech`): what makes tokens of texts
//! - `choices`: the jobs of a request; `form`: what answers look like; `spelling`: their tokens;
//!   `sse`: streamed; `timing`: what a cold start took
//! - [`lambda`]: the same as a Lambda function, whose events become requests
//! - [`Refusal`] (`refusal`): why there is no answer

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod activity;
mod answer;
mod chat;
mod choices;
mod completions;
mod connection;
mod cors;
mod embeddings;
mod fields;
mod form;
mod health;
mod journal;
mod json;
mod keys;
pub mod lambda;
mod listener;
mod metrics;
mod model;
mod models;
mod openapi;
mod options;
mod page;
mod places;
mod prompts;
mod refusal;
mod router;
mod server;
mod speech;
mod spelling;
mod sse;
mod stall;
mod status;
mod timing;
mod trace;

pub use cors::{Origin, OriginError};
pub use keys::Keys;
pub use listener::Listener;
pub use model::{Memory, Model, State};
pub use openapi::request_fields;
pub use refusal::Refusal;
pub use server::{Limits, Ready, Server, Settings};
pub use speech::Speech;
