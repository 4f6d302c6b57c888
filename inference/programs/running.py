"""Runs of a Pyro model at values that are wanted, one by one or vectorised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from inference.programs.apart import Apart, modules_of, one_by_one, said, whole_plates
from inference.programs.discovery import (
    Sites,
    check_arguments,
    name_of_model,
    note_subsamples,
    sites_of,
)
from inference.programs.sites import AtSites, Enumerated, Unobserved
from pyro_models import UsageError
from pyro_models.seeds import seeded

__all__ = ["Runner"]

_OF_ENUMERATION = (
    ": discrete latents are summed out, so that all their values come at once; choose between them "
    "by an index or torch.where, not by if"
)


class Runner:
    """A model with its arguments, run apart from everything else; its sites are those it has.

    ``looped`` says why it is run for one vector after the other; empty where it is vectorised.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        dtype: torch.dtype | None,
    ) -> None:
        self.model, self.args, self.kwargs = model, args, kwargs
        self.name, self.looped = name_of_model(model), ""
        self.apart = Apart(modules_of(model, args, kwargs), dtype)
        store = pyro.get_param_store()
        self.params = {name: store[name].detach().clone() for name in store}
        check_arguments(model, args, kwargs)
        with seeded(0, torch.device("cpu")), torch.no_grad():
            self.sites = Sites()
            with self.apart():
                self.sites = sites_of(self._first_run(), self.name)
            note_subsamples(self.sites, self.trace(self.drawing(), whole=False))

    def _first_run(self) -> poutine.Trace:
        try:
            return self.trace(AtSites(None, self.params))
        except UsageError:
            raise
        except Exception as error:  # whatever a model of someone else raises
            reason = f"{type(error).__name__}: {said(error)}"
            raise UsageError(f"the model {self.name} fails on these arguments: {reason}") from error

    def at(self, **given: Any) -> AtSites:
        """Latents at values, discrete ones everywhere."""
        several = bool(self.sites.discrete)
        return AtSites(self.sites.latents, self.params, enumerate_discrete=several, **given)

    def drawing(self, **given: Any) -> AtSites:
        """Latents that are not given are drawn, discrete ones too."""
        return AtSites(self.sites.latents, self.params, **given)

    def trace(self, at: AtSites, *, whole: bool = True, uncondition: bool = False) -> poutine.Trace:
        """One run; plates have all their data if ``whole``, and data are drawn without obs."""
        plates = self.sites.plates.values()
        nesting = max((-plate.dim for plate in plates if plate.dim), default=0)
        every = at.enumerate_discrete and not uncondition
        enum = Enumerated(first_available_dim=-1 - nesting) if every else nullcontext()
        of_data = whole_plates() if whole else nullcontext()
        model = Unobserved()(self.model) if uncondition else self.model
        with self.apart(), of_data, poutine.trace() as tracing, enum, at:
            model(*self.args, **self.kwargs)
        at.check()
        return tracing.trace

    def each(
        self,
        function: Callable[..., Any],
        rows: Tensor,
        given: Mapping[str, Tensor],
        *,
        draws: bool = False,
    ) -> Any:
        """A function of each row of tensors, vectorised where it can be."""
        with self.apart():
            if not self.looped:
                try:
                    return torch.func.vmap(function, randomness="different")(rows, dict(given))
                except Exception:  # densities are vectorised, or known not to be; draws may not be
                    if not draws:
                        raise
            return one_by_one(function, rows, given)

    def find_whether_looped(self, function: Callable[[], Tensor]) -> None:
        """Vectorised if a function of several vectors then says what it says one by one."""
        self.looped = "not yet known"
        try:
            alone = function()
        except UsageError:
            raise
        except Exception as error:  # what the model's Python makes of all values at once
            hint = _OF_ENUMERATION if self.sites.discrete else ""
            raise UsageError(
                f"the density of {self.name} cannot be computed ({type(error).__name__}: "
                f"{said(error)}){hint}"
            ) from error
        try:
            self.looped = ""
            together = function()
        except UsageError:
            raise
        except Exception as error:  # of the kind that the model's Python makes of it
            self.looped = " ".join(str(error).split())[:160] or type(error).__name__
            return
        if not torch.allclose(together, alone, rtol=1e-3, atol=1e-3, equal_nan=True):
            self.looped = "its densities are others when two are computed at once"
