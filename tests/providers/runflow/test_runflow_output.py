"""Where the masks are, in every form that Runflow's documents allow."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.runflow.output import NamedMask, RunOutput, final, read_output
from providers.upstream_json import read_json

PREVIEW = {"url": "https://f.example/preview.png?X-Amz-Signature=0", "type": "image"}
MASKS = [{"url": f"https://f.example/mask_{n}.png?X-Amz-Signature={n}", "type": "image"} for n in (0, 1)]
SCORES = [0.98, 0.5]
BOXES = [[0.5, 0.5, 0.1, 0.1], [0.2, 0.2, 0.1, 0.1]]
METADATA = [{"index": 0, "score": 0.98, "box": BOXES[0]}, {"index": 1, "score": 0.5, "box": BOXES[1]}]
FIGURES: dict[str, Any] = {"metadata": METADATA, "scores": SCORES, "boxes": BOXES}


def unboxed(output: RunOutput | None) -> RunOutput | None:
    """Return an output without the boxes of its files."""
    return output and RunOutput(tuple(NamedMask(file.url, file.score) for file in output.files), output.nameless)


FOUND = RunOutput(tuple(NamedMask(mask["url"], score) for mask, score in zip(MASKS, SCORES, strict=True)))
UNSCORED = RunOutput(tuple(NamedMask(mask["url"], None) for mask in MASKS))


def read(record: Any) -> RunOutput | None:
    """Read a record as it comes out of JSON."""
    return read_output(read_json(json.dumps(record).encode()))


VARIANTS: dict[str, Any] = {
    "a: preview in outputs, masks in model_data": {
        "output": {"outputs": [PREVIEW], "model_data": {"image": PREVIEW, "masks": MASKS, **FIGURES}}
    },
    "b: preview and masks in outputs": {"output": {"outputs": [PREVIEW, *MASKS], "model_data": FIGURES}},
    "b, counted by metadata alone": {"output": {"outputs": [PREVIEW, *MASKS], "model_data": {"metadata": METADATA}}},
    "d: flat": {"image": PREVIEW, "masks": MASKS, **FIGURES},
    "flat inside output": {"output": {"image": PREVIEW, "masks": MASKS, **FIGURES}},
    "addresses instead of objects": {"output": {"masks": [mask["url"] for mask in MASKS], **FIGURES}},
    "scores nested once": {"output": {"masks": MASKS, "scores": [SCORES]}},
    "metadata instead of scores": {"output": {"masks": MASKS, "scores": None, "metadata": METADATA}},
    "metadata out of order": {"output": {"masks": MASKS, "metadata": METADATA[::-1]}},
    "scores too short": {"output": {"masks": MASKS, "scores": SCORES[:1], "metadata": METADATA}},
    "scores with nulls": {"output": {"masks": MASKS, "scores": [None, 0.5], "metadata": METADATA}},
    "masks in outputs, counted": {"output": {"outputs": MASKS, "model_data": FIGURES}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(variant: str) -> None:
    """Every variant with scores names the same masks with the same scores."""
    assert unboxed(read(VARIANTS[variant])) == FOUND


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_as_texts(variant: str) -> None:
    """Every variant reads the same when each of its lists and objects is a JSON text."""

    def as_texts(record: dict[str, Any]) -> dict[str, Any]:
        return {
            key: json.dumps(as_texts(value) if key in {"output", "model_data"} else value)
            for key, value in record.items()
        }

    assert unboxed(read(as_texts(VARIANTS[variant]))) == FOUND


@pytest.mark.parametrize(
    "record",
    [
        {"output": {"outputs": MASKS}},
        {"output": {"outputs": MASKS, "model_data": None, "seed": None, "timing": None, "nsfw_detected": None}},
        {"output": {"outputs": [*MASKS, {"url": "https://f.example/log.mp4", "type": "video"}]}},
        {"output": {"image_urls": [mask["url"] for mask in MASKS]}},
        {"output": {"image": [mask["url"] for mask in MASKS]}},
        {"output": MASKS},
        {"output": {"masks": MASKS, "scores": "null"}},
        {"output": {"masks": MASKS, "scores": [True, "0.5"]}},
        {"output": {"masks": MASKS, "scores": [1.5, -0.1]}},
    ],
)
def test_without_scores(record: dict[str, Any]) -> None:
    """Masks without scores, and masks with what cannot be one, have none."""
    assert read(record) == UNSCORED


@pytest.mark.parametrize(
    "record",
    [
        {"output": {"image": PREVIEW}},
        {"output": {"url": PREVIEW["url"]}},
        {"output": {"output_url": PREVIEW["url"]}},
        {"output": PREVIEW["url"]},
        {"image": {"url": PREVIEW["url"]}},
        {"output": {"masks": PREVIEW["url"]}},
    ],
)
def test_single(record: dict[str, Any]) -> None:
    """One picture under any of the older names is one mask."""
    assert read(record) == RunOutput((NamedMask(PREVIEW["url"], None),))


@pytest.mark.parametrize(
    "record",
    [
        {"output": {"outputs": []}},
        {"output": {"outputs": [], "model_data": {"masks": []}}},
        {"output": {"outputs": [PREVIEW], "model_data": {"masks": [], "scores": []}}},
        {"output": {"outputs": [PREVIEW], "model_data": {"metadata": [], "scores": [], "boxes": []}}},
        {"masks": []},
        {"output": {"masks": "[]"}},
    ],
)
def test_nothing_found(record: dict[str, Any]) -> None:
    """No masks and no outputs are an answer: nothing was found."""
    assert read(record) == RunOutput(())


@pytest.mark.parametrize(
    "record",
    [{}, {"output": None}, {"output": {}}, {"output": {"outputs": None}}, {"output": 7}, {"output": {"seed": 1}}],
)
def test_no_output(record: dict[str, Any]) -> None:
    """A record that names no masks in any known way is not taken for an empty answer."""
    assert read(record) is None


@pytest.mark.parametrize(
    "figures", [{"boxes": BOXES[:1]}, {"boxes": [BOXES[:1]]}, {"scores": [0.9]}, {"scores": [[0.9]]}]
)
def test_preview_and_one_mask(figures: dict[str, Any]) -> None:
    """Any one list of figures tells a preview and one mask from two masks, nested once or not."""
    output = read({"output": {"outputs": [PREVIEW, MASKS[0]], "model_data": figures}})
    assert output is not None
    assert [file.url for file in output.files] == [MASKS[0]["url"]]


@pytest.mark.parametrize("boxes", [BOXES, [BOXES], [None, BOXES[0]], [[None, BOXES[0]]]])
def test_two_masks_and_boxes(boxes: list[Any]) -> None:
    """Two boxes stand for two masks, whether or not their list is nested once more."""
    output = read({"output": {"outputs": MASKS, "model_data": {"boxes": boxes}}})
    assert unboxed(output) == UNSCORED


@pytest.mark.parametrize(
    "figures",
    [{"boxes": BOXES}, {"boxes": [BOXES]}, {"metadata": METADATA[::-1]}, {"boxes": [None], "metadata": METADATA[::-1]}],
)
def test_boxes_of_masks(figures: dict[str, Any]) -> None:
    """Boxes come from their own list, or from the metadata by its index."""
    output = read({"output": {"masks": MASKS, **figures}})
    assert output is not None
    assert [tuple(box) for box in BOXES] == [file.box for file in output.files]


@pytest.mark.parametrize("box", [None, [], [0.5, 0.5, 0.1], [0.5, 0.5, 0, 0.1], [300, 200, 40, 60], ["0", 0, 1, 1], 7])
def test_no_boxes(box: Any) -> None:
    """What cannot be a box in parts of the picture is none."""
    output = read({"output": {"masks": MASKS, "boxes": [box, box]}})
    assert unboxed(output) == output == UNSCORED


def test_final_file() -> None:
    """Of a workflow's files those named as its result count alone; without such a name all of them do."""
    files = [NamedMask(f"https://f.example/o/{name}.webp?X=1", None) for name in ("input_1", "result_00001_", "step_2")]
    assert RunOutput((files[1],)) == final(RunOutput(tuple(files)))
    assert RunOutput(tuple(files[::2])) == final(RunOutput(tuple(files[::2])))
    data = NamedMask("data:image/png;base64,AA==/result", None)
    assert RunOutput((data,)) == final(RunOutput((data,)))


def test_each_address_once() -> None:
    """One file that is listed twice is one mask, and addresses that differ in their query alone are several."""
    assert read({"output": {"outputs": [MASKS[0], MASKS[0], MASKS[1]]}}) == UNSCORED
    urls = [f"https://store.example/mask?index={index}" for index in range(3)]
    assert read({"output": {"outputs": [{"url": url} for url in urls]}}) == RunOutput(
        tuple(NamedMask(url, None) for url in urls)
    )


def test_equal_data_uris_of_different_masks() -> None:
    """Data URIs are told apart by all of their text."""
    uris = ["data:image/png;base64,AA==?", "data:image/png;base64,AA==?x"]
    assert read({"output": {"masks": uris}}) == RunOutput(tuple(NamedMask(uri, None) for uri in uris))


def test_masks_without_an_address() -> None:
    """A mask without an address is counted, and the scores of the others stay theirs."""
    masks = [{"url": ""}, MASKS[1], {"url": None}, None]
    assert read({"output": {"masks": masks, "scores": SCORES}}) == RunOutput((NamedMask(MASKS[1]["url"], 0.5),), 3)
