//! One range of one object, as the network saw it.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::At;

/// One request for one range: an attempt, not the range's whole story.
#[derive(Clone, Debug)]
pub struct FetchRecord {
    /// The object's name.
    pub object: Arc<str>,
    /// The bytes asked for.
    pub range: Range<u64>,
    /// What the bytes are for: `config`, `headers`, `layer 7`, `head`.
    pub stage: Arc<str>,
    /// When the request was sent.
    pub requested: At,
    /// When the first byte of the body arrived, if one did.
    pub first_byte: Option<At>,
    /// When the last byte arrived or the attempt was given up.
    pub done: At,
    /// Bytes of the body received.
    pub bytes: u64,
    /// 1 for the first attempt at this range.
    pub attempt: u32,
    /// Whether this attempt doubled another that was still open.
    pub hedge: bool,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an attempt at a range ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All bytes arrived.
    Complete,
    /// It failed for the reason given, and the rest was asked for again.
    Retried(String),
    /// It stopped making progress and was given up.
    Stalled,
    /// The other attempt of a hedge won.
    Lost,
    /// It failed for the reason given, and so did the start.
    Failed(String),
}
