"""What the documentation site makes of docstrings and references; ``make docs`` builds it."""

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sphinx")
sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "extensions"))

import command_lines
import docstrings
import references


def test_bars_are_bars_outside_of_code_and_equations() -> None:
    lines = [
        "log |det J| of p(x | z), ``a | b``.",
        "",
        ".. math:: q(z | x)",
        "   \\quad |x|",
        "",
        ">>> a | b",
        "size",
        "    K.",
    ]
    assert docstrings.with_bars(lines) == [
        "log \\|det J\\| of p(x \\| z), ``a | b``.",
        "",
        ".. math:: q(z \\mid x)",
        *lines[3:7],
        "    \\K.",
    ]


def test_a_registry_is_described_by_its_names() -> None:
    lines: list[str] = []
    docstrings.prepare(None, "data", "NAMES", {"one": 1, "two": 2}, {}, lines)
    assert "Names: ``one``, ``two``." in lines


class Node(dict[str, Any]):
    """A reference that stands nowhere."""

    parent = source = line = document = rawsource = None


@pytest.mark.parametrize(
    ("target", "module", "means"),
    [
        ("inference.posterior.infer", None, "inference.infer"),
        ("MeanFieldELBO", "inference.objectives", "inference.objectives.MeanFieldELBO"),
        ("schedule_of", "inference.evaluation.annealing", None),
    ],
)
def test_a_reference_is_found_by_any_name(target: str, module: str, means: str | None) -> None:
    node = Node({"reftarget": target, "py:module": module})
    names = [n for n in references.candidates(node) if n.startswith(references.PACKAGES)]
    found = [references.object_at(n) for n in names]
    found = [each for each in found if each is not references._NOTHING]
    assert found
    if means is not None:
        assert found[0] is references.object_at(means)


def test_what_does_not_exist_is_not_found() -> None:
    assert references.object_at("inference.posterior.infre") is references._NOTHING


def test_a_command_shows_its_help() -> None:
    text = command_lines.help_of("gp-bo", "forget")
    assert text.startswith("usage: gp-bo")
    assert max(map(len, text.split("\n"))) <= command_lines.WIDTH + 4
