"""Make the figures of a notebook small: opaque, no wider than they are shown, of few colors."""

import base64
import io

import nbformat
from PIL import Image, ImageChops

LIMIT = 290_000
"""Bytes of a notebook that the figures are made to fit."""

STEPS = (
    *((900, colors) for colors in (256, 128, 64, 48, 32)),
    *((width, 32) for width in (720, 600, 480)),
)
"""Largest width in pixels, and number of colors, from a good figure to a small one."""


def smaller(png, width, colors):
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
        # by frequency few colored points would lose their colors to many grey pixels
        grey = not ImageChops.difference(image, image.convert("L").convert("RGB")).getbbox()
        method = Image.Quantize.MEDIANCUT if grey else Image.Quantize.FASTOCTREE
        image = image.quantize(colors, method=method, dither=Image.Dither.NONE)
    else:  # few enough as they are: none is changed
        image = image.quantize(len(found), dither=Image.Dither.NONE)
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()


def shrink(notebook, *, limit=LIMIT):
    """Replace the figures of a notebook by smaller ones, until it has no more than ``limit`` bytes.

    It is always the largest figure that goes on to its next step: tiles of grey pixels are reduced
    before curves, which are small as they are.

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
    taken = [0] * len(holders)
    for data, png in zip(holders, originals, strict=True):
        data["image/png"] = _encoded(smaller(png, *STEPS[0]))
    while (size := len(nbformat.writes(notebook).encode())) > limit:
        left = [i for i, step in enumerate(taken) if step + 1 < len(STEPS)]
        if not left:
            raise ValueError(f"{size:,} bytes with figures as small as may be: leave some out")
        i = max(left, key=lambda i: len(holders[i]["image/png"]))
        taken[i] += 1
        found = _encoded(smaller(originals[i], *STEPS[taken[i]]))
        holders[i]["image/png"] = min(found, holders[i]["image/png"], key=len)
    return notebook


def _encoded(png):
    return base64.b64encode(png).decode()
