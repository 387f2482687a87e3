"""
Bought answers ⇄ the bytes that several gateways share (pure).

    4 bytes   `MGA2`: this layout
    2 bytes   the normalization version, big-endian
    16 bytes  the beginning of blake3 over version, key and payload
    the rest  the payload: JSON, each mask as COCO's compressed text

The key is part of the checksum: bytes that came under another key than they were written for are no answer, whoever
mixed them up. The checksum finds accidents; it is no protection from somebody who may write to the store.

What can be read in it: masks, scores, where the answer was bought and what its provider was owed, and the labels,
which are the words of a text prompt. Neither the tenant, nor the picture, nor its address, nor anything else that was
asked.
"""

from __future__ import annotations

import orjson
from blake3 import blake3
from pydantic import BaseModel, ConfigDict

from gateway.cache.key import NORMALIZATION_VERSION
from gateway.cache.store import Kept
from gateway.request import Origin
from providers.contract import Instance, Mask, Money, Segmentation

#: Larger answers are not shared: they would cost others more time than they save.
LARGEST_BYTES = 8 * 2**20

MAGIC = b"MGA2"
VERSION_BYTES = 2
CHECKSUM_BYTES = 16
HEADER_BYTES = len(MAGIC) + VERSION_BYTES + CHECKSUM_BYTES


class _Payload(BaseModel):
    """The payload's JSON. Labels stand once each, since a hundred instances mostly share one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    size: tuple[int, int] | None
    """`(height, width)` in pixels, of every mask; None where there is none."""
    instances: tuple[tuple[str, float | None, int | None], ...]
    """Counts, score, and the place of its label in `labels`."""
    labels: tuple[str, ...]
    warnings: tuple[str, ...]
    origin: tuple[str, str, str, str, str, int, float]
    """Deployment, provider, model, family, region, cost in micro-dollars, seconds of work."""


def to_bytes(key: str, kept: Kept) -> bytes | None:
    """Write an answer; None where it is too large to be shared, or holds what cannot be written."""
    instances, origin = kept.segmentation.instances, kept.origin
    sizes = {instance.mask.size for instance in instances}
    if len(sizes) > 1:
        return None
    labels = list(dict.fromkeys(instance.label for instance in instances if instance.label is not None))
    place: dict[str | None, int | None] = {None: None, **{label: index for index, label in enumerate(labels)}}
    document = {
        "size": next(iter(sizes), None),
        "instances": [(each.mask.counts, each.score, place[each.label]) for each in instances],
        "labels": labels,
        "warnings": kept.segmentation.warnings,
        "origin": (
            origin.deployment,
            origin.provider,
            origin.model,
            origin.family,
            origin.region,
            origin.cost.microusd,
            origin.seconds,
        ),
    }
    try:
        payload = orjson.dumps(document)
    except orjson.JSONEncodeError:  # a lone surrogate in a provider's word, which UTF-8 has no bytes for
        return None
    data = b"".join((MAGIC, _version(), _checksum(key, payload), payload))
    return data if len(data) <= LARGEST_BYTES else None


def from_bytes(key: str, data: bytes, *, size: tuple[int, int]) -> Kept:
    """
    Read an answer.

    Args:
        key: under which *data* was found.
        data: what `to_bytes` wrote, or anything at all.
        size: `(height, width)` in pixels, of the picture in question.

    Raises:
        ValueError: it is no answer to this question that this version wrote.
    """
    if not HEADER_BYTES <= len(data) <= LARGEST_BYTES or data[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{len(data)} bytes that are no kept answer")
    version_end = len(MAGIC) + VERSION_BYTES
    if data[len(MAGIC) : version_end] != _version():
        raise ValueError("an answer of another normalization version")
    payload = data[HEADER_BYTES:]
    if data[version_end:HEADER_BYTES] != _checksum(key, payload):
        raise ValueError("the checksum is another one: cut, changed, or written under another key")
    written = _Payload.model_validate_json(payload)
    if written.size != (size if written.instances else None):
        raise ValueError(f"masks of the size {written.size}, the picture is {size}")
    return Kept(_segmentation(written, size), _origin(written))


def _origin(written: _Payload) -> Origin:
    *_, cost, seconds = written.origin
    return Origin(*written.origin[:5], Money(cost), seconds)


def _segmentation(written: _Payload, size: tuple[int, int]) -> Segmentation:
    """
    Return the instances with their masks.

    Raises:
        ValueError: counts that do not fill the picture, or a label that is not there.
    """
    labels: dict[int | None, str | None] = {None: None, **dict(enumerate(written.labels))}
    instances = []
    for counts, score, place in written.instances:
        if place not in labels:
            raise ValueError(f"label {place} of {len(written.labels)}")
        instances.append(Instance(Mask.from_counts(size, counts), score, labels[place]))
    return Segmentation(tuple(instances), written.warnings)


def _version() -> bytes:
    return NORMALIZATION_VERSION.to_bytes(VERSION_BYTES, "big")


def _checksum(key: str, payload: bytes) -> bytes:
    hasher = blake3(_version())
    hasher.update(key.encode() + b"\0")
    hasher.update(payload)
    return hasher.digest(length=CHECKSUM_BYTES)
