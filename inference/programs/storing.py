"""Posteriors of programs as files of tensors and plain values; a program is given again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.guides.full_covariance import FULL_COVARIANCE
from inference.posterior.guides.normal import NORMAL
from inference.posterior.guides.point import POINT
from inference.posterior.log_density import LogDensity
from inference.posterior.posterior import Posterior
from inference.posterior.start import with_prior
from inference.programs.apart import said
from inference.programs.guides import PROGRAM_GUIDES, program_family
from inference.programs.guides.gaussian import MixtureGuide
from inference.programs.guides.references import GridGuide
from inference.programs.pair import SITE, ProgramPair
from inference.programs.program import Program
from pyro_models import UsageError

__all__ = ["read_posterior", "write_posterior"]

_FORMAT = "pyro-models program posterior 1"
_PLAIN = ("name", "density", "stopped", "seconds", "num_parameters", "seed")
_SAME = 1e-3  # relative difference of log p that another machine may make


def write_posterior(posterior: Posterior, options: Mapping[str, Any], path: str | Path) -> None:
    """Write a posterior of a program; the file is replaced as a whole or not at all."""
    pair, guide = posterior.pair, posterior.guide
    assert isinstance(pair, ProgramPair)
    try:
        json.dumps(dict(options))
    except TypeError as error:
        raise UsageError(
            f"the options of the guide {posterior.name} are no plain values, so they cannot be "
            "saved: draw from it and save the draws"
        ) from error
    content: dict[str, Any] = {
        "format": _FORMAT,
        "kind": type(guide).__name__,
        "options": dict(options),
        "family": getattr(guide, "family", posterior.name),
        "sites": _sites(pair.program),
        "log_joint": _log_joint(pair.program),
        "loc": pair.loc.detach().cpu(),
        "scale": pair.scale.detach().cpu(),
        "steps": posterior.steps,
        "state": {name: value.cpu() for name, value in guide.state_dict().items()},
        **{name: getattr(posterior, name) for name in _PLAIN},
    }
    if isinstance(guide, DrawsGuide):
        content |= {"num_chains": guide.num_chains, "stats": guide.stats}
    if isinstance(guide, GridGuide):
        content["log_evidence"] = guide.log_evidence
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, partial)
        os.replace(partial, target)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{target} cannot be written: {said(error)}") from error


def read_posterior(
    path: str | Path, program: Program, guide: Any = None
) -> tuple[Posterior, dict[str, Any]]:
    """The posterior of a file, and the options of its guide, if it is of this program."""
    try:
        content = torch.load(path, map_location=program.device, weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except Exception as error:  # of many kinds, as the file is no archive or holds code
        raise UsageError(f"{path} holds no posterior of a program") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise UsageError(f"{path} holds no posterior of a program")
    _check_same(content, program, path)
    pair = ProgramPair(program, loc=content["loc"], scale=content["scale"])
    target = with_prior(pair, pair.data)
    module = _rebuilt(content, target, guide)
    module.requires_grad_(False)
    plain = {name: content[name] for name in _PLAIN}
    posterior = Posterior(target=target, guide=module, steps=content["steps"], **plain)
    return posterior, content["options"]


def _sites(program: Program) -> dict[str, Any]:
    """Shapes of the latents and checksums of the data, as plain values."""
    latents = {name: list(site.shape) for name, site in program.latents.items()}
    return {"latents": latents, "observed": program.checksums}


def _log_joint(program: Program) -> list[float]:
    with torch.no_grad():
        points = torch.linspace(-1, 1, 3, dtype=program.dtype, device=program.device)
        found = program.log_joint(points.unsqueeze(-1).expand(3, program.dim))
    return [float(value) for value in found]


def _check_same(content: Mapping[str, Any], program: Program, path: str | Path) -> None:
    own, other = _sites(program), content["sites"]
    why = ""
    if own["latents"] != other["latents"]:
        why = f"its latents are {', '.join(other['latents'])}"
    elif own["observed"] != other["observed"]:
        changed = [n for n, sums in own["observed"].items() if other["observed"].get(n) != sums]
        why = f"its data are others ({', '.join(changed or other['observed'])})"
    else:
        here, there = (
            torch.tensor(v, dtype=torch.float64, device="cpu")
            for v in (_log_joint(program), content["log_joint"])
        )
        if not torch.allclose(here, there, rtol=_SAME, atol=_SAME, equal_nan=True):
            why = "its densities are others: a prior or the likelihood changed"
    if why:
        raise UsageError(f"{path} is of another program than {program.name}: {why}")


def _rebuilt(content: Mapping[str, Any], target: LogDensity, guide: Any) -> nn.Module:
    """The guide that the file holds."""
    kind, state, name = content["kind"], content["state"], content["family"]
    if kind == "DrawsGuide":
        return _draws(content)
    if kind == "GridGuide":
        points, weights = state["points"][0], state["weights"][0]
        return GridGuide(points, weights, content["log_evidence"])
    if kind == "MixtureGuide":
        return MixtureGuide(state["loc"][0], state["scale_tril"][0])
    known = {
        "FullCovarianceGuide": FULL_COVARIANCE,
        "LaplaceGuide": FULL_COVARIANCE,
        "NormalGuide": NORMAL,
        "PointGuide": POINT,
    }
    if kind in known:
        module = known[kind](target, {}, name=name)
    else:
        if guide is None and name not in PROGRAM_GUIDES:
            raise UsageError(f"the guide {name} is your own: give it again, by guide=")
        _, family, options = program_family(guide or name, content["options"])
        start = FULL_COVARIANCE(target, {}, name=name) if family.begins_with else None
        module = family(target, options, name=name, start=start)
    try:
        module.load_state_dict(state, strict=kind != "LaplaceGuide")
    except RuntimeError as error:
        raise UsageError(f"the guide {name} is not the one that was saved") from error
    return module


def _draws(content: Mapping[str, Any]) -> DrawsGuide:
    state = content["state"]
    stats = {n: state[f"stat_{n}"].transpose(0, 1) for n in content["stats"]}
    named = {"draws_0", *(f"stat_{n}" for n in stats)}
    measures = {n: value for n, value in state.items() if n not in named}
    draws = {SITE: state["draws_0"].transpose(0, 1)}
    return DrawsGuide(draws, num_chains=content["num_chains"], stats=stats, **measures)
