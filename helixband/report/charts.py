"""Charts that do not move, as SVG in the style of the page: lines, dots and squares over two axes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 360, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 14, 10, 42
POINTS = 200
"""A line is drawn with as many points at most."""
DOTS = 1500
"""More dots than these are counted in squares."""
SQUARES = 48

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """A name, and the values at both ends."""

    name: str
    low: float = 0.0
    high: float = 1.0

    def at(self, values: Floats) -> Floats:
        """Where values lie, from 0 to 1; those outside are at the ends."""
        places: Floats = np.clip((values - self.low) / (self.high - self.low), 0, 1)
        return places

    def ticks(self) -> list[float]:
        """About five round values.

        >>> Axis("x").ticks(), Axis("x", -3, 17).ticks()
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 5.0, 10.0, 15.0])
        """
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{k * step:.6g}") for k in range(first, last + 1)]


class Chart:
    """Two axes, and what is drawn over them, the first below the others; `svg` gives all of it."""

    def __init__(self, x: Axis, y: Axis) -> None:
        self._x, self._y = x, y
        self._parts: list[str] = []

    def line(self, x: Floats, y: Floats, kind: str) -> None:
        """Straight lines through points, of a class of the style sheet."""
        if len(x) > POINTS:
            steps = np.hypot(np.diff(self._x.at(x)), np.diff(self._y.at(y)))
            along = np.append(0, np.cumsum(steps))
            kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], POINTS)))
            x, y = x[kept], y[kept]
        points = " ".join(f"{a:.1f} {b:.1f}" for a, b in self._places(x, y))
        self._parts.append(f'<path class="{kind}" d="M{points}"/>')

    def dots(self, x: Floats, y: Floats, kind: str) -> None:
        """A dot for each point; of many points squares, the fuller the more lie there."""
        if len(x) > DOTS:
            self._squares(x, y, kind)
            return
        path = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in self._places(x, y))
        self._parts.append(f'<path class="dot {kind}" d="{path}"/>')

    def _squares(self, x: Floats, y: Floats, kind: str) -> None:
        columns, rows = (
            np.minimum(axis.at(v) * SQUARES, SQUARES - 1) for axis, v in ((self._x, x), (self._y, y))
        )
        places = columns.astype(np.int64) * SQUARES + rows.astype(np.int64)
        counts = np.bincount(places, minlength=SQUARES**2).reshape(SQUARES, SQUARES)
        width, height = (WIDTH - _LEFT - _RIGHT) / SQUARES, (HEIGHT - _TOP - _BOTTOM) / SQUARES
        shades = np.ceil(6 * np.sqrt(counts / counts.max())).astype(int)
        for shade in range(1, 7):
            path = "".join(
                f"M{_LEFT + column * width:.1f} {HEIGHT - _BOTTOM - (row + 1) * height:.1f}"
                f"h{width:.1f}v{height:.1f}h-{width:.1f}z"
                for column, row in np.argwhere(shades == shade)
            )
            if path:
                self._parts.append(f'<path class="square {kind} shade-{shade}" d="{path}"/>')

    def svg(self, label: str) -> str:
        """The chart; `label` says in words what it shows."""
        return (
            f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {HEIGHT}">'
            f"{''.join(self._axes())}{''.join(self._parts)}</svg>"
        )

    def _places(self, x: Floats, y: Floats) -> Iterable[tuple[float, float]]:
        across = _LEFT + self._x.at(x) * (WIDTH - _LEFT - _RIGHT)
        down = HEIGHT - _BOTTOM - self._y.at(y) * (HEIGHT - _TOP - _BOTTOM)
        return zip(across.tolist(), down.tolist(), strict=True)

    def _axes(self) -> list[str]:
        bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
        parts = []
        for tick in self._y.ticks():
            [(_, y)] = self._places(np.array([self._x.low]), np.array([tick]))
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
        for tick in self._x.ticks():
            [(x, _)] = self._places(np.array([tick]), np.array([self._y.low]))
            parts.append(f'<path class="tick" d="M{x:.1f} {bottom}v4"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{number(tick)}</text>')
        parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>')
        middle = (_LEFT + right) / 2
        name = f'<text class="name" x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">'
        parts.append(f"{name}{escape(self._x.name)}</text>")
        y = (_TOP + bottom) / 2
        turned = f'x="11" y="{y}" transform="rotate(-90 11 {y})"'
        parts.append(f'<text class="name" {turned} text-anchor="middle">{escape(self._y.name)}</text>')
        return parts


def number(value: float, digits: int = 4) -> str:
    """A number with so many digits, its sign a minus.

    >>> number(-0.25), number(1234567), number(2e-5)
    ('−0.25', '1.235e+06', '2e-05')
    """
    sign, text = "−" * (value < 0), f"{abs(value):.{digits}g}"
    return sign + text


def limits(values: Sequence[Floats]) -> tuple[float, float]:
    """Both ends of an axis for all of the values but far-off ones, which would leave the others no room."""
    every = np.concatenate(values)
    low, high = np.quantile(every, [0.01, 0.99])
    far = 2 * (high - low) or math.inf
    low, high = max(every.min(), low - far), min(every.max(), high + far)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    margin = 0.03 * (high - low)
    return float(low - margin), float(high + margin)
