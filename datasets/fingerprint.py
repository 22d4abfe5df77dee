"""What the data are, as one hash: equal content, equal fingerprint, whatever the chunks on disk.

    d_0     = sha256("key:dtype:shape")
    d_{i+1} = sha256(d_i || bytes of episode i)          one chain per array
    fingerprint = sha256(JSON of the spec and of every chain's last link)

A chain grows with each appended episode without reading the earlier ones, so a store of any size knows
its fingerprint at once, and whoever reads an array can prove that it is the array that was written.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from stillhand.datasets.schema import Array, Spec, spec_to_json


def first_link(key: str, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> str:
    """The chain of an array without episodes; `shape` is that of one time step."""
    return sha256(f"{key}:{dtype.name}:{shape}".encode()).hexdigest()


def extend(link: str, rows: Shaped[Array, "n ..."], ends: Int64[Array, " episodes"]) -> str:
    """The chain after further episodes.

    Args:
        link: The chain so far.
        rows: The episodes' time steps, one episode after the other.
        ends: Exclusive end of each episode in `rows`; the last one is n.
    """
    # the hash of an image and of a number must not depend on the machine's byte order
    data = np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("<"))
    start = 0
    for end in ends.tolist():
        digest = sha256(bytes.fromhex(link))
        digest.update(data[start:end].data)
        link, start = digest.hexdigest(), end
    return link


# the chain of an empty store's labels: one row (end, mode, seed) per episode
FIRST_LABELS_LINK = first_link("labels", np.dtype(np.int64), (3,))


def labels_link(
    link: str,
    ends: Int64[Array, " episodes"],
    modes: Int64[Array, " episodes"],
    seeds: Int64[Array, " episodes"],
) -> str:
    """The chain of the episodes' ends, modes and seeds, one link per episode."""
    labels = np.stack([ends, modes, seeds], axis=1)
    return extend(link, labels, np.arange(1, len(ends) + 1))


def fingerprint(spec: Spec, links: Mapping[str, str]) -> str:
    """One hash (64 hexadecimal digits) for the whole content."""
    content = {"spec": spec_to_json(spec), "links": dict(links)}
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
