"""The request's bytes → body and picture source: JSON, or multipart with the parts `image` and `request`."""

from __future__ import annotations

import asyncio
import codecs
import json
import mmap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import ValidationError
from python_multipart.multipart import MultipartParser
from starlette.requests import Request

from gateway.api.bodies import read_into, told_length
from gateway.api.cutting import PLACEHOLDER, Raw, cut_picture
from gateway.api.header_values import split_value
from gateway.api.joining import LARGE_BYTES, joined
from gateway.api.json_text import check_json
from gateway.intake.body import Body, SegmentationBody
from gateway.intake.picture import PictureSource
from gateway.problems import InvalidRequest, MalformedBody, RequestTooLarge, UnsupportedContentType
from providers.contract import (
    INFLATED,
    MOST_LAYERS,
    CompressedBody,
    InflatesTooFar,
    Room,
    Workers,
    codings,
    completed,
    inflate,
    is_data_uri,
    is_gzip,
    most_inflated,
)

B = TypeVar("B", bound=Body)

#: What is not the picture is small: this is room for 16 prompts of 64 points, tags and metadata.
JSON_BYTES = 2**20
PARTS = 8

#: From here on JSON is parsed on a worker thread.
_SHORT_JSON_BYTES = 2**16

#: How much of a caller's own text stands in a problem, in characters.
_MOST_QUOTED = 500

#: How much of a multipart body is looked through at a time, so that other threads have their turn.
PIECE_BYTES = 2**18


async def read_request(
    request: Request, *, max_picture_bytes: int, workers: Workers, room: Room | None = None
) -> tuple[SegmentationBody, PictureSource]:
    """
    Read and check a request's body.

    Args:
        request: not read yet.
        max_picture_bytes: of the encoded file; base64 with its line breaks, or multipart framing, come on top.
        workers: where a large body is taken apart.
        room: awaited before bytes are read, with how many.

    Raises:
        GatewayError: it is too large, malformed, or has a field that is missing, unknown or out of range.
    """
    media_type, boundary = _content_type(request.headers.get("content-type", ""))
    multipart = media_type == "multipart/form-data" and boundary
    if not multipart and media_type != "application/json":
        raise UnsupportedContentType(
            "send application/json, or multipart/form-data with the file part `image` and the JSON part `request`",
            field="Content-Type",
        )
    most = max_picture_bytes * 10 // 7 + 2 * JSON_BYTES
    raw = await _read(request, most, max_picture_bytes, room)
    try:
        if named := codings(request.headers.get("content-encoding", "")):
            if room is not None:
                size = len(raw)
                for _ in named:
                    size = most_inflated(size, most_bytes=most)
                await room(size)
            raw = await workers.run(lambda: _inflated(raw[:], named, most), pixels=len(raw) * 4)
        return await (_from_multipart(raw, boundary, workers) if multipart else _from_json(raw, workers))
    finally:
        if isinstance(raw, mmap.mmap):  # at once: a problem's traceback may hold it until garbage is collected
            with suppress(BufferError):  # a thread looks through it still, whose caller has gone
                raw.close()


async def _from_multipart(raw: Raw, boundary: str, workers: Workers) -> tuple[SegmentationBody, PictureSource]:
    parts = await workers.run(lambda: _parts(raw, boundary), pixels=len(raw))
    body = await _parsed(parts["request"], workers) if "request" in parts else _missing("request")
    return body, _source(body, parts.get("image"))


def _inflated(raw: bytes, named: Sequence[str], most: int) -> bytes:
    """
    Undo what a body was compressed with, within the bounds of one that is not.

    Raises:
        UnsupportedContentType: it is compressed in another way than gzip and deflate.
        RequestTooLarge: it stands for too much.
        MalformedBody: it is not what its header says.
    """
    if len(named) > MOST_LAYERS or not set(named) <= INFLATED:
        raise UnsupportedContentType(
            f"the body is compressed as {', '.join(named)[:_MOST_QUOTED]!r}; send it as it is, or with the "
            "Content-Encoding gzip or deflate",
            field="Content-Encoding",
        )
    try:
        for name in reversed(named):
            raw = completed(inflate(raw, name, most_bytes=most))
    except InflatesTooFar as error:
        raise RequestTooLarge(f"the body cannot be read: {error}", field="Content-Encoding") from None
    except CompressedBody as error:
        raise MalformedBody(
            f"the body is not what its Content-Encoding says: {error}", field="Content-Encoding"
        ) from None
    return raw


async def _from_json(raw: Raw, workers: Workers) -> tuple[SegmentationBody, PictureSource]:
    """Parse a body, a large one without its picture."""
    if len(raw) <= JSON_BYTES:
        body = await _parsed(raw[:], workers)
        return body, _source(body, None)
    _check_start(raw[:4])
    cut = await workers.run(lambda: cut_picture(raw), pixels=len(raw))
    if cut is None:
        raise _too_much_json()
    body = await _parsed(cut.rest, workers)
    image = body.image
    if image is None or PLACEHOLDER not in {image.data, image.url}:
        raise _too_much_json()
    field = "image.url" if image.data is None else "image.data"
    if cut.fault is not None:
        raise InvalidRequest(f"{field} {cut.fault}", field=field)
    return body, PictureSource(part=cut.picture, base64=cut.text, field=field)


async def _parsed(raw: bytes, workers: Workers) -> SegmentationBody:
    """
    Check what is not the picture.

    Raises:
        RequestTooLarge: that alone is more than 1 MB.
        GatewayError: as `parse_json` says.
    """
    if len(raw) > JSON_BYTES:
        raise _too_much_json()
    if len(raw) < _SHORT_JSON_BYTES:
        return parse_json(SegmentationBody, raw)
    return await workers.run(lambda: parse_json(SegmentationBody, raw), pixels=len(raw) * 4)


def _too_much_json() -> RequestTooLarge:
    return RequestTooLarge(
        f"beside the picture the request has more than {JSON_BYTES} bytes of JSON; the picture goes into image.data, or"
        " into the multipart part `image`"
    )


def parse_json(model: type[B], raw: bytes) -> B:
    """
    Check a body of JSON.

    Raises:
        RequestTooLarge: more values than any request needs.
        MalformedBody: not JSON, or the same field twice.
        InvalidRequest: naming the first field at fault, and how many more there are.
    """
    raw = raw.removeprefix(codecs.BOM_UTF8)
    _check_start(raw[:4])
    try:
        str(raw, "utf-8")
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8 (byte {error.start + 1}); send JSON in UTF-8") from None
    check_json(raw)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        first = details[0]
        if first["type"] == "json_invalid":
            raise MalformedBody(f"the body is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}") from None
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        raise InvalidRequest(_sentence(dict(first)) + more, field=field_path(first["loc"])) from None


def _check_start(start: bytes) -> None:
    """Refuse what begins like no UTF-8 text, and say what it is instead."""
    if is_gzip(start):
        raise MalformedBody("the body is gzip; say so in the header Content-Encoding", field="Content-Encoding")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
        raise MalformedBody("the body is UTF-16 or UTF-32; send JSON in UTF-8")


def field_path(loc: tuple[int | str, ...]) -> str | None:
    """
    Write a field's place as callers write it.

    >>> field_path(("prompts", 0, "object", "box", "x_min"))
    'prompts[0].box.x_min'
    """
    steps = list(loc)
    # Behind the index of a prompt pydantic names the arm of the union, which is the prompt's kind and no field.
    if len(steps) > 2 and steps[0] == "prompts" and steps[2] in {"text", "object", "exemplars", "automatic"}:
        del steps[2]
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return path.lstrip(".")[:_MOST_QUOTED] or None


def _sentence(detail: dict[str, Any]) -> str:
    if detail["type"] == "extra_forbidden":
        return "this field is unknown; is it misspelt, or of a later version?"
    if detail["type"] == "missing":
        return "this field is required"
    return str(detail["msg"]).removeprefix("Value error, ")[:_MOST_QUOTED]


def _source(body: SegmentationBody, part: bytes | None) -> PictureSource:
    """Return where the picture is; exactly one place is allowed."""
    if part is not None:
        if body.image is not None:
            raise InvalidRequest("the picture came as the part `image` already; leave image out", field="image")
        return PictureSource(part=part)
    if body.image is None:
        raise InvalidRequest("give the picture: image.url, image.data, or the multipart part `image`", field="image")
    if body.image.url is not None and is_data_uri(body.image.url):
        return PictureSource(base64=body.image.url, field="image.url")
    return PictureSource(url=body.image.url, base64=body.image.data)


async def _read(request: Request, limit: int, max_picture_bytes: int, room: Room | None) -> Raw:
    """
    Read the whole body, and stop at the limit.

    One that says how long it is goes into its place at once, so that it is in memory only once. Another is put together
    a few pieces at a time: to copy 40 MB in one go keeps everybody else waiting.
    """
    remedy = f"A picture may have {max_picture_bytes}, and the JSON beside it {JSON_BYTES}"
    told = told_length(request)
    if told is not None and LARGE_BYTES <= told <= limit:
        # No bytearray, which is cleared first, in one go. Memory is taken as it is written to.
        raw = mmap.mmap(-1, told, access=mmap.ACCESS_COPY)
        try:
            await read_into(raw.write, request, most=told, remedy=remedy, room=room)
        except BaseException:
            raw.close()
            raise
        return raw
    chunks: list[bytes] = []
    try:
        size = await read_into(chunks.append, request, most=limit, remedy=remedy, room=room)
    except BaseException:
        chunks.clear()  # a problem's traceback may live until garbage is collected
        raise
    if size < LARGE_BYTES:
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    raw = mmap.mmap(-1, size, access=mmap.ACCESS_COPY)
    for number, chunk in enumerate(chunks):
        raw.write(chunk)
        chunks[number] = b""
        if number % 16 == 0:
            await asyncio.sleep(0)
    return raw


def _content_type(header: str) -> tuple[str, str]:
    """Split a Content-Type into its type and its boundary; the latter is empty where there is none."""
    if header == "application/json":  # what nearly everybody sends, without the parser's cost
        return header, ""
    media_type, parameters = split_value(header)
    return media_type, parameters.get("boundary", "")


def _missing(part: str) -> SegmentationBody:
    raise InvalidRequest(f"the multipart part `{part}` is missing", field=part)


def _parts(raw: Raw, boundary: str) -> dict[str, bytes]:
    """
    Return the parts by name.

    Raises:
        MalformedBody: not multipart, or cut off.
        InvalidRequest: an unknown part, or one twice.
    """
    parts: list[tuple[dict[str, str], list[bytes]]] = []
    pending: list[bytes] = [b"", b""]
    finished: list[bool] = []

    def part_begin() -> None:
        if len(parts) >= PARTS:
            raise InvalidRequest(f"more than {PARTS} parts; send `image` and `request`")
        parts.append(({}, []))

    def header_field(data: bytes, start: int, end: int) -> None:
        pending[0] += data[start:end]

    def header_value(data: bytes, start: int, end: int) -> None:
        pending[1] += data[start:end]

    def header_end() -> None:
        parts[-1][0][pending[0].decode("latin-1").lower()] = pending[1].decode("latin-1")
        pending[:] = [b"", b""]

    def part_data(data: bytes, start: int, end: int) -> None:
        parts[-1][1].append(data[start:end])

    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": part_begin,
                "on_header_field": header_field,
                "on_header_value": header_value,
                "on_header_end": header_end,
                "on_part_data": part_data,
                "on_end": lambda: finished.append(True),
            },
        )
        for start in range(0, len(raw), PIECE_BYTES):
            parser.write(raw[start : start + PIECE_BYTES])
        parser.finalize()
    except ValueError as error:
        raise MalformedBody(f"the body is not the multipart that its Content-Type says: {error}") from None
    if not finished:
        raise MalformedBody("the multipart body is cut off: its closing boundary is missing")
    return _named(parts)


def _named(parts: list[tuple[dict[str, str], list[bytes]]]) -> dict[str, bytes]:
    named: dict[str, bytes] = {}
    for headers, chunks in parts:
        name = split_value(headers.get("content-disposition", ""))[1].get("name")
        if name is None:
            raise InvalidRequest("a part has no name; send `image` and `request`")
        if name not in {"image", "request"}:
            name = name[:_MOST_QUOTED]
            raise InvalidRequest(f"unknown part {json.dumps(name)}; send `image` and `request`", field=name)
        if name in named:
            raise InvalidRequest(f"the part `{name}` came twice", field=name)
        named[name] = joined(chunks)
    return named
