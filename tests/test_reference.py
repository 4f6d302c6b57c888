"""The reference has every public name once, the gallery every figure, and links lead somewhere."""

import importlib
import importlib.util
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inference.figures import FIGURES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGES = {
    "pyro_models": ("data", "diffusion", "flows", "likelihoods", "models", "networks", "priors"),
    "inference": (
        *("evaluation", "figures", "learning", "mcmc", "objectives", "posterior"),
        *("posterior.guides", "programs", "selection", "estimators"),
    ),
    "gp_bo": (
        "estimators",
        "examination",
        "figures",
        "inference",
        "kernels",
        "optimize",
        "optimize.acquisition",
    ),
}
MODULES = [f"{top}.{inner}" for top, all_inner in PACKAGES.items() for inner in all_inner]
OF_A_STORE = {"stored_acquisition"}
"""Names that packages of ours share, and that no user calls."""

_ENTRY = re.compile(r"^\.\. auto(?:class|function|data):: (\S+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def entries() -> list[str]:
    return [
        name
        for page in sorted((DOCS / "reference").glob("*.rst"))
        for name in _ENTRY.findall(page.read_text(encoding="utf-8"))
    ]


def found(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("module", [*PACKAGES, *MODULES])
def test_every_public_name_is_in_the_reference(module: str) -> None:
    listed = {id(found(name)) for name in entries()}
    package = importlib.import_module(module)
    public = {name: getattr(package, name) for name in package.__all__ if name not in OF_A_STORE}
    missing = [
        name
        for name, value in public.items()
        if id(value) not in listed and not isinstance(value, ModuleType)
    ]
    assert missing == [], "add them to a page of docs/reference"


def test_no_name_is_in_the_reference_twice() -> None:
    assert [name for name, times in Counter(entries()).items() if times > 1] == []


def gallery() -> Any:
    spec = importlib.util.spec_from_file_location("gallery", DOCS / "gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_gallery_shows_every_figure_that_there_is() -> None:
    module = gallery()
    names = [name for pictures in module.PICTURES.values() for name in pictures]
    assert set(FIGURES) <= set(names), "add it to docs/gallery.py, and run that"
    pictures = {path.stem: path for path in (DOCS / "gallery").glob("*.png")}
    assert sorted(pictures) == sorted(names), "run docs/gallery.py"
    assert sum(path.stat().st_size for path in pictures.values()) < 2e6
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == module.page(), "run docs/gallery.py"


PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), ROOT / "notebooks" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as viewers of Markdown make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
