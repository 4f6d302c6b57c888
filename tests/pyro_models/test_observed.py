"""One door for data: whatever kind they are of, they are checked, moved and cast once."""

import numpy as np
import pytest
import torch

from pyro_models import CVAE, PPCA, VAE, UsageError
from pyro_models.observed import Observed, observed


def ppca(**options: int) -> PPCA:
    torch.manual_seed(0)
    return PPCA((1, 2, 4), latent_dim=2, **options)


X = torch.rand(3, 1, 2, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_float_type_becomes_that_of_the_pair(kind: torch.dtype) -> None:
    seen = observed(ppca(), X.to(kind))
    assert seen.x.dtype == torch.float32
    torch.testing.assert_close(seen.x, X.to(kind).float())
    assert observed(ppca().double(), X.to(kind)).x.dtype == torch.float64


def test_arrays_and_named_masks_are_what_tensors_are() -> None:
    explicit = torch.zeros(3, 1, 2, 4, dtype=torch.bool)
    explicit[..., :2] = True
    wanted = observed(ppca(), X, mask=explicit)
    for mask in ("left", explicit.numpy(), explicit[0], explicit.long(), explicit[0, 0].double()):
        for x in (X, X.numpy(), np.asfortranarray(X.numpy()), X.numpy().astype(">f4")):
            found = observed(ppca(), x, mask=mask)
            assert torch.equal(found.x, wanted.x)
            assert torch.equal(found.mask, wanted.mask)
    assert bool((wanted.x[..., 2:] == 0).all())


def test_the_mask_random_takes_fraction_and_seed() -> None:
    few = observed(ppca(), X, mask="random", fraction=0.25, seed=1).mask
    assert few.flatten(1).sum(1).tolist() == [2, 2, 2]
    assert not torch.equal(few, observed(ppca(), X, mask="random", fraction=0.25, seed=2).mask)


def test_what_is_unseen_reaches_nothing() -> None:
    x = X.clone()
    x[0, 0, 0, 3] = torch.nan
    seen = observed(ppca(), x, mask="left")
    assert bool(seen.x.isfinite().all())
    with pytest.raises(UsageError, match="NaN"):
        observed(ppca(), x)


def test_labels_are_for_all_or_for_each() -> None:
    cvae = CVAE((1, 2, 4), num_classes=3, hidden=[4])
    for y in (2, torch.tensor(2), torch.tensor([2]), np.array([2, 2, 2]), [2, 2, 2]):
        assert observed(cvae, X, y=y).y.tolist() == [2, 2, 2]
    with pytest.raises(UsageError, match="give 3 labels"):
        observed(cvae, X, y=[1, 2])
    with pytest.raises(UsageError, match="labels are integers"):
        observed(cvae, X, y=[1.0, 2.0, 0.0])


def test_some_of_the_data_have_their_own_mask_and_labels() -> None:
    y = torch.tensor([0, 1, 2])
    whole = Observed(X, y, X > 0.5)
    part = whole[torch.tensor([2, 0])]
    assert part.y.tolist() == [2, 0]
    assert torch.equal(part.mask, X[[2, 0]] > 0.5)
    assert [len(chunk) for chunk in whole.chunks(2)] == [2, 1]
    assert torch.equal(torch.cat([chunk.x for chunk in whole.chunks(2)]), X.where(X > 0.5, 0))


def test_float64_that_float32_cannot_tell_apart_is_refused() -> None:
    stamps = torch.tensor([[1.7e9], [1.7e9 + 1], [1.7e9 + 2]], dtype=torch.float64)
    x = torch.cat([stamps, torch.randn(3, 2, dtype=torch.float64)], 1)
    with pytest.raises(UsageError, match=r"column 0 of x apart.*pair.double"):
        observed(PPCA((3,), latent_dim=1), x)
    assert torch.equal(observed(PPCA((3,), latent_dim=1).double(), x).x, x)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (X[0], "one datum of shape .1, 2, 4.: give a batch"),
        (X[:, :, :1], "does not fit PPCA"),
        (X[:0], "with B ≥ 1"),
        (None, "got a NoneType"),
        (3.0, "got a float"),
        (torch.tensor(3.0), "does not fit PPCA"),
        (np.array(["a"]), "not hold numbers but text"),
        ((255 * X).to(torch.uint8), "whole numbers up to"),
    ],
)
def test_what_is_no_data_is_one_line(x: object, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        observed(ppca(), x)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_pixels_are_what_the_likelihood_is_of() -> None:
    vae = VAE((1, 2, 4), hidden=[4], likelihood="bernoulli")
    with pytest.raises(UsageError, match="0 or 1"):
        observed(vae, X)
    assert observed(vae, (X > 0.5).to(torch.uint8)).x.dtype == torch.float32
