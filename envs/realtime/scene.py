"""The bodies of a MuJoCo model as meshes, and where they are: all that a view of a run needs of a simulator.

    Scene.of(shown) -> vertices, faces, colours, once;    poses(shown, scene.geoms) -> (g, 7), every picture

Round shapes are bodies of revolution with SIDES sides. Geoms of hidden groups, and those that are fully
transparent, are left out; height fields and signed distance fields are not drawn.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import mujoco
import numpy as np
from jaxtyping import Float, Int

from stillhand.datasets.schema import Array

SIDES = 24
ENDLESS_M = 2.0  # half a side of a plane without end
Mesh = tuple[
    Float[Array, "_ 3"], Int[Array, "_ 3"]
]  # corners, and triples of them: of every mesh other counts
Geom = mujoco.mjtGeom


@dataclass(frozen=True)
class Shown:
    """A simulator as it stands.

    Args:
        model, data: The kinematics are up to date.
        tip_m: What the task moves; paths and plans are drawn from there.
        lines_m: Further segments, such as a line that must be reached.
        hidden: Groups of geoms that are not shown.
    """

    model: mujoco.MjModel
    data: mujoco.MjData
    tip_m: Float[Array, "3"]
    lines_m: Float[Array, "l 2 3"]
    hidden: Sequence[int] = ()


@runtime_checkable
class ShownEnv(Protocol):
    """Environments in MuJoCo whose first episode can be watched; what is played does not change by it."""

    def shown(self) -> Shown:
        """The simulator as it stands."""
        ...


@dataclass(frozen=True)
class Scene:
    """Meshes in their own frames, metres.

    Args:
        geoms: Numbers in the model.
        meshes: Of every geom.
        colours: Red, green, blue, opacity in [0, 1].
        lines_m: Segments that stand still.
        centre_m, extent_m: Of the model, as MuJoCo says.
    """

    geoms: Int[Array, " g"]
    meshes: list[Mesh]
    colours: Float[Array, "g 4"]
    lines_m: Float[Array, "l 2 3"]
    centre_m: Float[Array, "3"]
    extent_m: float

    @classmethod
    def of(cls, shown: Shown) -> "Scene":
        """Of a simulator."""
        model = shown.model
        found = [(i, mesh) for i in range(model.ngeom) if (mesh := _visible(shown, i)) is not None]
        geoms = np.array([i for i, _ in found], dtype=np.int64)
        colours = np.array([_colour(model, i) for i, _ in found], dtype=np.float64).reshape(-1, 4)
        centre_m, extent_m = model.stat.center.copy(), float(model.stat.extent)
        return cls(geoms, [mesh for _, mesh in found], colours, shown.lines_m, centre_m, extent_m)

    def to_bytes(self) -> bytes:
        """As arrays, one after the other; nothing is pickled."""
        file = io.BytesIO()
        arrays: dict[str, Array] = {}
        for i, (vertices, faces) in enumerate(self.meshes):
            arrays |= {f"v{i}": vertices, f"f{i}": faces}
        view = np.array([*self.centre_m, self.extent_m])
        np.savez(file, geoms=self.geoms, colours=self.colours, lines_m=self.lines_m, view=view, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Scene":
        """What `to_bytes` wrote."""
        with np.load(io.BytesIO(content)) as arrays:
            meshes = [(arrays[f"v{i}"], arrays[f"f{i}"]) for i in range(len(arrays["geoms"]))]
            view = arrays["view"]
            rest = arrays["colours"], arrays["lines_m"], view[:3], float(view[3])
            return cls(arrays["geoms"], meshes, *rest)


def poses(data: mujoco.MjData, geoms: Int[Array, " g"]) -> Float[Array, "g 7"]:
    """Where geoms are: x, y, z in metres, and a quaternion (w first)."""
    found = np.empty((len(geoms), 7))
    found[:, :3] = data.geom_xpos[geoms]
    for place, i in enumerate(geoms):
        mujoco.mju_mat2Quat(found[place, 3:], data.geom_xmat[i])
    return found


def _visible(shown: Shown, i: int) -> Mesh | None:
    model = shown.model
    if model.geom_group[i] in shown.hidden or _colour(model, i)[3] == 0:
        return None
    if model.geom_type[i] == Geom.mjGEOM_MESH:
        own = model.geom_dataid[i]
        first, count = model.mesh_vertadr[own], model.mesh_vertnum[own]
        begin, faces = model.mesh_faceadr[own], model.mesh_facenum[own]
        corners = model.mesh_vert[first : first + count].astype(np.float64)
        return corners, model.mesh_face[begin : begin + faces].astype(np.int64)
    return mesh_of(Geom(model.geom_type[i]), model.geom_size[i])


def _colour(model: mujoco.MjModel, i: int) -> Float[Array, "4"]:
    material = model.geom_matid[i]
    colour: Array = model.geom_rgba[i] if material < 0 else model.mat_rgba[material]
    return colour


def mesh_of(kind: mujoco.mjtGeom, size: Float[Array, "3"]) -> Mesh | None:
    """A shape of MuJoCo as triangles, their corners counter-clockwise from outside; None if it has none here.

    Args:
        kind: Of the geom.
        size: Half sides, radius and half height, or radii, as in a model.
    """
    x, y, z = (float(number) for number in size)
    turn = np.linspace(-np.pi / 2, np.pi / 2, SIDES // 2 + 1)
    sphere = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    if kind == Geom.mjGEOM_SPHERE:
        return _revolved(x * sphere)
    if kind == Geom.mjGEOM_ELLIPSOID:
        vertices, faces = _revolved(sphere)
        return vertices * size, faces
    if kind == Geom.mjGEOM_CYLINDER:
        return _revolved(np.array([[0, -y], [x, -y], [x, y], [0, y]]))
    if kind == Geom.mjGEOM_CAPSULE:
        middle = SIDES // 4
        below, above = x * sphere[: middle + 1] - [0, y], x * sphere[middle:] + [0, y]
        return _revolved(np.concatenate([below, above]))
    if kind == Geom.mjGEOM_BOX:
        return _box(np.array([x, y, z]))
    if kind == Geom.mjGEOM_PLANE:
        corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
        return corners * [x or ENDLESS_M, y or ENDLESS_M, 0.0], np.array([[0, 1, 2], [0, 2, 3]])
    return None


def _revolved(profile: Float[Array, "p 2"]) -> Mesh:
    """A closed body from (radius, height) in rising order, first and last on the axis."""
    angle = 2 * np.pi * np.arange(SIDES) / SIDES
    rings = [np.stack([r * np.cos(angle), r * np.sin(angle), np.full(SIDES, z)], 1) for r, z in profile[1:-1]]
    ends = np.array([[0, 0, profile[0, 1]], [0, 0, profile[-1, 1]]])
    here = np.arange(SIDES)
    there = (here + 1) % SIDES
    last = SIDES * (len(rings) - 1)
    bottom, top = SIDES * len(rings), SIDES * len(rings) + 1
    faces = [
        np.stack([np.full(SIDES, bottom), there, here], 1),
        np.stack([np.full(SIDES, top), last + here, last + there], 1),
    ]
    for low in range(0, last, SIDES):
        high = low + SIDES
        faces.append(np.stack([low + here, low + there, high + there], 1))
        faces.append(np.stack([low + here, high + there, high + here], 1))
    return np.concatenate([*rings, ends]), np.concatenate(faces)


def _box(half: Float[Array, "3"]) -> Mesh:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return corners, np.array([face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))])
