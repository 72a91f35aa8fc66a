//! What the model wants, in execution order.
//!
//! Names and shapes come from config.json alone, before any header is read: the plan is where the
//! two meet.

/// The tensors that one step of the forward pass needs before it can begin: the embedding, one
/// layer, the output head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// For the timeline and for `inspect`, such as `layer 3`.
    pub name: String,
    /// In the order in which the stage's owner wants to find them.
    pub tensors: Vec<Want>,
}

/// One tensor as the model expects to find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// As in the checkpoint.
    pub name: String,
    /// Outermost dimension first; a file with another shape is an error.
    pub shape: Vec<u64>,
}
