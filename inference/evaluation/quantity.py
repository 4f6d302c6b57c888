"""What a number is of: described once, for every table, figure and comparison that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from inference.standard_error import with_error
from pyro_models.registry import Registry

if TYPE_CHECKING:
    from inference.evaluation.evaluated import Evaluated
    from inference.evaluation.scores import Score

__all__ = ["QUANTITIES", "Quantity", "quantities_of", "quantity_named", "register_quantity"]

Kind = Literal["exact", "estimate", "lower bound", "upper bound", "objective only"]

NATS = "nats per datum"
NATS_SUM = "nats, summed over data"
BITS = "bits per dimension"
FRACTION = "fraction of labels"
SQUARED_ERROR = "squared error per pixel"

COMPARED_BY = (
    *("quantity", "unit", "measure", "given", "preparation", "data", "split", "number of data"),
    *("kind", "K", "method", "identity"),
)
"""What two scores must agree on to stand in one column; of a score, in this order."""

Compute = Callable[["Evaluated"], "Score | str | None"]


@dataclass(frozen=True)
class Quantity:
    """What a number is of, and all that is said of it wherever it is shown.

    Attributes
    ----------
    name, title, unit
        Its name in Python, in files and at the command line, such as ``elbo``; its heading, such as
        ``ELBO``; and its unit, such as ``nats per datum``.
    direction
        ``"higher"`` or ``"lower"``, whichever is better; ``None`` where neither is.
    digits, column_digits
        Digits after the point where it is read by itself, and in a column of a comparison, where
        they are as many unless given.
    kind, may_be_exact
        What a value that is not exact is: an estimate, or a bound on the side that it names; and
        whether exact values exist, which then stand in one column with those.
    compared_by, shown
        What two of its values must agree on to be compared; and the tables it is a column of:
        ``"comparison"``, ``"sweep"``, ``"guides"``, ``"diagnostics"``.
    compute
        Makes its score of a pair that is evaluated, as :func:`inference.evaluation.evaluate` does
        with every quantity: a :class:`inference.evaluation.Score`, the reason why there is none, or
        ``None`` where the quantity does not apply. Quantities without it come from elsewhere.
    needs, by_name
        The quantities that ``compute`` finds in ``scores`` or ``absent`` already; and whether it is
        computed only where it is asked for by name, since it takes long.
    topic
        What it tells, such as ``Reconstruction``: the title of the small table of a comparison
        where it stands beside others of its topic and unit; its own title unless given.
    """

    name: str
    title: str
    unit: str
    direction: Literal["higher", "lower"] | None = None
    digits: int = 3
    column_digits: int | None = None
    kind: Kind = "estimate"
    may_be_exact: bool = False
    compared_by: tuple[str, ...] = COMPARED_BY
    shown: tuple[str, ...] = ("comparison", "sweep")
    compute: Compute | None = None
    needs: tuple[str, ...] = ()
    by_name: bool = False
    topic: str = ""

    def heading(self, given: str | None = None) -> str:
        """The title with what is given, as ``log p(x | y)`` for ``log p(x)``, or ``L_K | y``."""
        if given is None:
            return self.title
        whole = self.title.replace("(x)", f"(x | {given})")
        return whole if "(x)" in self.title else f"{self.title} | {given}"

    def text(self, value: float, error: float | None = None, *, column: bool = False) -> str:
        """A value of it, with its standard error where there is one."""
        in_column = self.digits if self.column_digits is None else self.column_digits
        return with_error(value, error, digits=in_column if column else self.digits)


QUANTITIES: Registry[Quantity] = Registry("quantity")
"""Every quantity by its name, in the order of the columns."""


def register_quantity(quantity: Quantity) -> Quantity:
    """Let a quantity be computed by ``evaluate`` and shown by every table, figure and sweep.

    A ``UsageError`` is raised if another quantity has its name.

    Examples
    --------
    >>> def brightness(of):
    ...     return of.score("brightness", of.grey.flatten(1).mean(1))
    >>> own = Quantity("brightness", "mean pixel", "grey value", digits=2, compute=brightness)
    >>> register_quantity(own).title
    'mean pixel'
    >>> from inference.evaluation import evaluate
    >>> from pyro_models import PPCA, load_data
    >>> data = load_data("digits", preparation="dequantised")
    >>> found = evaluate(PPCA(data.data_shape, latent_dim=2), data, num_particles=1, limit=5)
    >>> print(found.scores["brightness"])
    brightness 0.31 ± 0.02 grey value (estimate; dequantised (seed 0) pixels)
    >>> del QUANTITIES["brightness"]
    """
    QUANTITIES.register(quantity.name, quantity)
    return quantity


def quantities_of(table: str) -> Registry[Quantity]:
    """The quantities that a table has columns of, by name, in their order.

    Those of ``"evaluation"`` are all that ``evaluate`` can compute.
    """

    def has(quantity: Quantity) -> bool:
        return quantity.compute is not None if table == "evaluation" else table in quantity.shown

    return Registry("quantity", {name: of for name, of in QUANTITIES.items() if has(of)})


def quantity_named(name: str, unit: str = "") -> Quantity:
    """A quantity by its name; of one that nobody registered, such as in an old file, the name."""
    known = QUANTITIES.get(name)
    return known or Quantity(name, name.replace("_", " "), unit)
