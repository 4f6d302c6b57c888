"""Checks of the installation that Python and pip do not make.

Two things go wrong in practice and both end in a confusing traceback: another distribution also
installs a package called ``inference``, and a torchvision built for another torch does not import.
"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from pyro_models.errors import UsageError

__all__ = ["check_inference_package", "import_torchvision", "version_of", "versions"]

_OURS = "pyro-models"


def version_of(distribution: str) -> str:
    """The version of an installed distribution; ``"unknown"`` of sources that were copied.

    >>> version_of("not-installed")
    'unknown'
    """
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


def versions(program: str) -> str:
    """What ``--version`` prints: the version, and those that a report of an error needs.

    >>> versions("greet").startswith("greet ")
    True
    """
    beside = ", ".join(f"{name} {version_of(name)}" for name in ("pyro-ppl", "torch"))
    return f"{program} {version_of(_OURS)} ({beside}, Python {platform.python_version()})"


def check_inference_package() -> None:
    """Refuse another distribution's ``inference`` in the place of this project's."""
    claimants = {
        name
        for name in packages_distributions().get("inference", [])
        if name.lower().replace("_", "-") != _OURS
    }
    spec = find_spec("inference")
    found = Path(spec.origin).parent.parent if spec is not None and spec.origin else None
    if found == Path(__file__).parent.parent and not claimants:
        return
    providers = ", ".join(sorted(claimants)) or (f"the one at {found}" if found else "none found")
    raise UsageError(
        f"the package 'inference' is also provided by another distribution ({providers}); "
        f"{_OURS} needs its own: install it into an environment without that distribution"
    )


def import_torchvision() -> ModuleType:
    """Import torchvision's data sets, or say in one line why that cannot work."""
    try:
        import torchvision.datasets
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        builds = f"torchvision {version_of('torchvision')} and torch {version_of('torch')}"
        if version_of("torchvision") == "unknown":
            builds = "torchvision is not installed"
        raise UsageError(
            f"torchvision does not import ({builds}): it must be the build made for this torch; "
            "let pip choose both: pip install --force-reinstall torch torchvision "
            f"[{type(error).__name__}: {str(error).splitlines()[0] if str(error) else error!r}]"
        ) from error
    return torchvision
