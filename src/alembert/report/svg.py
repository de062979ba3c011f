"""One style for all plots: inline SVG in the page's colours, which follow dark and light mode."""

import html
import io
import itertools
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a model card is written where there is no matplotlib, too
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# placeholders that matplotlib writes; `_svg` replaces them by the page's CSS variables
INK, MUTED, RULE, TEACHER, STUDENT, PAPER = (f"#0{n}0e0f" for n in range(1, 7))
DEPLOYED = "#070e0f"
LINES = tuple(f"#a{n}0e0f" for n in range(1, 7))
VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", TEACHER: "teacher", STUDENT: "student"}
VARIABLES |= {PAPER: "paper", DEPLOYED: "deployed"} | {
    line: f"line{n}" for n, line in enumerate(LINES, start=1)
}
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label may hold a dollar
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "figure.facecolor": "none",
    "text.color": INK,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.labelcolor": INK,
    "legend.columnspacing": 1,
    "legend.handlelength": 1.2,
    "lines.linewidth": 1.6,
}


class Plot:
    """One figure with one axes; `svg` is set at the end of the `drawn` block."""

    svg: str

    def __init__(self, figure: "Figure") -> None:
        self.figure = figure
        self.tips: list[str] = []

    def tip(self, artist: "Artist", text: str) -> None:
        """Have a browser show a text where the pointer rests on what was drawn."""
        artist.set_gid(f"tip{len(self.tips)}")
        self.tips.append(text)

    def settle(self) -> None:
        """Lay the figure out as it will be drawn, so that places on it are known."""
        self.figure.draw_without_rendering()


@contextmanager
def drawn(alt: str, width: float = 4.4, height: float = 2.9) -> Iterator[tuple["Axes", Plot]]:
    """Yield axes to draw on; sizes are in inches, `alt` describes the figure in words."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE), warnings.catch_warnings():
        # the reader's browser draws the text, with fonts that matplotlib may lack
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        figure = Figure(figsize=(width, height), layout="constrained")
        plot = Plot(figure)
        yield figure.add_subplot(), plot
        stream = io.StringIO()
        with rc_context({"svg.hashsalt": alt}):  # makes the page reproducible
            figure.savefig(stream, format="svg", metadata=dict.fromkeys(_FIELDS))
    plot.svg = _svg(stream.getvalue(), alt, plot.tips)


_FIELDS = ("Date", "Creator", "Format", "Type")


def _svg(text: str, alt: str, tips: Sequence[str]) -> str:
    """Return matplotlib's SVG without prologue and unused ids, in the page's fonts and colours."""
    titles = (f"<title>{html.escape(tip)}</title>" for tip in tips)
    for number, title in enumerate(titles):
        text = text.replace(f'<g id="tip{number}">', f"<g>{title}", 1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    used = set(re.findall(r"#([\w-]+)[\")]", text))
    text = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", text)
    text = re.sub(r'width="([\d.]+)pt" height="[\d.]+pt"', _fitted, text, count=1)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, name in VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"\n\s*", "\n", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1).strip()


def _fitted(size: re.Match[str]) -> str:
    """Return widths in which letters can be read: from 0.9 to 1.5 pixels a point."""
    points = float(size[1])
    widths = f"flex-basis: {points * 1.1:.0f}px; min-width: {points * 0.9:.0f}px"
    return f'style="{widths}; max-width: {points * 1.5:.0f}px"'


def numbered(page: str) -> str:
    """Return the page with ids made unique to each picture, since equal pictures share them."""
    count = itertools.count(1)

    def renamed(picture: re.Match[str]) -> str:
        return re.sub(r'( id="|"#|\(#)(?=\w)', rf"\g<1>f{next(count)}-", picture[0])

    return re.sub(r"<svg.*?</svg>", renamed, page, flags=re.S)
