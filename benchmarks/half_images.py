"""The right half of MNIST digits, given the left: −log p(x_right | x_left) and squared errors.

Test images binarised at 0.5. For the VAE log p(x_right | x_left) = log p(x) − log p(x_left), both
by annealed importance sampling from a guide fitted to each image; beside it

* an exact mixture of Bernoulli products, learned by EM on all training images,
* a CVAE that was trained for this one task: L_K, a lower bound (see ``--particles``),
* for squared errors alone: exact PPCA of the same binarised pixels (its density is of another
  measure) and the mean training image.

Run ``python benchmarks/half_images.py --run runs/vae``, a run of ``pyro-models train --model vae
--options.latent_dim 50 --options.likelihood bernoulli --preparation threshold --data mnist``;
without ``--run`` a VAE is trained here. ``--quick`` for a minute's look; ``--help`` for the rest.
"""

from __future__ import annotations

import argparse

import torch
from clock import add_device, seconds

from inference import Evaluation, Run, compare, fit
from inference.evaluation import evaluate_completion
from pyro_models import PPCA, VAE, BernoulliMixture, CompletionCVAE, ImageData, Pair, load_data

QUICK = {
    "images": 20,
    "chains": 4,
    "temperatures": 50,
    "components": 20,
    "epochs": 1,
    "particles": 20,
    "hidden": 100,
}


def learned(pair: Pair, data: ImageData, options: argparse.Namespace) -> Pair:
    """Adam with a rate that falls to 0, batches of 128."""
    fit(
        pair,
        data,
        epochs=options.epochs,
        batch_size=128,
        lr=1e-3,
        schedule="CosineAnnealingLR",
        curve_size=0,
        capture=True,
        progress=False,
        device=options.device,
    )
    return pair


def vae_of(options: argparse.Namespace, data: ImageData) -> Pair:
    if options.run:
        return Run(options.run).load_pair(device=options.device)
    torch.manual_seed(options.seed)
    vae = VAE(
        data.data_shape,
        latent_dim=50,
        hidden=[options.hidden],
        likelihood="bernoulli",
        output_bias="data",
    )
    return learned(vae, data, options)


def cvae_of(options: argparse.Namespace, data: ImageData) -> Pair:
    if options.cvae_run:
        return Run(options.cvae_run).load_pair(device=options.device)
    torch.manual_seed(options.seed)
    cvae = CompletionCVAE(data.data_shape, masks=["left"], hidden=[options.hidden])
    return learned(cvae, data, options)


def show(row: Evaluation, began: float, device: torch.device) -> Evaluation:
    taken = seconds(device) - began
    score = row.scores.get("conditional_log_likelihood")
    nats = ""
    if score is not None:
        own = score.monte_carlo_error
        noise = "" if own is None else f", of which Monte Carlo {own:.2f}"
        nats = (
            f"−log p(right | left) {-score.value:.2f} ± {score.standard_error:.2f}{noise} nats "
            f"({score.kind}; {score.measure}); "
        )
    error = row.scores["mse_unseen"]
    print(
        f"{row.name}: {nats}MSE {error.value:.4f} ± {error.standard_error:.4f}  [{taken:.0f} s]",
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--run", help="run folder of a Bernoulli VAE (default: train one)")
    parser.add_argument("--cvae-run", help="run folder of a completion_cvae (default: train one)")
    parser.add_argument("--images", type=int, default=500, help="test images (default 500)")
    parser.add_argument("--chains", type=int, default=8, help="of annealing (default 8)")
    parser.add_argument("--temperatures", type=int, default=100, help="of annealing (100)")
    parser.add_argument("--leapfrog", type=int, default=5, help="steps in a transition (5)")
    parser.add_argument(
        "--start", default="normal", help="guide that annealing starts at (default normal)"
    )
    parser.add_argument("--components", type=int, default=200, help="of the mixture (default 200)")
    parser.add_argument("--particles", type=int, default=500, help="K of the CVAE's L_K (500)")
    parser.add_argument("--epochs", type=int, default=30, help="of what is trained here (30)")
    parser.add_argument("--hidden", type=int, default=500, help="units of the same (default 500)")
    parser.add_argument("--guides", nargs="+", default=["normal", "encoder_zeros"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="small and untrained: does it run?")
    add_device(parser)
    options = parser.parse_args()
    device = options.device
    if options.quick:
        vars(options).update(QUICK)
    data = load_data("mnist", preparation="threshold", all_training=True)
    train = data.prepared("train").x
    if options.quick:
        small = {**data.splits, "train": type(data.split("train"))(data.split("train").x[:3000])}
        data, train = ImageData(data.name, small, "threshold", data.levels), train[:3000]
    shared = {"limit": options.images, "seed": options.seed}
    annealing = {
        "method": "annealing",
        "num_chains": options.chains,
        "num_temperatures": options.temperatures,
        "num_leapfrog": options.leapfrog,
        "guide": options.start,
    }
    importance = {"method": "importance", "num_particles": options.particles}

    began, rows = seconds(device), []
    mixture = BernoulliMixture.maximum_likelihood(
        train.to(device), num_components=options.components, seed=options.seed
    )
    rows.append(show(evaluate_completion(mixture, data, "left", **shared), began, device))

    began = seconds(device)
    ppca = PPCA.maximum_likelihood(train.to(device), latent_dim=50)
    rows.append(show(evaluate_completion(ppca, data, "left", **shared), began, device))

    began, mean = seconds(device), train.mean(0)
    row = evaluate_completion(mean, data, "left", name="mean training image", **shared)
    rows.append(show(row, began, device))

    began = seconds(device)
    cvae = cvae_of(options, data)
    row = evaluate_completion(cvae, data, "left", evidence_options=importance, **shared)
    rows.append(show(row, began, device))

    vae = vae_of(options, data)
    for i, guide in enumerate(options.guides):
        began = seconds(device)
        row = evaluate_completion(
            vae,
            data,
            "left",
            guide=guide,
            log_prob=i == 0,  # of the model: the same whichever guide completes
            evidence_options=annealing,
            **shared,
        )
        rows.append(show(row, began, device))
    print()
    print(compare(rows).to_text())


if __name__ == "__main__":
    main()
