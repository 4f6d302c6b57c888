"""Where a loss that is not finite comes from, and what is left of the run."""

import pytest
import torch

from inference.evaluation import evaluate
from inference.learning import NonFiniteError, Run, fit
from pyro_models import CVAE, GMM, PPCA, VAE, UsageError

SHAPE = (1, 8, 8)


def vae(**options):
    return VAE(SHAPE, **{"hidden": [8], "latent_dim": 2, **options})


PAIRS = [
    vae,
    lambda: vae(likelihood="gaussian"),
    lambda: CVAE(SHAPE, num_classes=10, hidden=[8], likelihood="cross_entropy"),
    lambda: PPCA(SHAPE),
    lambda: PPCA(SHAPE, guide="linear"),
    lambda: GMM(SHAPE, num_components=3),
    lambda: GMM(SHAPE, num_components=3, covariance="full"),
    lambda: GMM(SHAPE, num_components=3, guide="amortised"),
]


def train(pair, data, **options):
    return fit(pair, data, **{"epochs": 3, "batch_size": 48, "progress": False, **options})


@pytest.mark.parametrize("pair", range(len(PAIRS)))
@pytest.mark.parametrize("lr", [1e20, 1e30, 1e38])
@pytest.mark.parametrize("batch_size", [48, 500])
def test_a_rate_out_of_this_world_is_reported_whatever_breaks_first(pair, lr, batch_size, few):
    """Parameters, distributions, values, densities, gradients or Cholesky factors may."""
    made = PAIRS[pair]()
    data = few if made.likelihood.measure is None else few.with_preparation("dequantised")
    with pytest.raises(
        NonFiniteError, match=r"in epoch \d, step \d of \d: not finite is"
    ) as caught:
        train(made, data, lr=lr, batch_size=batch_size)
    message = str(caught.value)
    assert "\n" not in message
    assert any(word in message for word in ("parameter ", "site ", "covariance", "gradient"))
    assert "lower lr or clip_norm" in message


def poison(epoch, parameter):
    """A callback that breaks a parameter after some epoch."""

    def callback(moment):
        if moment.epoch == epoch:
            with torch.no_grad():
                parameter.view(-1)[0] = float("nan")

    return callback


def test_the_last_good_checkpoint_is_named_and_intact(few, tmp_path):
    """The poison comes in with the third epoch's first step."""
    pair = vae()
    folder = tmp_path / "run"
    kept = {}

    def explode(moment):
        kept[moment.epoch] = {k: v.clone() for k, v in moment.pair.state_dict().items()}

    class Exploding(torch.optim.SGD):
        steps = 0

        def step(self, *args):
            type(self).steps += 1
            if self.steps == 10:  # four steps an epoch: step 2 of epoch 3
                with torch.no_grad():
                    pair.model.decoder.body[0].weight[0, 0] = float("nan")
                return None
            return super().step(*args)

    with pytest.raises(NonFiniteError) as caught:
        train(pair, few, optimizer=Exploding, lr=1e-3, out=folder, epochs=5, callbacks=[explode])
    message = str(caught.value)
    assert "in epoch 3, step 3 of 4" in message
    assert "parameter decoder.body.0.weight of the model" in message
    assert f"last good checkpoint: {folder / 'checkpoint.pt'} (epoch 2)" in message
    opened = Run(folder).load_pair()
    for name, tensor in opened.state_dict().items():
        assert torch.equal(tensor, kept[2][name])
    assert evaluate(opened, few, num_particles=2).scores["elbo"].value < 0
    state = Run(folder).load_checkpoint()
    assert len(state["history"]) == 2
    assert all(bool(torch.isfinite(w).all()) for w in state["weights"].values())


def test_without_a_run_folder_it_says_that_nothing_was_kept(few):
    with pytest.raises(NonFiniteError, match="no checkpoint was kept"):
        train(vae(), few, lr=1e30)


@pytest.mark.parametrize(
    ("break_it", "names"),
    [
        (lambda p: p.guide.encoder.head.linear.weight, "before training"),
        (lambda p: p.model.decoder.body[0].bias, "before training"),
    ],
)
def test_a_pair_that_is_broken_before_training_is_refused(break_it, names, few):
    pair = vae()
    with torch.no_grad():
        break_it(pair).view(-1)[0] = float("nan")
    with pytest.raises(NonFiniteError, match=names):
        train(pair, few)


@pytest.mark.parametrize("objective", ["mean_field", "trace", "trace_graph"])
def test_finite_weights_may_give_a_density_of_nan_and_the_site_is_named(objective, few):
    """inf − inf in the encoder: the first step, where Pyro itself complains of the distribution."""
    pair = vae()
    with torch.no_grad():
        for parameter in pair.guide.parameters():
            parameter.mul_(1e30)
    with pytest.raises(NonFiniteError, match=r"epoch 1, step 1 of 4.*site 'z' in the guide"):
        train(pair, few, objective=objective)


def test_a_callback_that_breaks_the_pair_is_found_at_the_next_step(few):
    pair = vae()
    bias = pair.guide.encoder.head.linear.bias
    with pytest.raises(
        NonFiniteError, match=r"epoch 2, step 1.*encoder\.head\.linear\.bias of the"
    ):
        train(pair, few, callbacks=[poison(1, bias)])


def test_other_errors_pass_as_they_are(few):
    pair = vae()
    pair.model.decoder.register_forward_pre_hook(lambda *_: _raise(RuntimeError("mine")))
    with pytest.raises(RuntimeError, match="mine") as caught:
        train(pair, few)
    assert not isinstance(caught.value, UsageError)


def _raise(error):
    raise error
