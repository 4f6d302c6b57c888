"""Two parts of the report on what was not seen: latents without the encoder, half an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference import figures
from inference.evaluation import compare, compare_guides, evaluate_completion
from inference.posterior import complete, infer
from inference.report.page import Section
from pyro_models import ImageData, Pair
from pyro_models.contract import fulfills
from pyro_models.pair import Exact

__all__ = ["completions_section", "guides_section"]

IMAGES = 100
HALF_SEEN = 50
ANNEALING = {"method": "annealing", "num_chains": 8, "num_temperatures": 100}


def guides_section(pair: Pair, data: ImageData, *, num_particles: int, seed: int) -> Section:
    """Three guides of one model: the encoder's, and two fitted to each image by itself."""
    x = data.prepared("test", seed=seed, limit=IMAGES).x
    fitted = [infer(pair, x, guide=guide, seed=seed) for guide in ("normal", "full_covariance")]
    options: dict[str, Any] = {"num_particles": num_particles, "seed": seed}
    options["evidence_options"] = {**ANNEALING, "guide": fitted[1]}
    table = compare_guides(pair, x, guides=["encoder", *fitted], **options)
    return Section(
        "guides",
        "Without the encoder",
        "How much is lost by one encoder for all images, beside a guide of each image's own? The "
        f"VAE with the Gaussian likelihood is frozen, and its latents for {len(x)} test images are "
        "inferred by the encoder, and by guides that are fitted to each image, all images in one "
        "call. What lies between a guide's ELBO and log p(x), which annealed importance sampling "
        "finds, is what its family lacks and what the encoder loses against the best of the "
        "family.",
        numbers=tuple(str(table.difference(q.name, "encoder")) + "." for q in fitted),
        figures={
            "What each guide loses: log p(x) − ELBO, split into what the family cannot do and "
            "what the encoder adds. A short bar is a good guide.": figures.guide_gaps(table),
            "With and without the encoder: test images, decoded from latents fitted to each image, "
            "and from the encoder's. Look where the encoder draws another digit.": (
                figures.encoder_free(fitted[0], rows=6)
            ),
        },
        table=table.to_html(),
    )


def completions_section(pairs: Mapping[str, Pair], data: ImageData, *, seed: int) -> Section:
    """The right half of test images from the left, by models of the same pixels."""
    x = data.prepared("test", seed=seed, limit=HALF_SEEN).x
    completed = {name: complete(pair, x[:8], "left", seed=seed) for name, pair in pairs.items()}
    rows = []
    for name, pair in pairs.items():
        options: dict[str, Any] = {"name": f"{name}, {completed[name].guide}", "seed": seed}
        options["evidence_options"] = {} if fulfills(pair, Exact) else ANNEALING
        rows.append(evaluate_completion(pair, data, "left", limit=HALF_SEEN, **options))
    return Section(
        "completions",
        "Half of an image",
        f"What is on the right, given the left? Of {len(x)} test images the left half is seen. "
        "PPCA and the mixture know the distribution of the other half exactly; the VAE, never "
        "trained for it, infers its latents from the seen pixels alone. All three are densities of "
        "the same pixels, so their numbers may be compared.",
        figures={
            "Right halves from left ones: the image, what is seen of it, and for each model the "
            "mean and one sample of what it expects. Means are blurred where several digits would "
            "go on from the left half; a sample decides for one.": (
                figures.completions(completed, x[:8], samples=1)
            )
        },
        table=compare(rows).to_html(),
    )
