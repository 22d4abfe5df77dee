"""The gate and the experts of a mixture, drawn over the table.

The gate is a function of position, pi_k(x): the first map shows its most probable expert everywhere, paler
where the gate is undecided; one map per expert shows pi_k alone. On both stand the experts' planned mean
paths. A mixture that has learnt the task shows several experts wherever several ways lead on; a dead
expert has no share.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stillhand.datasets.schema import Array
from stillhand.report.maps import Arena
from stillhand.report.style import INK, MUTED, Colour, Picture, colours, style, to_svg

VISIBLE_GATE = 0.02  # experts less probable than this at a position are not drawn there
ARROWS_APART_M = 0.055
FANS_APART_M = 0.085  # on the map that shows all experts at once


@dataclass(frozen=True)
class Mixture:
    """A mixture controller probed at p positions at rest.

    Args:
        position: (p, 2) metres, on a grid.
        gate: (p, e) probability of each expert; rows sum to 1.
        mean_path: (p, e, h + 1, 2) metres, the planned path of every expert, starting at the position.
        usage: (e,) share of the chunks that each expert planned in the rollouts; sums to 1.
    """

    position: Float[Array, "p 2"]
    gate: Float[Array, "p e"]
    mean_path: Float[Array, "p e h_plus_1 2"]
    usage: Float[Array, " e"]

    def __post_init__(self) -> None:
        p, e = self.gate.shape
        shapes = {"position": (p, 2), "mean_path": (p, e, *self.mean_path.shape[2:3], 2), "usage": (e,)}
        for name, expected in shapes.items():
            array = getattr(self, name)
            if array.shape != expected:
                raise ValueError(f"{name}: shape {array.shape}, expected {expected} beside gate {(p, e)}")
        for name in ("position", "gate", "mean_path", "usage"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name}: contains NaN or infinity")
        for name, total in (("gate", self.gate.sum(1)), ("usage", self.usage.sum(keepdims=True))):
            if not np.allclose(total, 1, atol=1e-3) or getattr(self, name).min() < 0:
                raise ValueError(f"{name}: shares must be >= 0 and sum to 1, got a sum of {total.ravel()[0]}")


def mixture_map(mixture: Mixture, arena: Arena, title: str) -> Picture:
    """All experts on one map, then one map per expert with its gate probability and its share."""
    e = mixture.gate.shape[1]
    columns = min(8, e)
    rows = -(-e // columns)
    palette = colours(e)
    with style():
        figure = Figure(figsize=(9.2, 3.5 + 1.45 * rows), layout="constrained")
        top, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.5, 1.45 * rows]).ravel()
        overview, bars = top.subplots(1, 2, width_ratios=[1, 1.5])
        _overview(overview, mixture, arena, palette)
        _usage(bars, mixture, palette)
        grid = below.subplots(rows, columns, squeeze=False).ravel()
        for expert, axes in enumerate(grid[:e]):
            _expert(axes, mixture, arena, expert, palette[expert])
        for axes in grid[e:]:
            axes.set_axis_off()
    usage = ", ".join(f"{share:.1%}" for share in mixture.usage)
    return to_svg(figure, f"Gate and experts of {title}; share of chunks per expert: {usage}")


def _overview(axes: Axes, mixture: Mixture, arena: Arena, palette: Sequence[Colour]) -> None:
    arena.draw(axes)
    arena.rule(axes)
    best = mixture.gate.argmax(1)
    inks = np.array([to_rgb(palette[k]) for k in best])
    strength = mixture.gate.max(1)[:, None]
    axes.add_collection(_tiles(mixture.position, 1 - strength * 0.75 * (1 - inks)))
    for expert, colour in enumerate(palette):
        _arrows(axes, mixture, expert, colour, FANS_APART_M, thickness=2.2)
    axes.set_title("most probable expert\n", loc="left", fontweight="bold", pad=2)
    axes.text(
        0, 1.015, "pale: gate undecided; line width: gate", transform=axes.transAxes, color=MUTED, fontsize=7
    )


def _expert(axes: Axes, mixture: Mixture, arena: Arena, expert: int, colour: Colour) -> None:
    arena.draw(axes)
    strength = mixture.gate[:, [expert]]
    axes.add_collection(_tiles(mixture.position, 1 - strength * (1 - np.array(to_rgb(colour)))))
    _arrows(axes, mixture, expert, INK, ARROWS_APART_M, thickness=1.1)
    share = mixture.usage[expert]
    axes.set_title(f"{expert}: {share:.1%}", fontsize=7.5, pad=2, color=INK if share > 0 else "#a3191f")


def _usage(axes: Axes, mixture: Mixture, palette: Sequence[Colour]) -> None:
    e = len(mixture.usage)
    axes.bar(range(e), 100 * mixture.usage, color=palette, width=0.78)
    axes.axhline(100 / e, color=MUTED, lw=0.8, ls=(0, (4, 2)))
    axes.text(e - 0.5, 100 / e, " even", color=MUTED, va="center", fontsize=7)
    axes.set_xticks(range(e))
    axes.set_xlim(-0.6, e - 0.4)
    axes.set(xlabel="expert", ylabel="share of planned chunks (%)")
    axes.set_title("who planned in the rollouts", loc="left", fontweight="bold")


def _tiles(position: Float[Array, "p 2"], faces: Float[Array, "p 3"]) -> PatchCollection:
    """One square per probed position, as wide as the grid is fine."""
    width, height = (float(np.diff(np.unique(axis)).min(initial=np.inf)) for axis in position.T.round(6))
    side = min(width, height, 0.05)
    tiles = [Rectangle((x - side / 2, y - side / 2), side, side) for x, y in position]
    return PatchCollection(tiles, facecolors=faces, edgecolors=faces, lw=0.2, zorder=0, rasterized=True)


def _arrows(
    axes: Axes, mixture: Mixture, expert: int, colour: object, apart_m: float, thickness: float
) -> None:
    """Mean paths from a thinned set of positions, width by gate, a dot where the plan ends."""
    chosen = sparse(mixture.position, apart_m)
    chosen = chosen[mixture.gate[chosen, expert] >= VISIBLE_GATE]
    paths = mixture.mean_path[chosen, expert]
    weight = mixture.gate[chosen, expert]
    widths = 0.25 + thickness * weight
    axes.add_collection(
        LineCollection(list(paths), colors=[colour], lw=widths, capstyle="round", zorder=3, rasterized=True)
    )
    axes.scatter(
        paths[:, -1, 0], paths[:, -1, 1], s=0.4 + 4 * weight, color=colour, lw=0, zorder=3, rasterized=True
    )


def sparse(position: Float[Array, "p 2"], apart_m: float) -> Int[Array, " q"]:
    """Indices of positions that lie at least `apart_m` from one another, taken greedily in order."""
    kept: list[int] = []
    for i, point in enumerate(position):
        if not kept or np.linalg.norm(position[kept] - point, axis=1).min() >= apart_m - 1e-9:
            kept.append(i)
    return np.array(kept, dtype=int)
