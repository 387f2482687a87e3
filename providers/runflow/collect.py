"""From the masks that a run names to instances: side by side, each once, at the picture's size."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from providers.contract import (
    Box,
    Deadline,
    FetchError,
    Instance,
    Means,
    Picture,
    ProviderFailed,
    Question,
    Segmentation,
    TextPrompt,
    is_data_uri,
    read_encoded,
)
from providers.decoding import decoded
from providers.masks import ColouredPicture, MaskReading, Polarity, UnreadableMask, distinct, read_mask
from providers.runflow.output import MaskFile, NormalBox, RunOutput
from providers.side_by_side import side_by_side

#: Masks on their way at once, of one run.
_SIDE_BY_SIDE = 8

_MOST_MASK_BYTES = 32 * 1024 * 1024


class MaskNotBrought(ProviderFailed):
    """A mask's address gave no file: it may have expired, and may be signed anew."""

    may_have_charged = True


@dataclass(frozen=True, slots=True)
class Reading:
    """How the masks of a run are to be read."""

    polarity: Polarity = Polarity.WHITE
    one_mask: bool = False
    """Whether a run gives one mask, whatever else its outputs name."""


async def collect(
    output: RunOutput, question: Question, reading: Reading, *, means: Means, deadline: Deadline
) -> Segmentation:
    """
    Bring and read every mask that *question* wants, each once.

    Raises:
        MaskNotBrought: an address gave no file.
        ProviderFailed: a file is no mask. Either way the run was billed.
    """
    wanted = [file for file in output.files if not _scored_too_low(file, question.min_score)]
    places = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def reading_of(file: MaskFile) -> MaskReading | ColouredPicture:
        async with places:
            data = await _bring(file.url, means=means, deadline=deadline)
            read = partial(
                read_mask,
                data,
                size=question.picture.size,
                polarity=reading.polarity,
                box=_pixels(file.box, question.picture),
            )
            return await _read(read, question.picture, means=means, deadline=deadline)

    results = await side_by_side(reading_of(file) for file in wanted)
    label = question.prompt.text if isinstance(question.prompt, TextPrompt) else None
    read = [
        (file, result) for file, result in zip(wanted, results, strict=True) if not isinstance(result, ColouredPicture)
    ]
    if wanted and not read:
        raise ProviderFailed(
            "Runflow's masks cannot be read: all of them are pictures in colours", may_have_charged=True
        )
    instances, warnings = distinct(
        [Instance(result.mask, file.score, label) for file, result in read if result.mask.area > 0]
    )
    if reading.one_mask and len(instances) > 1:
        warnings = (*warnings, f"The provider gave {len(instances)} masks where it documents one; the first was taken.")
        instances = instances[:1]
    said = [*(warning for _, result in read for warning in result.warnings), *warnings]
    if len(read) < len(wanted):
        said.append(f"{len(wanted) - len(read)} of the provider's files were previews in colours and are left out.")
    if output.nameless:
        said.append(f"{output.nameless} of the provider's masks came without an address and are left out.")
    return Segmentation(instances, tuple(dict.fromkeys(said)))


def _pixels(box: NormalBox | None, picture: Picture) -> Box | None:
    """Return a box in pixels of the picture."""
    if box is None:
        return None
    x, y, width, height = box
    return Box(
        round((x - width / 2) * picture.width),
        round((y - height / 2) * picture.height),
        round((x + width / 2) * picture.width),
        round((y + height / 2) * picture.height),
    )


def _scored_too_low(file: MaskFile, min_score: float | None) -> bool:
    """Whether a mask need not be brought at all."""
    return min_score is not None and file.score is not None and file.score < min_score


async def _bring(url: str, *, means: Means, deadline: Deadline) -> bytes:
    """Return the file at an address, or in it."""
    if is_data_uri(url):
        read = partial(read_encoded, url, most_bytes=_MOST_MASK_BYTES)
        try:
            return await decoded(means, read, pixels=len(url), deadline=deadline)
        except ValueError as error:
            raise ProviderFailed(f"Runflow's mask, a data: URI, {error}", may_have_charged=True) from error
    try:
        fetched = await means.fetcher.fetch(url, deadline=deadline, max_bytes=_MOST_MASK_BYTES)
    except FetchError as error:
        raise MaskNotBrought(f"Runflow's mask did not come: {error}") from error
    return fetched.data


async def _read(
    read: Callable[[], MaskReading], picture: Picture, *, means: Means, deadline: Deadline
) -> MaskReading | ColouredPicture:
    """Decode one mask off the event loop; return what is wrong with one that is a preview."""
    try:
        return await decoded(means, read, pixels=picture.width * picture.height, deadline=deadline)
    except ColouredPicture as preview:
        return preview
    except UnreadableMask as error:
        raise ProviderFailed(f"Runflow's mask cannot be read: {error}", may_have_charged=True) from error
