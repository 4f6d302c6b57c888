"""The page of a report: one HTML file, its figures beside it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from inference.evaluation import Comparison
from inference.report.section import Section
from pyro_models.files import write_atomically

__all__ = ["write_page", "write_section"]


def write_section(part: Section, folder: Path) -> str:
    """The section's HTML; its figures are written to ``folder/figures``."""
    images = []
    for title, figure in part.figures.items():
        name = f"{part.key}-{_plain(title)}.png"
        _save(figure, folder / "figures" / name)
        images.append(
            f'<figure><img src="figures/{name}" alt="{html.escape(title)}">'
            f"<figcaption>{html.escape(title)}</figcaption></figure>"
        )
    numbers = "".join(f"<li>{html.escape(line)}</li>" for line in part.numbers)
    table = f'<div class="wide">{part.table}</div>' if part.table else ""
    return (
        f'<section id="{part.key}"><h2>{html.escape(part.title)}</h2>'
        f"<p>{part.words}</p>{table}"
        + (f"<ul>{numbers}</ul>" if numbers else "")
        + f'<div class="figures">{"".join(images)}</div></section>'
    )


def _plain(title: str) -> str:
    """A title as a part of a file's name."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in title)
    return "-".join(word for word in kept.split("-") if word)


def _save(figure: Figure, path: Path) -> None:
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130))


def write_page(table: Comparison, sections: Sequence[str], folder: Path) -> None:
    """Write ``index.html``: the comparison first, then the sections."""
    text = _PAGE.substitute(
        table=table.to_html(), sections="\n".join(sections), folder=html.escape(str(folder))
    )
    write_atomically(folder / "index.html", text)


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>pyro-models: density models of handwritten digits</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 86rem; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 3rem; border-top: 1px solid #ddd; padding-top: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .8rem; }
caption { text-align: left; color: #555; padding-bottom: .5rem; }
th, td { padding: .35rem .55rem; text-align: right; border-bottom: 1px solid #ddd;
  vertical-align: bottom; }
tbody td { white-space: nowrap; } tbody th, thead th:first-child { text-align: left; }
tbody th { white-space: nowrap; }
th small { display: block; font-weight: normal; color: #555; min-width: 6rem; }
.notes { color: #444; font-size: .86rem; list-style: none; padding: 0; }
section .figures { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
section ul { font-size: .9rem; } code { font-size: .85rem; }
figure { margin: 0; flex: 1 1 24rem; max-width: 36rem; } img { width: 100%; height: auto; }
figcaption { color: #444; font-size: .86rem; }
</style></head><body>
<h1>Density models of handwritten digits</h1>
<p>Six models of the 8×8 digits that scikit-learn bundles, trained by stochastic variational
inference and judged on the same test images. Two numbers stand in one column only if they may be
compared: the same unit, measure, pixel preparation and data. An empty cell says which of these
differs. The cross-entropy of grey pixels is an objective, not a probability, so those models have
no log p(x); Gaussian densities of dequantised pixels have, and become bits per dimension.</p>
<div class="wide">$table</div>
<p>The same as <a href="comparison.csv">CSV</a> and <a href="comparison.md">Markdown</a>. The
trained models are in <code>runs/</code>; try
<code>pyro-models plot $folder/runs/vae --figure latent-grid --out grid.png</code>.</p>
$sections
</body></html>
""")
