"""HTML templates, in which everything is escaped unless it is HTML already."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["render"]


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("inference"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: object) -> str:
    """A template of this package, filled in; it lets HTML through by the filter ``safe`` alone."""
    html = _environment().get_template(template).render(**values)
    return html.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")  # as ``html.escape`` has them
