"""The drawing surface of every figure: one style, one rendering to SVG and PNG.

A figure is painted once with the colours INK and PAPER for text, axes and background. The PNG
keeps them, on solid white. In the SVG they become currentColor and var(--paper), so that an
inlined figure follows the page's light or dark theme.
"""

from __future__ import annotations

import html
import io
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tokkit.report.blocks import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

INK = "#1b1c1d"
PAPER = "#fefefe"
# Narrow, so that a figure is read on a phone without scrolling: 9.5 points become 8.4 pixels.
WIDTH_INCHES = 5.6
PNG_DOTS_PER_INCH = 220
PANEL_COLUMNS = 2
PERCENT_TICKS = (0, 25, 50, 75, 100)
_TITLE_CHARACTERS_A_LINE = 58
_TITLE_LINE_INCHES = 0.23
_SYSTEM_FONTS = "system-ui, -apple-system, &quot;Segoe UI&quot;, Roboto, sans-serif"

# Okabe and Ito (2008), "Color Universal Design": told apart under all common colour blindness.
VERMILLION, ORANGE, BLUE, GREEN, PURPLE, SKY, GREY = (
    "#D55E00",
    "#E69F00",
    "#0072B2",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#8A8A8A",
)

# DejaVu Sans comes with matplotlib and is wider than the system fonts that replace it in the
# SVG, so that a label which fits here fits in the browser too.
_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 9.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "figure.constrained_layout.h_pad": 0.07,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
}


def draw(
    name: str,
    message: str,
    caption: str,
    paint: Callable[[MatplotlibFigure], None],
    *,
    height_inches: float,
) -> Figure:
    """Paint a figure and render it; `name` is its file name's stem, `message` its title in words.

    The same painting gives the same bytes: no date, and identifiers salted with `name`.
    """
    import matplotlib
    from matplotlib.figure import Figure as MatplotlibFigure

    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        # A foreign label may hold letters that the font lacks; they show as boxes in the PNG only.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = MatplotlibFigure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        paint(figure)
        inline = _save(figure, "svg").decode("utf-8")
        lines = textwrap.wrap(message, _TITLE_CHARACTERS_A_LINE)
        figure.set_size_inches(WIDTH_INCHES, height_inches + _TITLE_LINE_INCHES * len(lines))
        figure.suptitle(
            "\n".join(lines), x=0.012, ha="left", fontsize=11, fontweight="bold", color=INK
        )
        alone = _save(figure, "svg").decode("utf-8")
        figure.set_layout_engine("none")
        png = _save(figure, "png")
    return Figure(name, message, caption, _inline(inline, message), _alone(alone, message), png)


def _save(figure: MatplotlibFigure, form: str) -> bytes:
    buffer = io.BytesIO()
    if form == "png":
        figure.savefig(
            buffer,
            format="png",
            dpi=PNG_DOTS_PER_INCH,
            facecolor="white",
            metadata={"Software": None},
        )
    else:
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return buffer.getvalue()


def _inline(svg: str, message: str) -> str:
    """The <svg> element alone, sized by the page, themed, with an accessible name."""
    body = _themed(svg[svg.index("<svg") :])
    opening, _, rest = body.partition(">")
    view = re.search(r'viewBox="[^"]*"', opening)
    label = html.escape(message, quote=True)
    start = f'<svg {view.group() if view else ""} role="img" aria-label="{label}"'
    return f"{start}><title>{label}</title>{rest}".replace('xlink:href="', 'href="').strip()


def _alone(svg: str, message: str) -> bytes:
    """A whole SVG file that follows the reader's light or dark setting."""
    head, opening, rest = re.split(r"(<svg[^>]*>)", _themed(svg), maxsplit=1)
    theme = (
        f"<style>svg{{color:{INK};--paper:#fff}}@media (prefers-color-scheme: dark)"
        "{svg{color:#e6e4df;--paper:#16181b}}</style>"
    )
    return f"{head}{opening}<title>{html.escape(message)}</title>{theme}{rest}".encode()


def _themed(svg: str) -> str:
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return re.sub(r'style="[^"]*"', lambda match: _themed_style(match.group()), svg)


def _themed_style(style: str) -> str:
    style = style.replace(INK, "currentColor").replace(PAPER, "var(--paper)")
    return re.sub(r"'DejaVu Sans'(, sans-serif)?", _SYSTEM_FONTS, style)


def panels(
    figure: MatplotlibFigure, count: int, columns: int = PANEL_COLUMNS, **shared: Any
) -> tuple[list[Axes], list[Axes]]:
    """`count` panels in rows of `columns`, and the spare ones behind them, left empty."""
    columns = min(count, columns)
    grid = figure.subplots(math.ceil(count / columns), columns, squeeze=False, **shared)
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.set_axis_off()
    return axes[:count], axes[count:]


def is_bottom_row(place: int, count: int, columns: int = PANEL_COLUMNS) -> bool:
    """Whether no panel stands below the one at `place`."""
    return place + columns >= count


def legend(figure: MatplotlibFigure, spare: Sequence[Axes], handles: Sequence[Any]) -> None:
    """Explain the marks in a spare panel if there is one, else below the panels."""
    if spare:
        spare[0].legend(handles=handles, loc="center left", handlelength=3)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, handlelength=3)
