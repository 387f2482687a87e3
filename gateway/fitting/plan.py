"""
A picture and a model's limits → what has to be done with the picture (pure).

In order: the longer side is brought down to what the model takes. A shorter side that is too short is brought up: by
blocks of pixels where both sides then still fit, since every mask comes back from blocks exactly; else by adding pixels
at the right and the bottom, which is exact as well. Then it is written in a format that the model takes, in as many
bytes as it takes; see `encodings`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.fitting.geometry import Geometry, Sides
from providers.contract import Limits, Picture

#: Shortest side, in pixels, that scaling down may leave; the gateway takes no smaller picture from a caller either.
LEAST_SIDE = 8

PNG, JPEG, WEBP = "image/png", "image/jpeg", "image/webp"

#: Longest side, in pixels, that a format can hold.
#: Source: RFC 9649 (WebP, 14 bits a side), ITU-T T.81 (JPEG, 16 bits), the PNG library's own default; read 2026-11.
LONGEST = {PNG: 1_000_000, JPEG: 65_535, WEBP: 16_383}

#: Beyond so many pixels a thorough PNG and a WebP without loss are not tried: they would take longer than a decoder
#: process may. Measured on 2026-12-01: 12 megapixels of a photograph take 2.5 s and 8 s.
_SLOW_PIXELS = {PNG: 6_000_000, WEBP: 2_500_000}

#: Qualities that a lossy format is written in, best first.
QUALITIES = (95, 90, 82, 75)


class CannotFit(Exception):
    """No form of the picture is within the limits. The message says which limit, in a clause about the picture."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A way of writing a picture."""

    media_type: str
    quality: int | None = None
    """1 to 100; None is without loss."""
    thorough: bool = False
    """Whether it takes its time for fewer bytes, without loss."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be done with a picture so that a model takes it. Equal limits make equal plans."""

    geometry: Geometry
    min_side: int
    """Shortest side in pixels that the model takes; 1 where it names none."""
    max_bytes: int | None
    media_types: frozenset[str]
    """What the model takes and the gateway can write."""


def outside(picture: Picture, limits: Limits) -> str | None:
    """Say which limit the picture exceeds; None where it can go as it is."""
    size = f"{picture.width} x {picture.height}"
    if limits.min_side is not None and min(picture.width, picture.height) < limits.min_side:
        return f"the picture is {size}, it takes sides of at least {limits.min_side} pixels"
    if limits.max_side is not None and max(picture.width, picture.height) > limits.max_side:
        return f"the picture is {size}, it takes sides of at most {limits.max_side} pixels"
    if limits.max_bytes is not None and len(picture.data) > limits.max_bytes:
        return f"the picture has {len(picture.data)} bytes, it takes at most {limits.max_bytes}"
    if picture.media_type not in limits.media_types:
        return f"the picture is {picture.media_type}, it takes {', '.join(sorted(limits.media_types))}"
    return None


def plan_for(picture: Picture, limits: Limits) -> Plan:
    """
    Return what has to be done with a picture that is outside of *limits*.

    Raises:
        CannotFit: nothing would bring it within them.
    """
    media_types = limits.media_types & frozenset(LONGEST)
    if not media_types:
        raise CannotFit(f"it takes {', '.join(sorted(limits.media_types))}, none of which can be written here")
    min_side = limits.min_side or 1
    geometry = _geometry((picture.width, picture.height), min_side, limits.max_side)
    return Plan(geometry, min_side, limits.max_bytes, media_types)


def smaller(plan: Plan, *, size: int) -> Geometry | None:
    """
    Return a smaller geometry for a picture that was still too many bytes.

    Args:
        plan: what was done.
        size: how many bytes that brought, written as small as can be.

    Returns:
        None where it is as small as it can be.
    """
    before = plan.geometry
    if before.blocks > 1:
        return _padded(before.source, before.source, plan.min_side)
    share = min(0.9, 0.97 * ((plan.max_bytes or size) / size) ** 0.5)
    longest = int(max(before.content) * share)
    content = _shrunk(before.source, longest)
    if min(content) < LEAST_SIDE:
        return None
    return _padded(before.source, content, plan.min_side)


def encodings(media_type: str, plan: Plan, *, lossless: bool) -> list[Encoding]:
    """
    Return the ways of writing a picture, in the order in which they are tried until one has few enough bytes.

    What was stored without loss stays so while it fits; what was stored with loss stays in its format, and where that
    is not taken it is written without loss first, so as not to lose twice.

    Args:
        media_type: of the file as it came.
        plan: says which formats are taken, and how large the picture is.
        lossless: whether the file as it came was without loss.
    """
    exact = [Encoding(PNG), Encoding(PNG, thorough=True), Encoding(WEBP)]
    if media_type == WEBP and lossless:
        exact = [Encoding(WEBP), Encoding(PNG), Encoding(PNG, thorough=True)]
    pixels = plan.geometry.canvas[0] * plan.geometry.canvas[1]
    exact = [each for each in exact if pixels <= _SLOW_PIXELS[each.media_type] or each == Encoding(PNG)] or exact
    own = [Encoding(media_type, quality) for quality in QUALITIES if not lossless]
    lossy = [Encoding(kind, quality) for kind in (JPEG, WEBP) for quality in QUALITIES]
    order = own if media_type in plan.media_types else []
    order = list(dict.fromkeys([*(order or exact), *lossy]))
    longest = max(plan.geometry.canvas)
    able = [each for each in order if each.media_type in plan.media_types and longest <= LONGEST[each.media_type]]
    return able or [each for each in exact if each.media_type in plan.media_types]


def _geometry(source: Sides, min_side: int, max_side: int | None) -> Geometry:
    longest, shortest = max(source), min(source)
    if max_side is not None and longest > max_side:
        content = _shrunk(source, max_side)
        if min(content) < LEAST_SIDE:
            raise CannotFit(
                f"the picture is {source[0]} x {source[1]}; scaled down to the {max_side} pixels that it takes, the "
                f"shorter side would have {min(content)}, and at least {LEAST_SIDE} are needed"
            )
        return _within(_padded(source, content, min_side), max_side)
    blocks = -(-min_side // shortest)
    if max_side is None or longest * blocks <= max_side:
        content = (source[0] * blocks, source[1] * blocks)
        return Geometry(source, content, content)
    return _within(_padded(source, source, min_side), max_side)


def _within(geometry: Geometry, max_side: int) -> Geometry:
    """Return it, if the model's limits agree with each other."""
    if max(geometry.canvas) > max_side:
        raise CannotFit(
            f"its limits leave no picture: sides of at most {max_side} pixels, and at least {min(geometry.canvas)}"
        )
    return geometry


def _shrunk(source: Sides, longest: int) -> Sides:
    """Return the sides once the longer one has *longest* pixels; the other is rounded, and may come to 0."""
    most = max(source)
    width, height = ((2 * side * longest + most) // (2 * most) for side in source)
    return width, height


def _padded(source: Sides, content: Sides, min_side: int) -> Geometry:
    return Geometry(source, content, (max(content[0], min_side), max(content[1], min_side)))
