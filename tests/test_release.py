"""What is published agrees with itself, and a newcomer's first change works as it is told."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from inference import generate
from inference.tracking import TRACKERS, make_trackers
from pyro_models import VAE
from pyro_models.errors import UsageError
from pyro_models.likelihoods import LIKELIHOODS

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_a_release_has_one_number_and_one_date() -> None:
    number = PROJECT["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == number
    (first, day), *_ = re.findall(
        r"^## \[(.+?)\] – (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    assert (first, day) == (number, citation["date-released"])
    assert citation["license"] == PROJECT["license"]


def test_every_extra_that_a_message_names_is_there() -> None:
    named = set()
    for package in ("pyro_models", "inference", "gp_bo"):
        for path in (ROOT / package).rglob("*.py"):
            named |= set(re.findall(r"pyro-models\[(\w+)\]", path.read_text(encoding="utf-8")))
    assert {"samples", "hub", "flows"} <= named
    assert named <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_a_tracker_without_its_package_names_an_extra_that_is_there(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in TRACKERS:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match="needs the package") as raised:
        make_trackers([name])
    (extra,) = re.findall(r'pip install "pyro-models\[(\w+)\]"', str(raised.value))
    assert extra in PROJECT["optional-dependencies"]


def test_links_between_pages_at_the_root_lead_somewhere() -> None:
    for page in ("CHANGELOG.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
            assert (ROOT / target).exists(), f"{page} links {target}"


def test_the_first_change_of_a_newcomer_works(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    likelihood, test = blocks
    found: dict[str, Any] = {"__name__": "logistic"}
    exec(compile(likelihood, "logistic.py", "exec"), found)
    monkeypatch.setitem(LIKELIHOODS.data, "logistic", found["Logistic"])
    written: dict[str, Any] = {}
    exec(compile(test, "test_logistic.py", "exec"), written)
    written["test_it_is_the_density_that_it_says"]()
    pair = VAE((1, 2, 2), hidden=[3], latent_dim=2, likelihood="logistic")
    assert generate(pair, n=5).shape == (5, 1, 2, 2)
