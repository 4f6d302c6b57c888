"""Repositories of the Hugging Face Hub: sent to, and taken from."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from inference.hub.card import named_in
from inference.hub.export import FILES, export_run, run_of
from inference.learning import Fit
from pyro_models import UsageError

__all__ = ["download", "push_to_hub"]


def push_to_hub(
    run: str | Path | Fit,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = "Weights, configuration, scores and card",
    token: str | None = None,
    endpoint: str | None = None,
    **options: Any,
) -> str:
    """Send a trained pair to a repository of the Hugging Face Hub, which is made if there is none.

    Parameters
    ----------
    run
        A run folder, a :class:`inference.Fit` that has one, or a folder that
        :func:`inference.export_run` has written, whose card is kept.
    repo
        ``"owner/name"``.
    private
        Whether a repository that is made is private.
    revision
        The branch, which is made if there is none; ``main`` unless given.
    message
        Of the commit.
    token, endpoint
        Of the user, that of ``hf auth login`` or ``$HF_TOKEN`` unless given; and the Hub, that of
        Hugging Face unless given here or by ``$HF_ENDPOINT``.
    options
        ``evaluation``, ``model``, ``figure``, ``license`` and ``tags`` of
        :func:`inference.export_run`.

    Returns
    -------
    str
        The address of the commit.

    Raises
    ------
    UsageError
        In one line: no token, no such owner, no connection, no right to write.
    """
    hub, source = _hub(), run_of(run)
    exported = "exported" in source.describe()
    if exported and any(value for value in options.values()):
        raise UsageError(
            f"{source.folder} is an export with a card of its own: export its run anew for others"
        )
    known = token or hub.get_token()
    if known is None:
        raise UsageError(
            "there is no token for the Hub: log in (hf auth login), or set HF_TOKEN to one that "
            "may write"
        )
    api = hub.HfApi(token=known, endpoint=endpoint)
    with tempfile.TemporaryDirectory() as place, _in_one_line(repo, revision):
        folder = Path(place) / "export"
        if exported:
            folder.mkdir()
            for file in FILES:
                if (source.folder / file).is_file():
                    shutil.copyfile(source.folder / file, folder / file)
            card = folder / "README.md"
            if card.is_file():
                card.write_text(named_in(card.read_text(encoding="utf-8"), repo), encoding="utf-8")
        else:
            export_run(run, folder, name=repo, **options)
        if not api.repo_exists(repo):
            api.create_repo(repo, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message=message, revision=revision
        )
        return str(done.commit_url)


def download(
    repo: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    into: Path | None = None,
) -> Path:
    """The folder of a repository, of the files that an export has alone; in the cache of the Hub.

    Parameters
    ----------
    repo, revision
        ``"owner/name"``, and the branch, tag or commit; ``main`` unless given.
    token, endpoint
        As for :func:`push_to_hub`.
    into
        The folder that they are copied to.

    Raises
    ------
    UsageError
        In one line: no such repository or revision, no connection, none of ours.
    """
    hub = _hub()
    with _in_one_line(repo, revision):
        found = hub.snapshot_download(
            repo, revision=revision, token=token, endpoint=endpoint, allow_patterns=list(FILES)
        )
    folder = Path(found)
    for needed in FILES[:2]:
        if not (folder / needed).is_file():
            raise UsageError(f"{repo} is no model of pyro-models: it has no {needed}")
    if into is None:
        return folder
    into.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        if (folder / file).is_file():
            shutil.copyfile(folder / file, into / file)
    return into


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UsageError(
            'the Hub needs the package huggingface_hub: pip install "pyro-models[hub]"'
        ) from error
    return huggingface_hub


@contextmanager
def _in_one_line(repo: str, revision: str | None) -> Iterator[None]:
    """Say what the Hub, or the way there, refuses, in one line."""
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    quiet = "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ
    if quiet:
        disable_progress_bars()
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # of the Hub, of HTTP, of the network: of any kind
        raise UsageError(_words(error, repo, revision)) from error
    finally:
        if quiet:
            enable_progress_bars()


def _words(error: Exception, repo: str, revision: str | None) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    status = getattr(getattr(error, "response", None), "status_code", None)
    if "HFValidationError" in kinds:
        return f"a repository of the Hub is owner/name, of letters, digits, -, _ and .; got {repo}"
    if "RevisionNotFoundError" in kinds:
        return f"{repo} has no revision {revision}: name a branch, a tag or a commit of it"
    if "RepositoryNotFoundError" in kinds:
        return (
            f"there is no repository {repo} on the Hub, or it is private: look at its name, or log "
            "in (hf auth login)"
        )
    if status in (401, 403):
        return f"the Hub refuses {repo} ({status}): use a token that may do so (hf auth login)"
    if {"OfflineModeIsEnabled", "LocalEntryNotFoundError"} & kinds:
        return (
            f"{repo} is not on this machine, and the Hub cannot be reached (offline, or "
            "HF_HUB_OFFLINE is set): name a folder, or try again"
        )
    return f"the Hub cannot be reached, or refuses {repo} ({why})"
