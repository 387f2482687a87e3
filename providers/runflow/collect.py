"""From the masks that a run names to instances: side by side, each once, at the picture's size."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
from providers.decoding import brought, decoded
from providers.mask_files import MaskFile, MaskReader
from providers.masks import ColouredPicture, MaskReading, Polarity, UnreadableMask, distinct
from providers.runflow.catalogue import MOST_MASKS
from providers.runflow.output import NamedMask, NormalBox, RunOutput
from providers.side_by_side import side_by_side

#: Masks on their way at once, of one run.
_SIDE_BY_SIDE = 8

#: Largest mask file that is read, of any picture; and of one: this, and so many bytes for each of its pixels.
_MOST_MASK_BYTES = 32 * 1024 * 1024
_MASK_BYTES = 8 * 1024 * 1024
_MASK_BYTES_A_PIXEL = 4


#: Largest record of a run that is read, whatever was asked.
_MOST_RECORD_BYTES = 64 * 1024 * 1024


class MaskNotBrought(ProviderFailed):
    """A mask's address gave no file: it may have expired, and may be signed anew."""

    may_have_charged = True


async def collect(
    output: RunOutput, question: Question, polarity: Polarity, *, means: Means, deadline: Deadline
) -> Segmentation:
    """
    Bring and read every mask that *question* wants, each once.

    Raises:
        MaskNotBrought: an address gave no file.
        ProviderFailed: a file is no mask.
        OwnShortage: this machine was short of something until *deadline*. In each case the run was billed.
    """
    listed = [file for file in output.files if not _scored_too_low(file, question.min_score)]
    wanted = _best(listed, _most_files(question))
    reader = MaskReader(means, question.picture.size, deadline, question.tenant)
    most_bytes = _most_bytes(question.picture)
    places = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def reading_of(named: NamedMask) -> MaskReading | ColouredPicture:
        async with places:
            data = await _bring(named.url, most_bytes, means=means, deadline=deadline)
            return await _read(reader, MaskFile(data, polarity, _pixels(named.box, question.picture)))

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
    said = [*(warning for _, result in read for warning in result.warnings), *warnings]
    if len(read) < len(wanted):
        said.append(f"{len(wanted) - len(read)} of the provider's files were previews in colours and are left out.")
    left_out = len(listed) - len(wanted) + output.further
    if left_out:
        said.append(f"{left_out} of the provider's files, more than were asked for, are left out.")
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


def _scored_too_low(file: NamedMask, min_score: float | None) -> bool:
    """Whether a mask need not be brought at all."""
    return min_score is not None and file.score is not None and file.score < min_score


def most_answer_bytes(question: Question) -> int:
    """
    Return how many bytes a run's record may have: its masks may stand in it, as data URIs.

    A black and white PNG has a hundredth of a byte a pixel; here each file may have a whole one.
    """
    pixels = question.picture.width * question.picture.height
    return min(_MOST_RECORD_BYTES, 2**20 + _most_files(question) * 4 * (2**18 + pixels) // 3)


def _most_files(question: Question) -> int:
    """Return how many files of a run are read: previews and intermediates may stand among what was asked for."""
    return 2 * min(max(1, question.max_masks), MOST_MASKS) + 8


def _most_bytes(picture: Picture) -> int:
    """Return how many bytes a mask of a picture may have: a cut-out without loss, of the largest size that is read."""
    return min(_MOST_MASK_BYTES, _MASK_BYTES + _MASK_BYTES_A_PIXEL * picture.width * picture.height)


def _best(files: Sequence[NamedMask], most: int) -> list[NamedMask]:
    """Return at most so many of the files, in their order: those of the best scores, and of equal ones the first."""
    if len(files) <= most:
        return list(files)
    ranked = sorted(range(len(files)), key=lambda place: -(files[place].score or 0.0))
    return [files[place] for place in sorted(ranked[:most])]


async def _bring(url: str, most_bytes: int, *, means: Means, deadline: Deadline) -> bytes:
    """Return the file at an address, or in it."""
    if is_data_uri(url):
        read = partial(read_encoded, url, most_bytes=most_bytes)
        try:
            return await decoded(means, read, pixels=len(url), deadline=deadline)
        except ValueError as error:
            raise ProviderFailed(f"Runflow's mask, a data: URI, {error}", may_have_charged=True) from error
    try:
        fetched = await brought(means, url, max_bytes=most_bytes, deadline=deadline)
    except FetchError as error:
        raise MaskNotBrought(f"Runflow's mask did not come: {error}") from error
    return fetched.data


async def _read(reader: MaskReader, file: MaskFile) -> MaskReading | ColouredPicture:
    """Read one mask; return what is wrong with one that is a preview."""
    [reading] = await reader.read([file])
    if isinstance(reading, UnreadableMask) and not isinstance(reading, ColouredPicture):
        raise ProviderFailed(f"Runflow's mask cannot be read: {reading}", may_have_charged=True) from reading
    return reading
