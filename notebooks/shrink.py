"""Make the figures of a notebook small: opaque, no wider than they are shown, of few colors."""

import base64
import io

import nbformat
from PIL import Image

LIMIT = 290_000
"""Bytes of a notebook that the figures are made to fit."""

STEPS = ((900, 256), (800, 128), (720, 64), (640, 48), (560, 32), (480, 16))
"""Largest width in pixels and number of colors, the first of which that fits is taken."""


def smaller(png, *, width, colors):
    """A PNG on white, which is legible on a dark page as well, at most ``width`` pixels wide.

    Its colors are reduced to a palette: figures of lines and grey tiles have few.
    """
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(page, image).convert("RGB")
    if image.width > width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    found = image.getcolors(colors)
    if found is None:
        image = image.quantize(colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    else:  # few enough as they are: none is changed
        image = image.quantize(len(found), dither=Image.Dither.NONE)
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()


def shrink(notebook, *, limit=LIMIT):
    """Replace the figures of a notebook by smaller ones; no more is lost than ``limit`` asks.

    Raises
    ------
    ValueError
        If the notebook exceeds the limit even so.
    """
    holders = [
        output.data
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    originals = [base64.b64decode(data["image/png"]) for data in holders]
    for width, colors in STEPS:
        for data, png in zip(holders, originals, strict=True):
            small = smaller(png, width=width, colors=colors)
            data["image/png"] = base64.b64encode(small).decode()
        size = len(nbformat.writes(notebook).encode())
        if size <= limit:
            return notebook
    raise ValueError(f"{size:,} bytes with figures {width} pixels wide: leave some out")
