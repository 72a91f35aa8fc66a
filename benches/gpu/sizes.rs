//! How much is measured: what a GPU needs to show what it can, or so little that the stand-in for libcuda runs it.

use std::time::Duration;

use firstlight_model::Spec;

use super::random_model::RandomModel;

/// Of everything that is measured.
pub(crate) struct Sizes {
    pub(crate) name: &'static str,
    /// Between two of which the device copies.
    pub(crate) buffer_bytes: usize,
    /// Blocks of the products from registers, and how many each does.
    pub(crate) matrix: (u32, u32),
    /// Of different weights, keys and values that take turns: more than any cache holds.
    pub(crate) pool_bytes: usize,
    /// What one sample takes at least.
    pub(crate) sample: Duration,
    pub(crate) samples: usize,
    pub(crate) models: Vec<Model>,
    /// Matrices beside those of models: outputs and inputs.
    pub(crate) matrices: Vec<(usize, usize)>,
    pub(crate) gemv_rows: Vec<usize>,
    pub(crate) gemm_rows: Vec<usize>,
    /// Positions that attention sees.
    pub(crate) contexts: Vec<usize>,
    pub(crate) prompt: usize,
    pub(crate) decoded: usize,
    pub(crate) file_bytes: usize,
    pub(crate) slot_bytes: usize,
    pub(crate) rings: Vec<usize>,
    pub(crate) readers: Vec<usize>,
    /// Fresh processes of each kind.
    pub(crate) starts: usize,
}

/// A published shape.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) random: RandomModel,
}

impl Model {
    pub(crate) fn spec(&self) -> Spec {
        let config = self.random.config().to_string();
        Spec::parse(config.as_bytes()).expect("published shapes are supported")
    }
}

impl Sizes {
    /// `true`, or `tiny`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "true" => Some(Self::of_gpus()),
            "tiny" => Some(Self::of_the_stand_in()),
            _ => None,
        }
    }

    pub(crate) fn of_gpus() -> Self {
        Self {
            name: "true",
            buffer_bytes: 1 << 30,
            matrix: (1 << 16, 256),
            pool_bytes: 512 << 20,
            sample: Duration::from_millis(5),
            samples: 9,
            models: vec![
                Model { name: "0.5B", random: RandomModel::qwen2_5_0_5b() },
                Model { name: "1B", random: RandomModel::llama_3_2_1b() },
                Model { name: "8B", random: RandomModel::llama_3_1_8b() },
            ],
            matrices: vec![(4096, 4096), (14_336, 4096), (4096, 14_336)],
            gemv_rows: vec![1, 2, 4, 8],
            gemm_rows: vec![16, 32, 64, 128, 256, 512],
            contexts: vec![512, 4096, 32_768],
            prompt: 512,
            decoded: 128,
            file_bytes: 4 << 30,
            slot_bytes: 8 << 20,
            rings: vec![32 << 20, 64 << 20, 128 << 20, 256 << 20, 512 << 20],
            readers: vec![1, 4, 8, 16],
            starts: 7,
        }
    }

    pub(crate) fn of_the_stand_in() -> Self {
        Self {
            name: "tiny",
            buffer_bytes: 64 << 10,
            matrix: (2, 2),
            pool_bytes: 64 << 10,
            sample: Duration::ZERO,
            samples: 1,
            models: vec![Model { name: "tiny", random: RandomModel::tiny().layers(1) }],
            matrices: vec![(64, 96)],
            gemv_rows: vec![1, 2],
            gemm_rows: vec![16, 17],
            contexts: vec![20, 40],
            prompt: 12,
            decoded: 2,
            file_bytes: 256 << 10,
            slot_bytes: 16 << 10,
            rings: vec![64 << 10],
            readers: vec![2],
            starts: 1,
        }
    }
}
