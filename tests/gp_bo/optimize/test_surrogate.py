"""The surrogate against the textbook formulas, one draw at a time."""

import pytest
import torch

SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


def textbook(surrogate, z, s):
    """Mean and covariance by an explicit inverse."""
    k = surrogate.covariance
    gram = k(surrogate.x, surrogate.x)[s] + surrogate.noise[s] * torch.eye(len(surrogate.x))
    cross = k(z, surrogate.x)[s]
    inverse = torch.linalg.inv(gram)
    prior = surrogate.prior_mean(surrogate.x)[s]
    mean = surrogate.prior_mean(z)[s] + cross @ inverse @ (surrogate.y - prior)
    return mean, k(z, z)[s] - cross @ inverse @ cross.mT


def points(seed, count=7, columns=2):
    return torch.rand(
        count, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 10)
    )


@SEEDS
def test_moments_are_those_of_the_closed_form(rbf_surrogate, seed):
    surrogate, z = rbf_surrogate(seed=seed), points(seed)
    mean, variance = surrogate.moments(z)
    for s in range(surrogate.draws):
        truth, covariance = textbook(surrogate, z, s)
        torch.testing.assert_close(mean[s], truth, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(variance[s], covariance.diagonal(), atol=1e-9, rtol=1e-9)
        joint_mean, joint = surrogate.joint(z, s)
        torch.testing.assert_close(joint_mean, truth, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(joint, covariance, atol=1e-9, rtol=1e-9)
        cross = surrogate.cross_covariance(z[:3], z)[s]
        torch.testing.assert_close(cross, covariance[:3], atol=1e-9, rtol=1e-9)


@SEEDS
def test_gradients_in_the_inputs_are_right(rbf_surrogate, seed):
    surrogate = rbf_surrogate(seed=seed, n=4)
    z = points(seed, 2).requires_grad_()
    assert torch.autograd.gradcheck(surrogate.moments, z)


@SEEDS
def test_means_at_the_data_need_no_prediction(rbf_surrogate, seed):
    surrogate = rbf_surrogate(seed=seed, noise=0.1)
    mean, _ = surrogate.moments(surrogate.x)
    torch.testing.assert_close(surrogate.means_at_data, mean, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(surrogate.incumbent, mean.amin(1), atol=1e-10, rtol=1e-10)
    assert surrogate.best_points(1).tolist() == [surrogate.x[mean.mean(0).argmin()].tolist()]


@SEEDS
def test_believing_its_own_mean_changes_no_mean_and_shrinks_the_variance(rbf_surrogate, seed):
    surrogate, z = rbf_surrogate(seed=seed), points(seed)
    believer = surrogate.believing(z[:3])
    before, after = surrogate.moments(z), believer.moments(z)
    torch.testing.assert_close(before[0], after[0], atol=1e-7, rtol=0)
    assert (after[1] <= before[1] + 1e-9).all()
    assert (after[1][:, :3] < 1.1e-4).all()
    torch.testing.assert_close(believer.incumbent, surrogate.incumbent, atol=1e-7, rtol=0)


def test_points_on_top_of_each_other_are_survived(rbf_surrogate):
    surrogate = rbf_surrogate(noise=0.0)
    z = surrogate.x[:2] + 1e-9
    mean, variance = surrogate.believing(z).moments(points(0))
    assert mean.isfinite().all()
    assert (variance > 0).all()
