"""The sheet a picture is drawn on: title and credit, words and charts by place, and the file.

Places and sizes are inches, counted from the lower left corner; at README width (900 px) the
smallest type has ten pixels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lesniva.conventions import SYNTHETIC_NOTICE
from lesniva.publish.fields import Language
from lesniva.publish.maps.words import translated
from lesniva.storage import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

WIDTH = 9.0
"""Of every page."""

MARGIN = 0.2

RIGHT = WIDTH - MARGIN
"""Where words end."""

DPI = 150

MOST_BYTES = 400_000
"""Of a picture, so that it can be mailed and kept in a repository."""

PALETTES = (256, 64, 32)
"""Numbers of colours that are tried until a picture is small enough."""

INK = "#1a1a1a"
GREY = "#6b6b6b"
WARNING = "#fff1c9"


@contextmanager
def sheet(
    path: Path, height: float, title: str, credit: str, language: Language
) -> Iterator["Figure"]:
    """Give a page with title and credit to draw on; write it when the block ends well."""
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The user's own settings must not change what is published.
    looks = {"font.family": "DejaVu Sans", "font.size": 8.5, "text.color": INK}
    with matplotlib.style.context(["default", looks]):
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        line(figure, MARGIN, height - 0.32, title, size=14, weight="bold")
        synthetic = SYNTHETIC_NOTICE in credit
        frame = {"facecolor": WARNING, "edgecolor": "#c98a00", "boxstyle": "square,pad=0.3"}
        look: dict[str, Any] = {"weight": "bold", "bbox": frame} if synthetic else {}
        line(figure, MARGIN + 0.05 * synthetic, 0.2, translated(credit, language), size=9, **look)
        yield figure
        _save(path, canvas)


def _save(path: Path, canvas: "FigureCanvasAgg") -> None:
    """Write a PNG with a palette, a third of the size of one with full colours.

    Fewer colours are taken only where the file would otherwise be too large to send.
    """
    from PIL import Image

    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    picture = Image.fromarray(pixels[..., :3])
    for colours in PALETTES:
        few = picture.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        encoded = BytesIO()
        few.save(encoded, "PNG", optimize=True, dpi=(DPI, DPI))
        if encoded.tell() <= MOST_BYTES:
            break
    with whole_file(path) as temporary:
        temporary.write_bytes(encoded.getvalue())


def write(figure: "Figure", x: float, y: float, words: str, **look: Any) -> Any:
    """Write words at a place; `y` is their middle."""
    look = {"va": "center", "transform": figure.dpi_scale_trans, **look}
    # A dollar sign in a name is no formula.
    return figure.text(x, y, words, parse_math=False, **look)


def line(figure: "Figure", x: float, y: float, words: str, *, size: float, **look: Any) -> None:
    """Write one line, smaller where it would leave the page, then cut."""
    text = write(figure, x, y, words, size=size, **look)
    while text.get_window_extent().width > (RIGHT - x) * DPI and words:
        if size > 7:
            size -= 0.5
            text.set_fontsize(size)
        else:
            words = words[:-1].rstrip()
            text.set_text(f"{words}…")


def box(
    figure: "Figure", left: float, bottom: float, width: float, height: float, **look: Any
) -> None:
    """Draw a rectangle."""
    from matplotlib.patches import Rectangle

    look["transform"] = figure.dpi_scale_trans
    figure.add_artist(Rectangle((left, bottom), width, height, **look))


def axes(figure: "Figure", left: float, bottom: float, width: float, height: float) -> "Axes":
    """Give axes with quiet lines."""
    wide, high = figure.get_size_inches()
    ax = figure.add_axes((left / wide, bottom / high, width / wide, height / high))
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=7.5, length=2, colors=INK)
    ax.spines[:].set_color(GREY)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
