"""``pyro-models evidence``: σ is chosen on validation data, and every mistake is one line."""

import pytest

QUICK = ["--limit", "3", "--num_validation", "3", "--num_temperatures", "5", "--num_chains", "2"]
QUICK += ["--num_leapfrog", "1", "--progress", "false"]


@pytest.fixture(scope="module")
def runs(call, tmp_path_factory):
    """A generator, and a VAE whose σ is learned."""
    folder = tmp_path_factory.mktemp("runs")
    quick = ["--data", "digits", "--preparation", "dequantised", "--epochs", "1"]
    quick += ["--batch_size", "1000", "--curve_size", "9", "--progress", "false"]
    small = [*quick, "--options.hidden", "[8]", "--options.latent_dim", "3"]
    generator = ["--model", "generator", "--objective", "adversarial"]
    learned = ["--model", "vae", "--options.likelihood", "gaussian"]
    for name, own in (("gan", generator), ("vae", learned)):
        assert call("train", *own, *small, "--out", folder / name) == 0
    return folder


def test_sigma_is_chosen_drawn_and_what_may_not_stand_beside_is_said(call, runs, tmp_path, capsys):
    out = tmp_path / "table"
    more = ["--sigmas", "[0.1, 0.3, 2.0]", "--num_simulated", "2", "--kernel_samples", "9"]
    given = [runs / "gan", runs / "vae", *more, *QUICK, "--resume", tmp_path / "blocks"]
    assert call("evidence", *given, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "best σ: 0.3" in printed
    assert "log p(x) under N(G(z), σ²)" in printed
    assert "vae is not N(G(z), σ²) of one fixed σ: σ is learned, one for all pixels" in printed
    assert printed.count("simulated data: ") == 2
    assert "kernel density" in printed or "objective" in printed
    assert sorted(p.name for p in out.iterdir()) == ["evidence.csv", "evidence.md", "sigma.png"]
    assert call("evidence", *given, "--out", out) == 2
    assert "--force" in capsys.readouterr().err
    assert call("evidence", *given) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("run", "arguments", "why"),
    [
        ("vae", ["--sigmas", "[0.1]"], "VAE is not N(G(z), σ²) of one fixed σ: σ is learned"),
        ("gan", ["--sigmas", "[0.1, -1]"], "sigmas are positive numbers, each once"),
        ("gan", ["--sigmas", "[]"], "sigmas are positive numbers, each once"),
        (
            "gan",
            ["--sigmas", "[0.1]", "--num_validation", "0"],
            "num_validation must be at least 1",
        ),
        ("gan", ["--num_simulated", "-1"], "num_simulated"),
        ("gan", ["--kernel_samples", "-1"], "kernel_samples"),
        ("gan", ["--method", "exact"], "does not know log p(x) exactly"),
        ("gan", ["--method", "magic"], "magic"),
    ],
)
def test_mistakes_are_one_line(refused, runs, run, arguments, why):
    assert why in refused("evidence", runs / run, *QUICK, *arguments)


def test_what_is_shown_is_chosen_by_name(call, refused, runs, capsys):
    exact = ["--method", "importance", "--num_particles", "5", *QUICK]
    assert call("evidence", runs / "vae", *exact, "--quantities", "log_likelihood") == 0
    printed = capsys.readouterr().out
    assert "log p(x)" in printed
    assert "under N(G(z), σ²)" not in printed
    line = refused("evidence", runs / "vae", *exact, "--quantities", "evidence")
    assert "unknown quantity 'evidence'" in line
    assert "names with commas" in refused("evidence", runs / "vae", *exact, "--quantities", ",")


@pytest.mark.parametrize(("model", "judge"), [("generator", "evidence"), ("vae", "evaluate")])
def test_a_training_ends_with_the_command_that_judges_such_a_pair(
    call, tmp_path, capsys, model, judge
):
    own = ["--objective", "adversarial"] if model == "generator" else []
    quick = ["--data", "digits", "--epochs", "1", "--batch_size", "1000", "--curve_size", "9"]
    run = tmp_path / "run"
    assert (
        call("train", "--model", model, *own, *quick, "--options.hidden", "[8]", "--out", run) == 0
    )
    captured = capsys.readouterr()
    assert f"judge it with: pyro-models {judge} " in captured.out + captured.err


def test_a_generator_with_the_default_objective_is_told_which_to_take(refused, tmp_path):
    told = refused("train", "--model", "generator", "--data", "digits", "--out", tmp_path / "run")
    assert "Generator has no encoder" in told
    assert "use the objective adversarial" in told
    assert not (tmp_path / "run").exists()
