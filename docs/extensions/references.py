"""References by any name under which an object can be imported.

A docstring may say ``inference.posterior.infer`` of what the reference lists as
``inference.infer``, or the bare name of a class of its own module. What is in the reference is
linked; what exists in the packages and is not in the reference stands as code; what does not exist
is a mistake, and with ``-W`` ends the build.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from docutils import nodes
from docutils.utils import get_source_line
from sphinx.addnodes import desc_signature, pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

PACKAGES = ("pyro_models", "inference", "gp_bo")
_UNNAMED = (str, int, float, bool, type(None))  # equal values are one object
_NOTHING = object()


def object_at(name: str) -> Any:
    """The object of a dotted name, an annotated field among them; ``_NOTHING`` if there is none.

    Where a package has a function and a module of one name, as ``inference.posterior.infer``, the
    function is meant.
    """
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        found = _module(".".join(parts[:cut]))
        for part in parts[cut:] if found is not _NOTHING else ():
            annotations = getattr(found, "__annotations__", {})
            default = annotations.get(part, _NOTHING)
            found = inspect.getattr_static(found, part, getattr(found, part, default))
        if found is not _NOTHING:
            return found
    return _module(name)


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return _NOTHING


def places(node: pending_xref) -> Iterator[str]:
    """Modules and classes whose names a reference may mean: those around what it is said of."""
    if node.get("py:module"):
        yield node["py:module"]
        if node.get("py:class"):
            yield f"{node['py:module']}.{node['py:class']}"
    source, _ = get_source_line(node)
    if source and "docstring of " in source:
        yield source.partition("docstring of ")[2]
    around = node.parent
    while around is not None and not isinstance(around, desc_signature):
        around = around.parent
    if around is not None and around.get("module"):
        yield f"{around['module']}.{around['fullname']}"


def candidates(node: pending_xref) -> Iterator[str]:
    """Full names that a reference may mean: as it stands, and of what is around it."""
    target = str(node["reftarget"]).lstrip(".~")
    yield target
    for place in places(node):
        parts = place.split(".")
        origin = getattr(object_at(place), "__module__", None) or ""
        for cut in range(len(parts), 0, -1):
            yield f"{'.'.join(parts[:cut])}.{target}"
        yield f"{origin}.{target}"


def documented(env: BuildEnvironment) -> dict[int, str]:
    """The name by which the reference has an object, by the object's identity."""
    known: dict[int, str] = {}
    for name in env.domaindata["py"]["objects"]:
        found = object_at(name)
        if not isinstance(found, _UNNAMED):
            known.setdefault(id(found), name)
    return known


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """A link to what a reference means, or code where it exists and the reference lacks it."""
    if node.get("refdomain") != "py":
        return None
    if not hasattr(env, "documented_objects"):
        env.documented_objects = documented(env)  # type: ignore[attr-defined]
    known = env.documented_objects  # type: ignore[attr-defined]
    entries = env.domaindata["py"]["objects"]
    exists = False
    for name in candidates(node):
        if name.split(".")[0] not in PACKAGES:
            continue
        found = object_at(name)
        if found is not _NOTHING and id(found) in known:
            entry = entries[known[id(found)]]
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content)
        exists = exists or found is not _NOTHING
    if exists:
        return content
    name = by_its_end(env, node)
    if name is not None:
        entry = entries[name]
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content)
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] in PACKAGES]
    return content if any(hasattr(module, node["reftarget"]) for module in modules) else None


def by_its_end(env: BuildEnvironment, node: pending_xref) -> str | None:
    """The one entry whose name ends so: a summary in a table does not say of which module it is."""
    python = env.domains["py"]
    end, kinds = f".{node['reftarget']}", python.objtypes_for_role(node["reftype"]) or []
    entries = env.domaindata["py"]["objects"].items()
    found = {id(object_at(n)): n for n, e in entries if n.endswith(end) and e.objtype in kinds}
    return next(iter(found.values())) if len(found) == 1 else None


def keep_names_of_fields(app: Sphinx, document: nodes.document) -> None:
    """Let the names in a list of attributes be names: that is where they are described."""
    for link in list(document.findall(pending_xref)):
        if link.get("refdomain") == "py" and link.get("reftype") == "obj":
            around = link.parent
            while around is not None and not isinstance(around, nodes.field):
                around = around.parent
            if around is not None:
                link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it with Sphinx."""
    app.connect("doctree-read", keep_names_of_fields)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
