"""Rates of torch.matmul in bf16: one line of JSON for each ROWSxOUTPUTSxINPUTS that is asked for."""

import json
import statistics
import sys

import torch

POOL_BYTES = 512 << 20  # of weights that take turns, so that none is in a cache
SAMPLES, LAUNCHES = 9, 50


def milliseconds(x, weights):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for turn in range(LAUNCHES):
        torch.matmul(x, weights[turn % len(weights)].T)
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / LAUNCHES


for shape in sys.argv[1:]:
    rows, outputs, inputs = map(int, shape.split("x"))
    x = torch.randn(rows, inputs, device="cuda", dtype=torch.bfloat16)
    count = max(2, POOL_BYTES // (2 * outputs * inputs))
    weights = [torch.randn(outputs, inputs, device="cuda", dtype=torch.bfloat16) for _ in range(count)]
    milliseconds(x, weights)
    took = statistics.median(milliseconds(x, weights) for _ in range(SAMPLES))
    flop = 2 * rows * outputs * inputs
    print(json.dumps({"rows": rows, "outputs": outputs, "inputs": inputs, "tflops": flop / took / 1e9}))
