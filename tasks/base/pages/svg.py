"""The pieces of a chart as inline SVG: scales, axes, ticks.

No library and no script; colours come from the page's style sheet, so that dark mode and print work.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape


@dataclass(frozen=True)
class Frame:
    """A plotting area inside its margins, with linear or logarithmic scales onto it."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 640
    height: float = 320
    left: float = 52
    right: float = 18
    top: float = 24
    bottom: float = 46
    log_x: bool = False

    def px(self, value: float) -> float:
        low, high = (math.log10(edge) if self.log_x else edge for edge in self.x)
        place = math.log10(value) if self.log_x else value
        return round(self.left + (place - low) / (high - low) * (self.width - self.left - self.right), 1)

    def py(self, value: float) -> float:
        low, high = self.y
        return round(
            self.height - self.bottom - (value - low) / (high - low) * (self.height - self.top - self.bottom), 1
        )

    def points(self, pairs: Iterable[tuple[float, float]]) -> str:
        """The pairs as the `points` of a polyline."""
        return " ".join(f"{self.px(x)},{self.py(y)}" for x, y in pairs)

    def axes(self, x_label: str, y_label: str, x_ticks: dict[float, str], y_ticks: dict[float, str]) -> str:
        base = self.height - self.bottom
        parts = []
        for value, written in y_ticks.items():
            y = self.py(value)
            parts.append(f'<line class="grid" x1="{self.left}" x2="{self.width - self.right}" y1="{y}" y2="{y}"/>')
            parts.append(text(self.left - 8, y + 4, written, "tick", "end"))
        for value, written in x_ticks.items():
            x = self.px(value)
            parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{base}" y2="{base + 4}"/>')
            parts.append(text(x, base + 18, written, "tick", "middle"))
        parts.append(f'<line class="axis" x1="{self.left}" x2="{self.width - self.right}" y1="{base}" y2="{base}"/>')
        parts.append(text((self.left + self.width - self.right) / 2, self.height - 8, x_label, "label", "middle"))
        parts.append(text(4, 13, y_label, "label", "start"))
        return "".join(parts)


def text(x: float, y: float, content: str, style: str, anchor: str, rotate: float = 0) -> str:
    turned = f' transform="rotate({rotate} {x:.1f} {y:.1f})"' if rotate else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}"{turned}>{escape(content)}</text>'


def drawing(width: float, height: float, title: str, description: str, parts: Sequence[str]) -> Markup:
    """An SVG that scales with the page; title and description are read out to who cannot see it."""
    label = escape(f"{title}. {description}")
    wide = " wide" if width > 700 and height > 100 else ""
    return Markup(
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}" class="chart{wide}">'
        f"{''.join(parts)}</svg>"
    )


def padded(low: float, high: float, least: float | None = None, most: float | None = None) -> tuple[float, float]:
    """A range around the values with some air, never empty, inside the bounds."""
    air = max((high - low) * 0.12, 0.01 * max(abs(high), 0.05))
    bottom, top = low - air, high + air
    return (max(bottom, least) if least is not None else bottom, min(top, most) if most is not None else top)


def percent_ticks(span: tuple[float, float]) -> dict[float, str]:
    digits = 0 if span[1] - span[0] > 0.04 else 1
    return {value: f"{value:.{digits}%}" for value in steps(span)}


def number_ticks(span: tuple[float, float]) -> dict[float, str]:
    return {value: f"{value:g}" for value in steps(span)}


def steps(span: tuple[float, float], about: int = 5) -> list[float]:
    """Round numbers inside the range, about so many."""
    rough = max((span[1] - span[0]) / about, 1e-9)
    scale = 10 ** math.floor(math.log10(rough))
    step = next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= rough)
    first, last = math.ceil(span[0] / step - 1e-9), math.floor(span[1] / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> dict[float, str]:
    """1, 2 and 5 of each power of ten inside the range; only the powers when there are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 4 else (1,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    return {value: f"{value:g}" for value in values if low <= value <= high}


def short(name: str, most: int) -> str:
    """A label cut to `most` characters."""
    return name if len(name) <= most else name[: most - 1] + "…"
