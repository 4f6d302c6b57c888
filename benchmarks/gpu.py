"""Everything that is measured on a GPU, one after the other, within the minutes that there are.

What works on the device, an epoch and a step beside those written by hand, encoder-free inference,
what repeats after training with and without CUDA graphs (fits, chains, annealing, L_K, completion),
and peak memory; then the whole protocol of Burda et al. (2016), K = 1 and K = 50, as far as the
rest of the time allows, each on half of it. Run ``python benchmarks/gpu.py --minutes 10``; every
part prints what it prints by itself, and one that fails or takes too long is named at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PARTS: dict[str, list[str]] = {
    "what works": ["devices.py"],
    "an epoch": ["svi_epoch.py"],
    "a step of the importance-weighted bound": ["iwae_step.py", "--compile"],
    "encoder-free inference": ["encoder_free.py", "--turns", "3"],
    "launches": ["launches.py"],
    "memory": ["memory.py"],
}
PROTOCOL = ("burda-full-vae", "burda-full-iwae")


def run(command: list[str], *, seconds: float) -> str:
    """Run a command for so long at most; empty, or what went wrong."""
    print(f"\n$ {' '.join(command[1:])}", flush=True)
    try:
        code = subprocess.run(command, timeout=max(seconds, 1.0), check=False).returncode
    except subprocess.TimeoutExpired:
        return "took too long"
    return "" if code == 0 else f"ended with code {code}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="for all of it (default 10)")
    parser.add_argument("--out", default="runs", help="folder of the protocol's runs")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), help="some of the parts")
    parser.add_argument("--device", default="cuda", help="another device (default cuda)")
    options = parser.parse_args()
    device = ["--device", options.device]
    ends = time.monotonic() + 60 * options.minutes
    failed = {}
    for name in options.parts:
        script, *arguments = PARTS[name]
        left = ends - time.monotonic()
        command = [sys.executable, str(HERE / script), *device, *arguments]
        failed[name] = run(command, seconds=left)
    for i, preset in enumerate(PROTOCOL):
        share = (ends - time.monotonic()) / (len(PROTOCOL) - i)
        command = [sys.executable, "-m", "inference.cli", "train", "--preset", preset]
        command += [*device, "--out", f"{options.out}/{preset}"]
        resumed = (Path(options.out) / preset / "run.json").is_file()
        run([*command, *(["--resume"] if resumed else [])], seconds=share)
    for name, what in failed.items():
        if what:
            print(f"{name}: {what}")
    raise SystemExit(1 if any(failed.values()) else 0)


if __name__ == "__main__":
    main()
