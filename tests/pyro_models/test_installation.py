"""A broken installation is told in one line."""

import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

from inference import Run
from pyro_models import PPCA, UsageError, console, installation
from pyro_models.installation import check_inference_package, import_torchvision, version_of


@pytest.fixture
def intruder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another distribution's metadata, first on the path, that claims ``inference``."""
    metadata = tmp_path / "roboflow_inference-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: intruder\nVersion: 1.0\n")
    (metadata / "top_level.txt").write_text("inference\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def _no_metadata(name: str) -> str:
    raise PackageNotFoundError(name)


def test_a_copy_without_metadata_has_an_unknown_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert version_of("pyro-ppl") == version("pyro-ppl")
    monkeypatch.setattr(installation, "version", _no_metadata)
    assert version_of("pyro-models") == "unknown"
    run = Run(tmp_path)
    run.create(PPCA((3,), latent_dim=1), {"data": {}, "settings": {}})
    assert run.describe()["versions"]["pyro-models"] == "unknown"


@pytest.mark.slow  # two processes that import everything
def test_a_zip_file_of_the_sources_runs_where_there_is_no_home(tmp_path: Path) -> None:
    root, archive = Path(installation.__file__).parents[1], tmp_path / "sources.zip"
    with ZipFile(archive, "w") as content:
        for package in ("pyro_models", "inference", "gp_bo"):
            for path in (root / package).rglob("*"):
                if path.suffix in (".py", ".yaml"):
                    content.write(path, path.relative_to(root))
    variables = {**os.environ, "PYTHONPATH": str(archive), "HOME": str(tmp_path / "none")}
    small = ["--data", "digits", "--epochs", "1", "--curve_size", "0", "--progress", "false"]
    for module, *arguments in (
        ("pyro_models.console", "train", "--preset", "amsterdam", *small),
        ("gp_bo.cli", "--help"),
    ):
        called = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(
            called, env=variables, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/amsterdam/run.json").is_file()


def test_this_installation_is_sound() -> None:
    check_inference_package()
    assert import_torchvision().datasets.MNIST


@pytest.mark.usefixtures("intruder")
def test_another_distribution_with_our_package_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"^.*'inference' is also provided .*\(intruder\).*\Z"):
        check_inference_package()


@pytest.mark.usefixtures("intruder")
def test_the_command_says_so_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.main() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pyro-models: error: ")
    assert captured.err.count("\n") == 1


def test_a_stray_package_before_ours_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference" / "__init__.py").write_text("")
    for name in [n for n in sys.modules if n.partition(".")[0] == "inference"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(UsageError, match=rf"^.*the one at {tmp_path}.*\Z"):
        check_inference_package()


@pytest.mark.parametrize(
    "error",
    [
        ImportError("No module named 'torchvision'"),
        RuntimeError("operator torchvision::nms does not exist\nand a second line"),
        OSError("libc10.so: undefined symbol"),
        AttributeError(""),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_torchvision_that_does_not_import_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        """An importer that fails as a torchvision for another torch does."""

        @staticmethod
        def find_spec(
            name: str, path: Sequence[str] | None, target: ModuleType | None = None
        ) -> ModuleSpec | None:
            if name.partition(".")[0] == "torchvision":
                raise error
            return None

    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken, *sys.meta_path])
    with pytest.raises(UsageError, match=r"^torchvision does not import .*pip install.*\Z") as said:
        import_torchvision()
    assert type(error).__name__ in str(said.value)
