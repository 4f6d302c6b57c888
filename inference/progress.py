"""Progress with the time left: one bar for all that takes long, silent where nobody looks.

A bar stands on standard error, if that is a terminal or a notebook, and has the name of what it
counts. Bars that begin inside another stand below it. What is computed inside of :func:`showing`
shows bars of its own, however deep; :func:`quiet` shows none at all.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from tqdm.std import tqdm

__all__ = ["Bar", "above_bars", "announce", "bar", "is_showing", "over", "quiet", "showing"]

T = TypeVar("T")

_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} {unit}, {remaining} left{postfix}"
_DELAY = 0.5  # seconds that pass before a bar is worth a look
_OFTEN = 0.3  # seconds between two looks

_SHOWN: ContextVar[bool] = ContextVar("bars are shown", default=False)
_QUIET: ContextVar[bool] = ContextVar("nothing is shown", default=False)


class Bar:
    """How much of a computation is done.

    Parameters
    ----------
    total
        Number of what is counted.
    unit
        Its name, of many: ``"steps"``.
    what
        What is computed, before the bar.
    shown
        Whether it may be seen; inside of :func:`showing` it may be anyway.
    done
        How many are done already.
    """

    def __init__(
        self, total: int, *, unit: str, what: str = "", shown: bool = False, done: int = 0
    ) -> None:
        wanted = shown or _SHOWN.get()
        self._tqdm = _kind()(
            total=total,
            initial=done,
            desc=what or None,
            unit=unit,
            disable=not (wanted and not _QUIET.get() and _somebody_looks()),
            bar_format=_FORMAT,
            delay=_DELAY,
            mininterval=_OFTEN,
            miniters=1,
            file=sys.stderr,
            leave=False,
            dynamic_ncols=True,
        )

    @property
    def is_shown(self) -> bool:
        """Whether anybody sees it."""
        return not self._tqdm.disable

    def update(self, count: int = 1) -> None:
        """So many more are done."""
        self._tqdm.update(count)

    def say(self, text: str, *, what: str | None = None) -> None:
        """Put a text behind the bar, and another, if given, before it."""
        if self.is_shown:
            if what is not None:
                self._tqdm.set_description_str(f"{what}: ", refresh=False)
            self._tqdm.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """Take it away."""
        self._tqdm.close()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def bar(total: int, *, unit: str, what: str = "", shown: bool = False, done: int = 0) -> Bar:
    """A bar, to be entered: ``with bar(len(x), unit="images") as done: done.update(1)``.

    See :class:`Bar` for what is given.

    >>> with bar(3, unit="images", shown=False) as done:
    ...     done.update(3)
    """
    return Bar(total, unit=unit, what=what, shown=shown, done=done)


def over(items: Sequence[T], *, unit: str, what: str = "", shown: bool = False) -> Iterator[T]:
    """The items, one after the other, with a bar that counts them.

    >>> list(over("ab", unit="letters"))
    ['a', 'b']
    """
    with Bar(len(items), unit=unit, what=what, shown=shown) as done:
        for item in items:
            yield item
            done.update()


@contextmanager
def showing(shown: bool) -> Iterator[None]:
    """What is computed inside shows bars of its own, if ``shown``.

    >>> with showing(True):
    ...     list(over("ab", unit="letters"))  # on a terminal, with a bar
    ['a', 'b']
    """
    before = _SHOWN.set(shown or _SHOWN.get())
    try:
        yield
    finally:
        _SHOWN.reset(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing inside shows a bar or announces anything, whatever it is told.

    >>> with quiet():
    ...     announce("12 parameters")
    """
    before = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(before)


def is_showing() -> bool:
    """Whether this runs inside of :func:`showing`, as what a worker computes does not."""
    return _SHOWN.get()


def announce(text: str) -> None:
    """Print lines to standard output, above the bars that stand there.

    >>> announce("12 parameters")
    12 parameters
    """
    if not _QUIET.get():
        with tqdm.external_write_mode():
            print(text, flush=True)


@contextmanager
def above_bars() -> Iterator[None]:
    """What is written to standard error inside stands above the bars there."""
    with tqdm.external_write_mode(file=sys.stderr):
        yield


def _somebody_looks() -> bool:
    """Whether standard error is a terminal or a notebook."""
    return _in_notebook() or bool(getattr(sys.stderr, "isatty", lambda: False)())


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _kind() -> Any:
    """A widget in a notebook that has widgets, text elsewhere."""
    if not _in_notebook():
        return tqdm
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tqdm import notebook
    return tqdm if getattr(notebook, "IProgress", None) is None else notebook.tqdm
