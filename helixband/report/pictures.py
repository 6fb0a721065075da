"""The pictures of examples, as SVG: a table of cells, each a shade with perhaps a text in it."""

from collections.abc import Mapping
from html import escape

import numpy as np

from helixband.results.pictures import Picture

SHADES = 6
WRITTEN, PLAIN, ROOM = (12, 18), 9.0, 380.0
"""Units of a cell with a text; of one without, at most; of all of these across."""
LETTER = 7.0
"""The width of a letter."""


def pictures_section(pictures: Mapping[str, Picture]) -> str:
    """All pictures, each under its name; nothing where there is none."""
    if not pictures:
        return ""
    wide = [_figure(name, each) for name, each in pictures.items() if each.texts is not None]
    square = [_figure(name, each) for name, each in pictures.items() if each.texts is None]
    grid = f'<div class="grid-plots charts">\n{"".join(square)}</div>\n' if square else ""
    return f"""<section aria-labelledby="pictures"><h2 id="pictures">Examples</h2>
<p class="note">Pictures that the model makes of the first examples of the test set. Blue is a value above 0,
orange one below. Of restored tokens, blue ones are right and orange ones wrong.</p>
{"".join(wide)}{grid}</section>
"""


def _figure(name: str, picture: Picture) -> str:
    caption = f"<figcaption><h3>{escape(name)}</h3></figcaption>"
    return f'<figure>{caption}<div class="box" tabindex="0">{_svg(name, picture)}</div></figure>\n'


def _svg(name: str, picture: Picture) -> str:
    rows, columns = picture.values.shape
    wide = high = min(PLAIN, ROOM / columns)
    if picture.texts is not None:
        wide, high = WRITTEN
        wide = max(wide, LETTER * max(map(len, picture.texts.flat)) + 4)
    named = high >= PLAIN
    left = LETTER * max(map(len, picture.rows), default=0) + 8 if named else 2.0
    width, height = left + columns * wide + 2, rows * high + 4
    parts = [_cells(picture, left, wide, high)]
    if named:
        parts += [
            f'<text x="{left - 6:.1f}" y="{(k + 0.5) * high + 6:.1f}" text-anchor="end">{escape(text)}</text>'
            for k, text in enumerate(picture.rows)
        ]
    if picture.texts is not None:
        parts += [
            f'<text class="letter" x="{left + (c + 0.5) * wide:.1f}" y="{(r + 0.5) * high + 6:.1f}">'
            f"{escape(str(picture.texts[r, c]))}</text>"
            for r, c in np.argwhere(~np.isnan(picture.values)).tolist()
            if picture.texts[r, c]
        ]
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    label = f"{name}: a table of {rows} by {columns} cells"
    return f'<svg class="cells" role="img" aria-label="{escape(label)}" {size}>{"".join(parts)}</svg>'


def _cells(picture: Picture, left: float, wide: float, high: float) -> str:
    """The shaded cells: a path for each shade, in which cells side by side are one."""
    levels = np.ceil(np.nan_to_num(np.clip(np.abs(picture.values), 0, 1)) * SHADES).astype(int)
    levels *= np.sign(np.nan_to_num(picture.values)).astype(int)
    parts = []
    for level in np.unique(levels[levels != 0]).tolist():
        is_there = np.pad(levels == level, ((0, 0), (1, 1))).astype(int)
        changes = np.diff(is_there, axis=1)
        begins, ends = np.argwhere(changes == 1), np.argwhere(changes == -1)
        path = "".join(
            f"M{left + first * wide:.1f} {row * high + 2:.1f}h{(last - first) * wide:.1f}v{high:.1f}"
            f"h-{(last - first) * wide:.1f}z"
            for (row, first), (_, last) in zip(begins.tolist(), ends.tolist(), strict=True)
        )
        kind = "below" if level < 0 else "above"
        parts.append(f'<path class="{kind} shade-{abs(level)}" d="{path}"/>')
    return "".join(parts)
