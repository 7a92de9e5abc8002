"""`make gpu-check`: the benchmarks of a GPU with the present backend, in less than ten minutes.

Appends their lines to `results/bench.jsonl`, from which `make performance` writes docs/performance.md. With
`--rehearse` the same program runs with tiny sizes on the CPU and keeps no line. Ends with 2 where there is no GPU.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.benchmarks import harness, run
from tests.benchmarks.gpu import bench_gpu
from xraytune import hardware


def main(arguments: list[str] | None = None) -> int:
    """Run them; return the exit code."""
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the CPU; nothing is kept")
    rehearse = parser.parse_args(arguments).rehearse
    backend = os.environ["KERAS_BACKEND"]  # xraytune sets it where the user did not
    if backend not in bench_gpu.BACKENDS:
        print(f"KERAS_BACKEND={backend}: use {' or '.join(bench_gpu.BACKENDS)}.", file=sys.stderr)
        return 2
    if rehearse:
        os.environ[bench_gpu.REHEARSE] = "1"
        print("REHEARSAL: tiny sizes on the CPU. These numbers say nothing about a GPU and are not kept.")
    elif not hardware.gpus():
        print(
            "No NVIDIA GPU is visible on this machine (/proc/driver/nvidia/gpus, CUDA_VISIBLE_DEVICES). Run this where "
            "there is one, or try the program on the CPU: make gpu-check ARGS=--rehearse",
            file=sys.stderr,
        )
        return 2
    begun = time.monotonic()
    code = run.main(f"gpu.{backend}_", keep=not rehearse)
    print(f"{backend} on {harness.machine()}: {time.monotonic() - begun:.0f} s.")
    if code == 0 and not rehearse:
        print("Write them into docs/performance.md with: make performance")
    return code


if __name__ == "__main__":
    sys.exit(main())
