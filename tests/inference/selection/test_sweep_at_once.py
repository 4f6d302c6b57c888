"""A sweep that trains the seeds of a setting at once finds what one run after the other finds."""

import pytest

from inference import Run, sweep


def test_seeds_of_a_setting_are_trained_at_once(few, tmp_path):
    found = []
    for name in ("in turn", "at once"):
        result = sweep(
            "vae",
            few,
            grid={"options.latent_dim": [2, 3]},
            seeds=[0, 1],
            out=tmp_path / name,
            at_once=name == "at once",
            options={"hidden": [8]},
            epochs=1,
            curve_size=0,
            num_particles=2,
            progress=False,
        )
        found.append([o for row in result.rows for o in row.outcomes])
    for alone, together in zip(*found, strict=True):
        assert not together.failure
        assert (alone.seed, alone.epochs) == (together.seed, together.epochs)
        assert Run(together.folder).describe()["training"]["at_once"] == 2
        assert Run(alone.folder).describe()["training"].get("at_once") is None
        one, other = (o.evaluation.scores["elbo"].value for o in (alone, together))
        assert other == pytest.approx(one, abs=1e-3)
