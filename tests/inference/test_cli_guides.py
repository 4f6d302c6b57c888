"""``pyro-models guides``, and every mistake a person makes with it."""

import pytest

SETTINGS = ["--limit", "4", "--num_particles", "50", "--progress", "false"]
SETTINGS += ["--max_steps", "100"]


@pytest.fixture(scope="module")
def run(call, tmp_path_factory):
    """A trained VAE with two latents."""
    folder = tmp_path_factory.mktemp("runs") / "vae"
    options = ["--options.hidden", "[8]", "--options.latent_dim", "2"]
    options += ["--options.likelihood", "bernoulli", "--preparation", "threshold"]
    quick = ["--epochs", "1", "--curve_size", "50", "--progress", "false"]
    assert (
        call("train", "--model", "vae", "--data", "digits", *options, *quick, "--out", folder) == 0
    )
    return folder


def test_annealing_starts_at_a_guide_by_name(call, run, capsys):
    annealed = ["--method", "annealing", "--num_temperatures", "20", "--num_chains", "8"]
    printed = []
    for start in ([], ["--start", "encoder"]):
        assert call("guides", run, "--guides", "[encoder]", *SETTINGS, *annealed, *start) == 0
        printed.append(capsys.readouterr().out)
    assert all("by annealing, C = 8, T = 20" in text for text in printed)
    assert printed[0] != printed[1]


def test_a_table_is_printed_and_written(call, run, tmp_path, capsys):
    out = tmp_path / "table"
    arguments = ["--guides", "[encoder, laplace]", "--mask", "left", "--out", out, *SETTINGS]
    assert call("guides", run, *arguments) == 0
    printed = capsys.readouterr().out
    assert "digits test, the first 4, threshold pixels, seen: left" in printed
    assert "by quadrature" in printed
    assert sorted(path.name for path in out.iterdir()) == ["guides.csv", "guides.md", "guides.png"]
    assert (out / "guides.png").read_bytes().startswith(b"\x89PNG")
    assert "| encoder |" in (out / "guides.md").read_text()
    assert call("guides", run, *arguments) == 2
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--guides", "[nix]"], "unknown guide 'nix': choose from"),
        (["--start", "nix"], "unknown guide 'nix': choose from"),
        (["--limit", "0"], "limit must be at least 1"),
        (["--mask", "middle"], "unknown mask 'middle'"),
        (["--method", "magic"], "magic"),
    ],
)
def test_mistakes_are_one_line(refused, run, arguments, why):
    assert why in refused("guides", run, *SETTINGS, *arguments)
