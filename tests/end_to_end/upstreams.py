"""The sandbox as a test sees it: its scenes, its books and its faults."""

import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.sandboxed import RunningSandbox
from tests.end_to_end.masks import from_rle

RUNFLOW = ("runflow-eu", "runflow-us")
NAMES = (*RUNFLOW, "prodia")

RUNFLOW_MICROUSD = 5000
PRODIA_MICROUSD = 1100

#: How long a test waits for something that nobody tells it, in seconds; reached only when it fails.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene."""

    name: str
    bitmap: npt.NDArray[np.uint8]
    """`(height, width)`, 1 on the object."""
    box: dict[str, int]
    area: int


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture that the sandbox knows exactly."""

    name: str
    url: str
    width: int
    height: int
    things: tuple[Thing, ...]

    def named(self, text: str) -> list[Thing]:
        """Return the things in whose names *text* stands as whole words."""
        return [thing for thing in self.things if f" {text} " in f" {thing.name} "]


@dataclass(frozen=True, slots=True)
class Billed:
    """One call in the sandbox's books."""

    upstream: str
    id: str
    client_ref: str | None
    at: str
    microusd: int
    answered: bool


class Upstreams:
    """The sandbox's control server. Its calls block: they are short, and the servers have threads of their own."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        """Speak to a running sandbox."""
        self.sandbox = sandbox
        self._scenes: dict[str, Scene] = {}

    def scene(self, name: str) -> Scene:
        """Return a known scene."""
        return self.scenes()[name]

    def scenes(self) -> dict[str, Scene]:
        """Return every known scene by name."""
        if not self._scenes:
            listed = self._call("GET", "/scenes")["scenes"]
            self._scenes = {each["name"]: _scene(each) for each in listed}
        return self._scenes

    def picture(self, name: str) -> bytes:
        """Return a scene's picture file."""
        with urllib.request.urlopen(self.scene(name).url, timeout=30) as answer:
            return answer.read()

    def books(self) -> list[Billed]:
        """Return every call that the upstreams bill, oldest first."""
        return [Billed(**call) for call in self._call("GET", "/books")["calls"]]

    def books_of(self, count: int) -> list[Billed]:
        """Return the books as soon as they hold *count* calls: a run whose caller has left is billed when it ends."""
        until(lambda: len(self.books()) >= count)
        return self.books()

    def strike(self, upstream: str, *faults: dict[str, Any]) -> None:
        """Put faults on an upstream."""
        self._call("PUT", f"/upstreams/{upstream}/fault", list(faults))

    def write_as(self, region: str, variant: str, *, json_strings: bool = False) -> None:
        """Have a region of Runflow write its outputs in one of the documented ways, `a` being the usual one."""
        self._call("PUT", f"/upstreams/{region}/variant", {"variant": variant, "json_strings": json_strings})

    def behave(self, upstream: str, **habits: Any) -> None:
        """Have an upstream read its documents in another way; those that are not named are the usual ones."""
        self._call("PUT", f"/upstreams/{upstream}/habits", habits)

    def reset(self) -> None:
        """Heal every upstream, have them write and behave as usual, and empty the books."""
        for name in NAMES:
            self._call("DELETE", f"/upstreams/{name}/fault")
        for region in RUNFLOW:
            self.write_as(region, "a")
            self.behave(region)
        self._call("DELETE", "/books")

    def _call(self, method: str, path: str, value: Any = None) -> Any:
        request = urllib.request.Request(
            self.sandbox.control_url + path,
            method=method,
            data=None if value is None else json.dumps(value).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def until(holds: Callable[[], bool]) -> None:
    """Return as soon as *holds* does; for what another process or thread does, and tells nobody."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < give_up, "it did not come to hold"
        time.sleep(0.01)


def _scene(listed: dict[str, Any]) -> Scene:
    things = tuple(Thing(each["name"], from_rle(each["rle"]), each["box"], each["area"]) for each in listed["objects"])
    return Scene(listed["name"], listed["image_url"], listed["width"], listed["height"], things)
