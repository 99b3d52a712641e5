"""Curves of growth as one SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _MARGIN = 360, 200, 44


def draw(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """One small chart for each curve, both axes from zero, each point with its value."""
    charts = [_chart(title, points, index) for index, (title, points) in enumerate(curves.items())]
    rows = (len(charts) + 1) // 2
    style = "<style>text{font:11px sans-serif;fill:#333}.t{font-weight:bold}.n{text-anchor:middle}</style>"
    size = f'width="{2 * _WIDTH}" height="{rows * _HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}{"".join(charts)}</svg>\n'


def _chart(title: str, points: Sequence[tuple[float, float]], index: int) -> str:
    left, top = index % 2 * _WIDTH + _MARGIN, index // 2 * _HEIGHT + _MARGIN
    width, height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
    most_x = max(x for x, _ in points) or 1
    most_y = max(y for _, y in points) or 1
    places = [(left + x / most_x * width, top + height - y / most_y * height) for x, y in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#06c"/>'
        f'<text class="n" x="{x:.1f}" y="{y - 6:.1f}">{value:.4g}</text>'
        f'<text class="n" x="{x:.1f}" y="{top + height + 14}">{at:g}</text>'
        for (x, y), (at, value) in zip(places, points, strict=True)
    )
    axes = f'<path d="M{left} {top}v{height}h{width}" fill="none" stroke="#999"/>'
    curve = f'<polyline points="{line}" fill="none" stroke="#06c"/>'
    return f'<text class="t" x="{left}" y="{top - 22}">{escape(title)}</text>{axes}{curve}{dots}'
