//! What can go wrong between a checkpoint and its layers.

/// The store's and the plan's errors pass through as they are.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bytes could not be had.
    #[error(transparent)]
    Store(#[from] firstlight_store::Error),
    /// They are not what they should be.
    #[error(transparent)]
    Plan(#[from] firstlight_plan::Error),
    /// There is no memory for them.
    #[error(transparent)]
    Device(#[from] firstlight_device::Error),
    /// There are no weights in a format that is read.
    #[error(
        "`{location}` holds no weights: neither `model.safetensors` nor `model.safetensors.index.json` is there\
         \nhint: check the model's location; it must hold the files of a Hugging Face repository, flat"
    )]
    NoWeights {
        /// Where they were looked for.
        location: String,
    },
    /// The weights are there, but in a format that can run code when it is read.
    #[error(
        "`{object}` is a pickle checkpoint, and there is no safetensors beside it; pickle is never loaded: reading it \
         can run any code\nhint: convert it where that is acceptable: python -c \"from transformers import \
         AutoModelForCausalLM as M; M.from_pretrained('IN', weights_only=True).save_pretrained('OUT')\""
    )]
    Pickle {
        /// The checkpoint's full name.
        object: String,
    },
    /// A mapped file ends before its header says, since it was truncated after that was read; or its disk fails.
    #[error(
        "`{object}` cannot be read from byte {at} on: it was truncated while it was being loaded, or its disk fails"
    )]
    Unreadable {
        /// The file's full name.
        object: String,
        /// Where the piece begins that could not be read.
        at: u64,
    },
    /// A mapped file is not what it was when it was mapped.
    #[error(
        "`{object}` was changed in place while it was in use: {change}\nhint: start again; put a new version of a model \
         into a new folder, or move each new file over the old one, whose content then stays"
    )]
    Rewritten {
        /// The file's full name.
        object: String,
        /// What has changed.
        change: String,
    },
    /// The loading tasks ended without an answer: the runtime is being shut down.
    #[error("the load ended before {stage} was complete")]
    Cancelled {
        /// The stage that was waited for, or the headers.
        stage: String,
    },
}
