"""Runflow's own examples, of all three generations of its calls, run at the sandbox."""

from __future__ import annotations

import ast
import json
import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from providers.contract import Mask
from providers.sandbox.scenes import Scene
from tests.providers.contract_suite.sandboxes import RunningSandbox
from tests.real_clients.clients import Missing, fenced, pointed, run_bash, run_node, run_python, with_json_words
from tests.real_clients.documents import (
    RUNFLOW_1_PYTHON,
    RUNFLOW_2_EXAMPLES,
    RUNFLOW_3_CURL,
    RUNFLOW_3_NODE,
    RUNFLOW_3_PYTHON,
)

pytestmark = pytest.mark.slow

MICROUSD = 5000

Run = Callable[[str, Path], str]


def out_of(run: Run, code: str, folder: Path) -> str:
    """Run an example, or leave the test out where what runs it is missing."""
    try:
        return run(code, folder)
    except Missing as missing:
        pytest.skip(str(missing))


def fetched(url: str, **headers: str) -> bytes:
    """Bring a file from the sandbox."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        content: bytes = answer.read()
        return content


def came(sandbox: RunningSandbox) -> list[Any]:
    """Wait for what comes to the webhook of the examples; the test's own time limit ends a wait in vain."""
    while True:
        callbacks = json.loads(fetched(f"{sandbox.control_url}/webhook"))["callbacks"]
        if callbacks:
            return [json.loads(callback["body"]) for callback in callbacks]
        time.sleep(0.01)


def pixels(url: str) -> np.ndarray:
    """Return the picture behind an address as it is stored."""
    found = cv2.imdecode(np.frombuffer(fetched(url), np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found


def grey_mask(url: str) -> Mask:
    """Return the mask in a file that has to be 8-bit grey of 0 and 255."""
    grey = pixels(url)
    assert (2, np.dtype(np.uint8)) == (grey.ndim, grey.dtype)
    assert {0, 255} == set(np.unique(grey).tolist())
    return Mask.from_bitmap(grey)


def cut_out(url: str) -> Mask:
    """Return where a file that has to be a cut-out is not transparent."""
    rgba = pixels(url)
    assert (3, 4) == (rgba.ndim, rgba.shape[2])
    assert {0, 255} == set(np.unique(rgba[:, :, 3]).tolist())
    return Mask.from_bitmap(rgba[:, :, 3])


def address_in(printed: str) -> str:
    """Return the address that an example printed: alone, or in the JSON of the whole answer."""
    if printed.startswith("{"):
        url: str = json.loads(printed)["image"]["url"]
        return url
    return printed


def test_generation_1(sandbox: RunningSandbox, scenes: dict[str, Scene], tmp_path: Path) -> None:
    """The example in Python prints the address of the keyboard's mask, and one run is billed."""
    code = pointed(with_json_words(RUNFLOW_1_PYTHON), upstream=sandbox.upstreams["runflow-eu"])
    printed = run_python(code, tmp_path)
    [keyboard] = [thing.mask for thing in scenes["desk"].objects if thing.name == "keyboard"]
    assert keyboard == grey_mask(printed)
    assert [MICROUSD] == [call["microusd"] for call in sandbox.books("runflow-eu")]


GENERATION_2 = {"python": run_python, "bash": run_bash, "javascript": run_node}


@pytest.mark.parametrize("language", GENERATION_2)
def test_generation_2(sandbox: RunningSandbox, scenes: dict[str, Scene], language: str, tmp_path: Path) -> None:
    """Each example prints the address of the person in the headshot, cut out to the pixel, and one run is billed."""
    code = pointed(fenced(RUNFLOW_2_EXAMPLES, language), upstream=sandbox.upstreams["runflow-us"])
    printed = out_of(GENERATION_2[language], code, tmp_path)
    [person] = [thing.mask for thing in scenes["headshot"].objects]
    assert person == cut_out(address_in(printed))
    assert [MICROUSD] == [call["microusd"] for call in sandbox.books("runflow-us")]


def from_node(printed: str) -> Any:
    """Return the id and the status in a record as Node.js prints it."""
    return {name: re.findall(rf"^ *{name}: '([^']*)'", printed, re.MULTILINE)[0] for name in ("id", "status_code")}


GENERATION_3 = {
    "python": (RUNFLOW_3_PYTHON, run_python, ast.literal_eval),
    "node": (RUNFLOW_3_NODE, run_node, from_node),
    "curl": (RUNFLOW_3_CURL, run_bash, json.loads),
}


@pytest.mark.parametrize("language", GENERATION_3)
def test_generation_3(sandbox: RunningSandbox, scenes: dict[str, Scene], language: str, tmp_path: Path) -> None:
    """Each example prints a run, which ends with the keyboard's mask, is billed once and called back."""
    example, run, read = GENERATION_3[language]
    upstream = sandbox.upstreams["runflow-eu"]
    code = pointed(example, upstream=upstream)
    created = read(out_of(run, code, tmp_path))
    assert created["status_code"] in {"queued", "dispatching", "running"}
    while True:
        record = json.loads(fetched(f"{upstream}/v1/runs/{created['id']}", Authorization="Bearer any"))
        if record["completed_at"] is not None:
            break
    assert "succeeded" == record["status_code"]
    [keyboard] = [thing.mask for thing in scenes["desk"].objects if thing.name == "keyboard"]
    assert [keyboard] == [grey_mask(mask["url"]) for mask in record["output"]["model_data"]["masks"]]
    assert [(created["id"], MICROUSD)] == [(call["id"], call["microusd"]) for call in sandbox.books("runflow-eu")]
    assert [created["id"]] == [callback["run_id"] for callback in came(sandbox)]
