"""From the masks that a run names to instances: side by side, each once, at the picture's size."""

from __future__ import annotations

import asyncio
from functools import partial
from urllib.parse import unquote_to_bytes

import pybase64

from providers.contract import (
    Deadline,
    FetchError,
    Instance,
    Means,
    ProviderFailed,
    Question,
    Segmentation,
    TextPrompt,
)
from providers.decoding import decoded
from providers.masks import MaskReading, UnreadableMask, read_mask
from providers.runflow.output import MaskFile, RunOutput

#: Masks on their way at once, of one run.
_SIDE_BY_SIDE = 8

_MOST_MASK_BYTES = 32 * 1024 * 1024


class MaskNotBrought(ProviderFailed):
    """A mask's address gave no file: it may have expired, and may be signed anew."""

    may_have_charged = True


async def collect(output: RunOutput, question: Question, *, means: Means, deadline: Deadline) -> Segmentation:
    """
    Bring and read every mask that *question* wants.

    Raises:
        MaskNotBrought: an address gave no file.
        ProviderFailed: a file is no mask. Either way the run was billed.
    """
    wanted = [file for file in output.files if not _scored_too_low(file, question.min_score)]
    places = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def reading_of(file: MaskFile) -> MaskReading:
        async with places:
            data = await _bring(file.url, means=means, deadline=deadline)
            return await _read(data, question.picture.size, means=means, deadline=deadline)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(reading_of(file)) for file in wanted]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    label = question.prompt.text if isinstance(question.prompt, TextPrompt) else None
    readings = [task.result() for task in tasks]
    instances = tuple(
        Instance(reading.mask, file.score, label)
        for file, reading in zip(wanted, readings, strict=True)
        if reading.mask.area > 0
    )
    warnings = dict.fromkeys(warning for reading in readings for warning in reading.warnings)
    if output.nameless:
        warnings[f"{output.nameless} of the provider's masks came without an address and are left out."] = None
    return Segmentation(instances, tuple(warnings))


def _scored_too_low(file: MaskFile, min_score: float | None) -> bool:
    """Whether a mask need not be brought at all."""
    return min_score is not None and file.score is not None and file.score < min_score


async def _bring(url: str, *, means: Means, deadline: Deadline) -> bytes:
    """Return the file at an address, or in it."""
    if url.startswith("data:"):
        try:
            return await decoded(means, partial(_from_data_uri, url), pixels=len(url), deadline=deadline)
        except ValueError as error:
            raise ProviderFailed(f"Runflow's mask is a broken data URI: {error}", may_have_charged=True) from error
    try:
        fetched = await means.fetcher.fetch(url, deadline=deadline, max_bytes=_MOST_MASK_BYTES)
    except FetchError as error:
        raise MaskNotBrought(f"Runflow's mask did not come: {error}") from error
    return fetched.data


async def _read(data: bytes, size: tuple[int, int], *, means: Means, deadline: Deadline) -> MaskReading:
    """Decode one mask off the event loop."""
    try:
        return await decoded(means, partial(read_mask, data, size=size), pixels=size[0] * size[1], deadline=deadline)
    except UnreadableMask as error:
        raise ProviderFailed(f"Runflow's mask cannot be read: {error}", may_have_charged=True) from error


def _from_data_uri(uri: str) -> bytes:
    """
    Return the bytes in a data URI.

    Raises:
        ValueError: it has no comma, or its base64 is none.
    """
    head, comma, text = uri.partition(",")
    if not comma:
        raise ValueError("it has no comma")
    return pybase64.b64decode(text, validate=True) if head.endswith(";base64") else unquote_to_bytes(text)
