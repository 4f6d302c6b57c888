"""``pyro-models demo``: models of the bundled digits are learned, used, evaluated and shown."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from inference.evaluation import Comparison, Evaluation, compare, evaluate
from inference.progress import over
from inference.report.colophon import colophon
from inference.report.models import ENTRIES, learn, shown
from inference.report.page import MakeSection, Section, write_page, write_section
from inference.report.samples import samples_section
from inference.report.unseen import completions_section, guides_section
from pyro_models import ImageData, Pair, UsageError, load_data
from pyro_models.device import check_device
from pyro_models.files import LOCK, holding_folder, is_free, write_atomically
from pyro_models.models import title_of

__all__ = ["demo"]

MARKER = ".pyro-models-report"
VAE = "gaussian-vae"
OF_DENSITIES = (VAE, "ppca", "gmm")  # of the same pixels: one column


def demo(
    out: str = "report",
    num_particles: int = 500,
    seed: int = 0,
    force: bool = False,
    device: str = "cpu",
    progress: bool = True,
    *,
    parts: Sequence[MakeSection] = (),
) -> Comparison:
    """Learn eight models of the bundled digits, infer with them, evaluate both, and write a page.

    Args:
        out: Folder for index.html, tables, figures and run folders.
        num_particles: Number of particles K of the importance-sampled bounds.
        seed: Random seed of everything.
        force: Replace a report that is there.
        device: Where to compute: cpu, cuda, cuda:1 or mps.
        progress: Show progress bars.
        parts: What else the page shows, made by other packages; not an option of the command.
    """
    check_device(device)
    folder = Path(out)
    _check_way(folder, force=force)
    with holding_folder(folder, refusal=f"another report is being made in {folder}: wait for it"):
        _check_way(folder, force=force)
        for path in folder.iterdir():
            if not path.name.startswith(LOCK):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (folder / MARKER).touch()
        digits = load_data("digits")
        pairs: dict[str, Pair] = {}
        trainings: dict[str, tuple[Pair, ImageData]] = {}
        rows: list[Evaluation] = []
        sections: list[tuple[Section, str]] = []

        def add(section: Section) -> None:
            sections.append((section, write_section(section, folder)))

        for entry in over(ENTRIES, what="demo", unit="models", shown=progress):
            data = digits.with_preparation(entry.preparation)
            trained = learn(entry, folder, seed=seed, device=device, progress=progress)
            pair, name = trained.pair, entry.title(trained)
            trainings[name] = (pair, data)
            rows.append(evaluate(pair, data, num_particles=num_particles, name=name, seed=seed))
            pairs[entry.key] = pair
            add(shown(entry, trained, data, rows[-1]))
        further: list[Callable[[], Section]] = [
            *_unseen(pairs, trainings, digits, num_particles=num_particles, seed=seed),
            *(partial(make, seed=seed) for make in parts),
        ]
        for work in over(further, what="inference", unit="parts", shown=progress):
            add(work())
        table = compare(rows)
        write_atomically(folder / "comparison.csv", table.to_csv())
        write_atomically(folder / "comparison.md", table.to_markdown())
        made = colophon(digits, seed=seed, device=device)
        write_page(table, sections, folder, colophon=made)
    print(table.to_text())
    print(f"report: {folder / 'index.html'}")
    return table


def _unseen(
    pairs: Mapping[str, Pair],
    trainings: Mapping[str, tuple[Pair, ImageData]],
    digits: ImageData,
    *,
    num_particles: int,
    seed: int,
) -> list[Callable[[], Section]]:
    """What is drawn from, and inferred with, the models that were learned."""
    densities = digits.with_preparation("dequantised")
    several = {title_of(pairs[key]): pairs[key] for key in OF_DENSITIES}
    return [
        partial(samples_section, trainings, seed=seed),
        partial(guides_section, pairs[VAE], densities, num_particles=num_particles, seed=seed),
        partial(completions_section, several, densities, seed=seed),
    ]


def _check_way(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds something else, or a report that is not to be replaced."""
    if not is_free(folder) and not (folder / MARKER).is_file():
        raise UsageError(f"{folder} is there and is not a report: name another folder")
    if not is_free(folder) and not force:
        raise UsageError(f"{folder} holds a report: replace it with --force, or name another")
