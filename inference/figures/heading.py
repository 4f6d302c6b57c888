"""What stands above a figure: what it shows, of which model, data and epoch."""

from __future__ import annotations

from inference.learning.trained_on import training_of
from pyro_models import Pair

__all__ = ["heading", "subject"]


def subject(pair: Pair) -> str:
    """The model, and the data and the epoch where these are known.

    >>> from inference import fit
    >>> from pyro_models import VAE, load_data
    >>> vae = VAE((1, 8, 8), hidden=[8])
    >>> subject(vae)
    'VAE'
    >>> _ = fit(vae, load_data("digits"), epochs=2, curve_size=0, progress=False)
    >>> subject(vae)
    'VAE of digits, epoch 2'
    """
    kind, known = type(pair).__name__, training_of(pair)
    if known is None:
        return kind
    return f"{kind} of {known.data}" + ("" if known.epoch is None else f", epoch {known.epoch}")


def heading(what: str, pair: Pair, *, title: str | None = None, how: str = "") -> str:
    """The title that is given, or else what is shown of which pair; below it, how."""
    above = f"{what}: {subject(pair)}" if title is None else title
    return "\n".join(line for line in (above, how) if line)
