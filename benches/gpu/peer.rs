//! What others make of the same products: `torch.matmul`, which is NVIDIA's own library, where Python has it.

use std::process::{Command, Stdio};

use serde::Deserialize;

use super::bench::Result;
use super::record::Recorder;
use super::sections::{MATRIX_RATE, MEASURED, count, matrix_name};
use super::setup::Setup;

/// A line of the script.
#[derive(Deserialize)]
struct Line {
    rows: usize,
    outputs: usize,
    inputs: usize,
    tflops: f64,
}

pub(crate) fn measure(setup: &Setup, recorder: &mut Recorder) -> Result<()> {
    let limit = recorder.record().value("limits", MATRIX_RATE, MEASURED);
    let shapes = setup.sizes.matrices.iter().flat_map(|(outputs, inputs)| {
        let rows = setup.sizes.gemm_rows.iter();
        rows.map(move |rows| format!("{rows}x{outputs}x{inputs}"))
    });
    let mut python = Command::new("python3");
    python.arg("-c").arg(include_str!("../../tests/gpu/peer.py")).args(shapes);
    let output =
        python.env("CUDA_VISIBLE_DEVICES", setup.device.to_string()).stdin(Stdio::null()).output();
    let output = match output {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().next_back().unwrap_or("it said nothing");
            return Ok(recorder.note(format!("no torch.matmul: {last}"))?);
        }
        Err(error) => return Ok(recorder.note(format!("no torch.matmul: python3: {error}"))?),
    };
    for line in String::from_utf8(output.stdout)?.lines() {
        let Line { rows, outputs, inputs, tflops } = serde_json::from_str(line)?;
        let place = [matrix_name((outputs, inputs)), count(rows, "row")];
        recorder.figure("peer", [&place[0], &place[1]], tflops, limit)?;
    }
    Ok(())
}
