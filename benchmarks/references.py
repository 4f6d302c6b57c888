"""Guides against public reference posteriors: eight schools (both ways), two regressions, a GP.

The facts are those of posteriordb (see ``tests/inference/programs/references.py`` for where they
are from and how they may be used). For each model a table of guides with words under it, and how
far NUTS is from the reference in Monte-Carlo errors of both. Run ``python benchmarks/references.py
--only kidiq``; ``--help`` for its options.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from clock import add_device

sys.path.insert(0, str(Path(__file__).parents[1]))

from inference import compare_guides
from inference.evaluation.program_moments import moments
from inference.mcmc.diagnostics import effective_sample_size
from tests.inference.programs.models import REFERENCES, SCHOOLS, schools

GUIDES = ["normal", "full_covariance", "laplace", "nuts"]


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guides", nargs="+", default=GUIDES)
    parser.add_argument("--only", nargs="+", default=[*REFERENCES, "eight schools, centred"])
    parser.add_argument("--steps", type=int, default=2000, help="of a fit, at most")
    parser.add_argument("--seed", type=int, default=0)
    add_device(parser)
    given = parser.parse_args()
    if given.device.type != "cpu":
        torch.set_default_device(given.device)
    for name in given.only:
        centred = name not in REFERENCES
        model, args, kwargs = (schools, (), SCHOOLS) if centred else REFERENCES[name][:3]
        args = [v.to(given.device) if isinstance(v, torch.Tensor) else v for v in args]
        kwargs = {n: v.to(given.device) for n, v in kwargs.items()} if kwargs is SCHOOLS else kwargs
        found = compare_guides(
            *(model, *args),
            guides=given.guides,
            infer_options={"max_steps": given.steps},
            seed=given.seed,
            **kwargs,
            **({"centred": True} if centred else {}),
        )
        print(f"{name}\n{'=' * len(name)}\n{found}", flush=True)
        row = found["nuts"] if "nuts" in given.guides and not centred else None
        if row is not None and row.posterior is not None:
            _against(row.posterior, *REFERENCES[name][3:])


def _against(posterior, of, reference) -> None:
    """Means and standard deviations of chains beside the reference's, in errors of both."""
    _, C = posterior.posterior.guide.chains()[0]["u"].shape[1::-1]
    print("| number | NUTS | reference | off by, in Monte-Carlo errors | sd / sd |")
    print("|---|---|---|---|---|")
    for site, values in of(posterior.draws).items():
        if site not in reference:
            continue
        mean, sd, error, _ = reference[site]
        own = moments({site: values})
        chains = values.reshape(-1, C).T.cpu().numpy()
        mcse = float(own.sd[site]) / float(effective_sample_size(chains)) ** 0.5
        off = (float(own.mean[site]) - mean) / (mcse**2 + error**2) ** 0.5
        cells = (f"{float(own.mean[site]):.4f} ± {mcse:.4f}", f"{mean:.4f} ± {error:.4f}")
        ratio = float(own.sd[site]) / sd
        print(f"| {site} | {cells[0]} | {cells[1]} | {off:+.1f} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    main()
