"""Figures by name: the same name in Python, at the command line and in files."""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from inference.figures.canvas import new_figure
from inference.figures.heading import subject
from inference.learning.history import History
from inference.posterior.decoding import Draw
from pyro_models import Pair
from pyro_models.data import Split
from pyro_models.errors import UsageError, in_one_line
from pyro_models.registry import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

__all__ = ["FIGURES", "Shown", "draw_figure", "figure_named", "figures_of_pairs", "register_figure"]

OLD_NAMES = {"samples": "prior_samples", "components": "mixture_means", "curves": "learning_curves"}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A trained pair, and how a figure is to show it.

    Attributes
    ----------
    pair
        The pair.
    load_test, load_history, load_train
        Give the test data, prepared, the record of the training, and the training data, prepared,
        where a figure needs them.
    n, seed
        Number of test data, and random seed of all draws.
    label
        Label of what is decoded or generated, for a pair that needs labels; ``None`` for label 0 of
        one image, and all labels in turn of several.
    latents, pixels
        Whether latents and pixels are drawn or averaged: ``"sample"`` or ``"mean"``; as suits the
        figure unless given.
    size, span
        Images along a side of a grid of latents, and from which z to which it goes.
    steps
        Images of an interpolation, its two ends among them.
    class_names
        What the classes are called, by number; ``None`` if nobody says.
    title
        What stands above; what is shown of which model unless given.
    ax
        Axes, or a figure or a part of one, to draw in; a new figure unless given.
    """

    pair: Pair
    load_test: Callable[[], Split]
    load_history: Callable[[], History]
    load_train: Callable[[], Split] | None = None
    n: int = 1000
    label: int | None = None
    latents: Draw | None = None
    pixels: Draw | None = None
    size: int = 20
    span: tuple[float, float] | None = None
    steps: int = 10
    seed: int = 0
    class_names: tuple[object, ...] | None = None
    title: str | None = None
    ax: Place | None = None

    @cached_property
    def test(self) -> Split:
        """The test data, prepared as in training."""
        return self.load_test()

    def value(self, name: str) -> Any:
        """What an argument of a figure of this name is to be, such as ``x`` the test data."""
        if name == "x" and self.test.mask is not None:
            return replace(self.test, y=None)  # with what is seen of it
        if name in ("x", "y"):
            return getattr(self.test, name)
        if name == "train":
            if self.load_train is None:
                raise UsageError("training data are not at hand here: give load_train")
            return self.load_train().x
        return self.load_history() if name == "history" else getattr(self, name)


@dataclass(frozen=True)
class RegisteredFigure:
    """A function that returns a figure, by its name, and in a few words what it needs beside a
    pair.

    ``of_shown`` draws it of a trained pair, where the names of its arguments do not say how, and
    ``of_several`` of one or more by name, where these stand together: others have a panel for each.
    """

    name: str
    function: Callable[..., Figure]
    needs: str = ""
    of_shown: Callable[[Shown], Figure] | None = None
    of_several: Callable[[Mapping[str, Shown]], Figure] | None = None

    @property
    def summary(self) -> str:
        """What it shows: the first line of its function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def missing(self) -> list[str]:
        """Arguments that no trained pair gives a value to."""
        arguments = inspect.signature(self.function).parameters.values()
        needed = [a.name for a in arguments if a.default is a.empty and a.kind not in _SEVERAL]
        knows_how = self.of_shown or self.of_several
        return [] if knows_how else [name for name in needed if name not in _GIVEN]

    def draw(self, shown: Shown | Mapping[str, Shown]) -> Figure:
        """Draw it of a trained pair, or of several by name, in one axis or with a panel for each.

        A ``UsageError`` is raised if it needs more than that.
        """
        from matplotlib.figure import Figure

        if self.of_several is not None:
            return self.of_several(_by_name(shown))
        if not isinstance(shown, Shown):
            return self._panels(shown)
        if self.of_shown is not None:
            return self.of_shown(shown)
        if self.missing:
            needs = self.needs or f"a value for {self.missing[0]}"
            raise UsageError(f"{self.name} is no figure of a pair alone: it needs {needs}")
        arguments = inspect.signature(self.function).parameters
        given = {name: shown.value(name) for name in arguments if name in _GIVEN}
        for name, usual in _USUAL.items():  # of a figure of one's own without a default
            if name in given and given[name] is None:
                default = arguments[name].default
                given[name] = usual if default is inspect.Parameter.empty else default
        with in_one_line(f"the figure {self.name}"):
            figure = self.function(**given)
        if not isinstance(figure, Figure):
            raise UsageError(f"{self.name} returns no matplotlib Figure; got {figure!r:.60}")
        return figure

    def _panels(self, shown: Mapping[str, Shown]) -> Figure:
        """A panel for each of several trained pairs, under its name."""
        if len(shown) == 1:
            return self.draw(next(iter(shown.values())))
        wide, high = self.draw(next(iter(shown.values()))).get_size_inches()
        columns = min(_ACROSS if wide < _WIDE * high else 1, len(shown))
        rows = math.ceil(len(shown) / columns)
        whole = new_figure((columns * wide, rows * high))
        spec = whole.add_gridspec(rows, columns)
        for i, (name, one) in enumerate(shown.items()):
            place = whole.add_subfigure(spec[i // columns, i % columns])
            above = textwrap.fill(f"{name}: {subject(one.pair)}", int(_LETTERS * wide))
            title = above if one.title is None else one.title
            if self.draw(replace(one, title=title, ax=place)) is not whole:
                raise UsageError(
                    f"{self.name} draws one run in a figure of its own: for several it needs an "
                    "argument ax, to draw in"
                )
        return whole


def _by_name(shown: Shown | Mapping[str, Shown]) -> Mapping[str, Shown]:
    """A pair alone by what it is."""
    return {subject(shown.pair): shown} if isinstance(shown, Shown) else shown


_ACROSS = 2  # panels in a row
_WIDE = 1.6  # ratio of the sides of those that stand one below the other
_LETTERS = 11  # of a title, in an inch

_USUAL: dict[str, Draw] = {"latents": "sample", "pixels": "mean"}

_GIVEN = (
    "pair",
    "x",
    "y",
    "train",
    "history",
    "n",
    "class_names",
    "label",
    "latents",
    "pixels",
    "size",
    "span",
    "steps",
    "seed",
    "title",
    "ax",
)

_SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

FIGURES: Registry[RegisteredFigure] = Registry("figure", hint="FILE.py:FUNCTION of your own")
"""Every figure by its name."""

F = TypeVar("F", bound=Callable[..., "Figure"])


def register_figure(
    *,
    name: str | None = None,
    needs: str = "",
    of_shown: Callable[[Shown], Figure] | None = None,
    of_several: Callable[[Mapping[str, Shown]], Figure] | None = None,
) -> Callable[[F], F]:
    """Let a function that returns a figure be drawn by name, ``pyro-models plot`` included.

    Its arguments named ``pair``, ``x`` and ``y`` (of the test data), ``train`` (the training
    data's x), ``history``, or as an attribute of :class:`Shown`, are filled; all others need a
    default. The figure's name is that of the function unless given; ``needs``, ``of_shown`` and
    ``of_several`` are as of :class:`RegisteredFigure`. One with an argument ``ax``, where it is to
    be drawn, is drawn of several runs too, with a panel for each.

    Raises
    ------
    UsageError
        If another figure has that name, or an argument is neither filled nor has a default.

    Examples
    --------
    >>> @register_figure()
    ... def mean_image(x):
    ...     figure = Figure()
    ...     _ = figure.add_subplot().imshow(x.mean((0, 1)))
    ...     return figure
    >>> figure_named("mean-image").name
    'mean_image'
    >>> del FIGURES["mean_image"]
    """

    def register(function: F) -> F:
        own = (name or function.__name__).replace("-", "_")
        figure = RegisteredFigure(own, function, needs, of_shown, of_several)
        if figure.missing and not needs:
            raise UsageError(
                f"{figure.name} has the argument {figure.missing[0]}, which is neither one of "
                f"{', '.join(_GIVEN)} nor has a default"
            )
        FIGURES.register(figure.name, figure)
        return function

    return register


def figures_of_pairs() -> dict[str, RegisteredFigure]:
    """The figures that can be drawn of any trained pair that has what they need."""
    return {name: figure for name, figure in FIGURES.items() if not figure.missing}


def figure_named(name: str) -> RegisteredFigure:
    """A figure by its name, by one that it had before, or by that of a function in a Python file.

    Names of before are those with hyphens, such as ``latent-grid``, and ``curves``, ``samples`` and
    ``components``; a file is given as ``mine.py:my_figure``. A ``UsageError`` says what there is.
    """
    plain = name.replace("-", "_")
    found: Any = FIGURES[name if ".py:" in name else OLD_NAMES.get(plain, plain)]
    if isinstance(found, RegisteredFigure):
        return found
    if not callable(found):
        raise UsageError(f"{name} is no function that returns a figure")
    return RegisteredFigure(found.__name__, found)


def draw_figure(name: str, shown: Shown | Mapping[str, Shown]) -> Figure:
    """Draw a figure of a trained pair, or of several by name, by its name."""
    return figure_named(name).draw(shown)
