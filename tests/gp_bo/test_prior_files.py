"""Priors go through a file, or are refused before anything is written."""

import json
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import transforms

from gp_bo import fit_gp, load_gp
from gp_bo.prior_names import describe_prior, rebuild_prior
from pyro_models import UsageError


def _t(*values: float) -> Tensor:
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


def _through(base: Any, *parts: Any) -> Any:
    return dist.TransformedDistribution(base, list(parts))


PRIORS = {
    "log-normal": dist.LogNormal(_t(-1, 0), _t(1, 2)),
    "gamma": dist.Gamma(_t(2), _t(3)),
    "uniform": dist.Uniform(_t(0.1), _t(3)),
    "half-cauchy": dist.HalfCauchy(_t(2)),
    "normals": dist.MultivariateNormal(_t(0, 1), torch.eye(2, dtype=torch.float64)),
    "folded": dist.FoldedDistribution(dist.Normal(_t(0), _t(1))),
    "log-uniform": _through(dist.Uniform(_t(-3), _t(1)), transforms.ExpTransform()),
    "moved": _through(dist.Gamma(_t(2, 3), _t(1, 1)), transforms.AffineTransform(_t(0.1), 2.0)),
    "root": _through(dist.Gamma(_t(2), _t(1)), transforms.PowerTransform(_t(0.5))),
}


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_comes_back_from_json_with_the_same_density(name: str) -> None:
    prior = PRIORS[name]
    again = rebuild_prior(json.loads(json.dumps(describe_prior(prior))))
    x = prior.sample((20,))
    assert torch.equal(again.log_prob(x), prior.log_prob(x))


@pytest.mark.parametrize(
    "prior",
    [
        dist.LogNormal(0.0, 1.0).mask(True),
        _through(dist.Normal(0.0, 1.0), transforms.TanhTransform()),
        dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(_t(0, 1), _t(1, 1))),
    ],
    ids=["masked", "tanh", "mixture"],
)
def test_what_cannot_be_written_is_refused_in_one_line(prior: Any) -> None:
    with pytest.raises(UsageError, match="cannot be saved") as caught:
        describe_prior(prior)
    assert "\n" not in str(caught.value)


def test_a_fit_under_a_transformed_prior_is_saved_with_what_the_user_gave(tmp_path: Path) -> None:
    x = torch.linspace(0, 1, 6, dtype=torch.float64)
    given = {"lengthscale": PRIORS["log-uniform"], "variance": 2.0}
    fitted = fit_gp(x, x.sin(), inference="map", priors=given)
    fitted.save(tmp_path)
    again = load_gp(tmp_path)
    assert torch.equal(again.predict(x).variance, fitted.predict(x).variance)
    assert again.priors.keys() == given.keys()
    assert float(again.priors["variance"]) == 2.0


def test_a_prior_that_cannot_be_written_leaves_no_folder(tmp_path: Path) -> None:
    x = torch.linspace(0, 1, 6, dtype=torch.float64)
    masked = {"lengthscale": dist.LogNormal(0.0, 1.0).mask(True)}
    with pytest.raises(UsageError, match="cannot be saved"):
        fit_gp(x, x.sin(), inference="map", priors=masked).save(tmp_path / "gp")
    assert not (tmp_path / "gp").exists()


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("kernel",), "x"),
        (("priors", "noise", "parameters", "scale"), -1),
        (("priors", "noise", "parameters", "scale"), "wide"),
        (("priors", "noise", "class"), "NoSuch"),
    ],
    ids=["kernel", "negative", "text", "class"],
)
def test_settings_changed_by_hand_are_told_in_one_line(
    tmp_path: Path, keys: tuple[str, ...], value: object
) -> None:
    x = torch.linspace(0, 1, 6, dtype=torch.float64)
    fit_gp(x, x.sin(), inference="map").save(tmp_path)
    path = tmp_path / "gp.json"
    inner = settings = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(settings))
    with pytest.raises(UsageError, match="changed by hand") as caught:
        load_gp(tmp_path)
    assert "\n" not in str(caught.value)
