"""Factors of covariances that rounding made indefinite, and gradients through them."""

import torch

from gp_bo.cholesky import cholesky


def test_a_singular_matrix_gets_a_little_jitter_and_a_finite_gradient() -> None:
    factor = torch.tensor([[1.0, 0.5], [2.0, 1.0], [-1.0, 3.0]], dtype=torch.float64)
    factor = factor.requires_grad_()
    good, singular = torch.eye(3, dtype=torch.float64), factor @ factor.mT
    L, failed = cholesky(torch.stack([good, singular]))
    assert failed is None
    assert torch.equal(L[0], good)
    assert (L[1] @ L[1].mT - singular).abs().max() < 1e-5
    (gradient,) = torch.autograd.grad(L[1, 0, 0], factor)
    assert bool(gradient.isfinite().all())
    # L_00 = |a_0|, so its gradient is a_0 / |a_0|
    expected = factor[0] / factor[0].norm()
    assert (gradient[0] - expected).abs().max() < 1e-5


def test_a_matrix_that_cannot_be_mended_fails_alone() -> None:
    bad = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)
    L, failed = cholesky(torch.stack([eye, bad, bad * torch.nan]))
    assert failed is not None
    assert failed.tolist() == [False, True, True]
    assert torch.equal(L[0], eye)
    assert bool(L[1:].isnan().all())
