"""Build the sdist and the wheel, and try each in an environment of its own: `make dist`.

The wheel is made from the sdist, so that what the sdist lacks is missed here. Both are installed
without a network: dependencies, and what builds, are those of the Python that runs this.
"""

import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
PACKAGES = ("pyro_models", "inference", "gp_bo")

IN_WHEEL = [
    *(f"{package}/py.typed" for package in PACKAGES),
    "pyro_models/presets/",
    "inference/templates/report.html",
    "inference/evaluation/classifiers/mnist.safetensors",
    ".dist-info/licenses/LICENSE",
]
IN_SDIST_ALONE = ["tests/", "docs/", "notebooks/", "benchmarks/", "CHANGELOG.md", "CITATION.cff"]
IN_SDIST_ALONE += ["CONTRIBUTING.md", "Makefile", ".ci/"]
NEVER = ("/.venv", "/runs/", "/report/", "/data/", "/exports/", "/dist/", "/build/")
"""What may lie in a checkout, and is not to be packed."""

LOADED = f"""
import sys, importlib.metadata, {", ".join(PACKAGES)}
place = sys.argv[1]
for package in ({", ".join(PACKAGES)}):
    assert package.__file__.startswith(place), package.__file__
assert importlib.metadata.version("pyro-models") == sys.argv[2]
from inference import Experiment
assert Experiment.preset("burda").options["hidden"] == [200, 200]
"""
TRAINED = ["--model", "vae", "--options.hidden", "[16]", "--options.likelihood", "bernoulli"]
TRAINED += ["--data", "digits", "--epochs", "1", "--curve_size", "0", "--progress", "false"]
QUICK = [["pyro-models", "train", *TRAINED, "--out", "run"]]
WHOLE = [
    ["pyro-models", "--help"],
    *QUICK,
    ["pyro-models", "evaluate", "run", "--num_particles", "2", "--limit", "20"],
    ["gp-bo", "fit", "table.csv", "y", "gp", "--inference", "map", "--kernel", "rbf"],
]


def main() -> None:
    """Build, look inside, install, try."""
    sdist, wheel = build()
    version = wheel.name.split("-")[1]
    check_contents(sdist, wheel)
    with ThreadPoolExecutor() as both:
        for made in both.map(partial(try_out, version=version), (wheel, sdist), (WHOLE, QUICK)):
            print(f"{made.name}: installs, and works", flush=True)


def build() -> tuple[Path, Path]:
    """The sdist, and the wheel made of it."""
    for old in DIST.glob("pyro_models-*"):
        old.unlink()
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, ROOT)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    return sdist, wheel


def check_contents(sdist: Path, wheel: Path) -> None:
    """Everything that a user needs is in the wheel, and all else in the sdist alone."""
    in_wheel = zipfile.ZipFile(wheel).namelist()
    with tarfile.open(sdist) as archive:
        in_sdist = [f"/{name.partition('/')[2]}" for name in archive.getnames()]
    wrong = [f"{wheel.name} lacks {part}" for part in IN_WHEEL if not among(part, in_wheel)]
    wrong += [f"{sdist.name} lacks {part}" for part in IN_SDIST_ALONE if not among(part, in_sdist)]
    wrong += [f"{wheel.name} holds {part}" for part in IN_SDIST_ALONE if among(part, in_wheel)]
    wrong += [f"{name} is packed" for name in in_sdist if name.startswith(NEVER)]
    wrong += [f"{name} is packed" for name in (*in_wheel, *in_sdist) if "__pycache__" in name]
    tops = {name.partition("/")[0] for name in in_wheel if ".dist-info" not in name}
    wrong += [f"{wheel.name} installs {top}" for top in sorted(tops - set(PACKAGES))]
    if wrong:
        sys.exit("\n".join(wrong))


def among(part: str, names: Iterable[str]) -> bool:
    """Whether a name holds the part."""
    return any(part in name for name in names)


def install(made: Path, folder: Path) -> Path:
    """A fresh environment with it, which finds dependencies where this Python does."""
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env")
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "env/bin/python"
    how = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *how, made)
    return folder


def try_out(made: Path, commands: list[list[str]], *, version: str) -> Path:
    """Install it, and do what it is for, once, away from this checkout."""
    with tempfile.TemporaryDirectory() as place:
        folder = install(made, Path(place).resolve())
        work, bin_ = folder / "work", folder / "env/bin"
        work.mkdir()
        rows = "\n".join(f"{i / 10},{(i % 7) / 3}" for i in range(20))
        (work / "table.csv").write_text(f"x,y\n{rows}\n")
        run(bin_ / "python", "-c", LOADED, str(folder), version, cwd=work)
        for command, *options in commands:
            run(bin_ / command, *options, cwd=work)
    return made


def run(*command: object, cwd: Path = ROOT) -> None:
    """Run a command without this checkout on its path; its output is shown if it fails."""
    words = [str(word) for word in command]
    clean = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": tempfile.gettempdir()}
    done = subprocess.run(
        words, cwd=cwd, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout.decode(errors='replace')[-4000:]}")


if __name__ == "__main__":
    main()
