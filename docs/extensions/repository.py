"""What a page of Markdown says of the repository, made right for the site.

A block without a language that begins with a command is a command line, and is colored as one. A
link to a folder that is no page stays in the text, as a path of the repository; one to a file is a
download.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

COMMANDS = ("pyro-models", "gp-bo", "make", "pip", "python", "torchrun", "jupytext", "for", ".")


def color_commands(app: Sphinx, document: nodes.document) -> None:
    """Let blocks of command lines be bash."""
    for block in document.findall(nodes.literal_block):
        words = block.astext().split(maxsplit=1)
        if block.get("language", "none") in ("none", "default") and words and words[0] in COMMANDS:
            block["language"] = "bash"


def keep_folders(app: Sphinx, document: nodes.document) -> None:
    """Let a link to a folder of the repository be its text."""
    folder = Path(app.env.doc2path(app.env.docname)).parent
    for link in list(document.findall(pending_xref)):
        if link.get("reftype") == "myst" and (folder / str(link["reftarget"])).is_dir():
            link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it with Sphinx."""
    app.connect("doctree-read", color_commands)
    app.connect("doctree-read", keep_folders)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
