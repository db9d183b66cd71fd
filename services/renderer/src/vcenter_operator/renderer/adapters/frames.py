"""What the service and a rendering process say to each other: frames of a length and so many bytes.

Only the service's side is trusted: what it sends is pickled, what it gets is JSON.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from sys import intern
from typing import Any

from vcenter_operator.common.identity import ObjectId
from vcenter_operator.renderer.core.documents import Document
from vcenter_operator.renderer.core.failures import Failure
from vcenter_operator.renderer.core.policy import Policy
from vcenter_operator.renderer.core.rendering import Rendered
from vcenter_operator.renderer.core.templates import Template

LENGTH = struct.Struct(">I")
MAX_FRAME = 256 * 1024 * 1024


@dataclass(frozen=True)
class Bounds:
    """What a rendering process may use."""

    seconds: float = 2.0
    """CPU time for one template and unit."""
    memory: int = 512 * 1024 * 1024
    """Bytes of address space of the process."""


@dataclass(frozen=True)
class Start:
    """The first frame."""

    bounds: Bounds
    policy: Policy


@dataclass(frozen=True)
class Replace:
    """The templates that there are from now on, by path. Not answered."""

    templates: Mapping[str, Template]


@dataclass(frozen=True)
class Batch:
    """Jobs: path and variables. Each is answered with a frame."""

    jobs: tuple[tuple[str, Mapping[str, Any]], ...] = field(repr=False)
    master_password: str = field(repr=False)


def frame(body: bytes) -> bytes:
    """The bytes with their length before them."""
    return LENGTH.pack(len(body)) + body


def order(message: Start | Replace | Batch) -> bytes:
    """A frame for a rendering process."""
    return frame(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))


def answer(rendered: Rendered) -> bytes:
    """A frame from a rendering process."""
    fields = {
        "documents": [[each.object_id, each.manifest, each.warning] for each in rendered.documents],
        "loaded": dict(rendered.loaded),
        "failure": asdict(rendered.failure) if rendered.failure else None,
    }
    return frame(json.dumps(fields, separators=(",", ":")).encode())


def parse_answer(body: bytes) -> Rendered:
    """What `answer` was made from. Raises ValueError, TypeError or KeyError for anything else.

    What is kept of it is kept for every cluster of a region, so that equal texts are one.
    """
    fields = json.loads(body)
    failure = fields["failure"]
    return Rendered(
        tuple(
            Document(ObjectId(*map(intern, named)), manifest, warning)
            for named, manifest, warning in fields["documents"]
        ),
        {intern(path): each and intern(each) for path, each in dict(fields["loaded"]).items()},  # null: not there
        Failure(**failure) if failure else None,
    )
