"""Hypervolume against trials as an SVG file: medians as lines, quartiles as bands. plotly would need a browser."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

_COLOURS = ["#0072b2", "#56b4e9", "#009e73", "#cc79a7", "#888888", "#d55e00"]  # Okabe & Ito: also for colour-blind
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 420, 60, 20, 110, 50


def write_plot(path: Path, curves: dict[str, np.ndarray], volume: float) -> None:
    """Write the SVG file of each sampler's hypervolumes (seeds, trials), with a dashed line at `volume`."""
    trials = max(curve.shape[1] for curve in curves.values())
    top = 20 * np.ceil(1.02 * max(np.quantile(curve, 0.75, axis=0).max() for curve in curves.values()) / 20)

    def points(values: np.ndarray) -> list[str]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * np.arange(1, len(values) + 1) / trials
        y = _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * values / top
        return [f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True)]

    parts = [_axes(points, trials, top), _line(points(np.full(trials, volume)), "#000000", "4 4")]
    label_y = -np.inf
    order = sorted(curves, key=lambda name: -np.median(curves[name], axis=0)[-1])
    for name, colour in zip(order, _COLOURS, strict=False):
        low, median, high = np.quantile(curves[name], (0.25, 0.5, 0.75), axis=0)
        parts.append(f'<polygon points="{" ".join(points(low) + points(high)[::-1])}" fill="{colour}" opacity="0.18"/>')
        parts.append(_line(points(median), colour))
        label_y = max(label_y + 15, float(points(median)[-1].split(",")[1]) + 4)
        parts.append(f'<text x="{_WIDTH - _RIGHT + 8}" y="{label_y:.0f}" fill="{colour}">{name}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
    path.write_text(
        f'{head}font-size="13">\n<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _line(points: list[str], colour: str, dashes: str = "none") -> str:
    style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"'
    return f'<polyline points="{" ".join(points)}" {style}/>'


def _axes(points: Callable[[np.ndarray], list[str]], trials: int, top: float) -> str:
    base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [f'<path d="M{_LEFT},{_TOP}V{base}H{right}" fill="none" stroke="black"/>']
    for value in np.linspace(0, top, 5):
        y = points(np.array([value]))[0].split(",")[1]
        parts.append(f'<text x="{_LEFT - 8}" y="{float(y) + 4:.0f}" text-anchor="end">{value:.0f}</text>')
    for count in range(0, trials + 1, 100):
        x = _LEFT + (right - _LEFT) * count / trials
        parts.append(f'<text x="{x:.0f}" y="{base + 18}" text-anchor="middle">{count}</text>')
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{base + 38}" text-anchor="middle">evaluated trials</text>')
    turned = f'transform="translate(16,{(_TOP + base) / 2}) rotate(-90)" text-anchor="middle"'
    parts.append(f"<text {turned}>hypervolume, TOPS/W</text>")
    return "\n".join(parts)
