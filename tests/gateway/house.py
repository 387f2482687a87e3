"""Where a test's gateway and sandbox are, and what a command line is to a test."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import Result

from gateway.app import create_app, sandbox_config
from gateway.sandboxed import sandbox_running
from gateway.serving import running
from gateway.settings import settings_from_yaml
from providers.contract import Mask

Command = Callable[..., Result]


@dataclass(frozen=True, slots=True)
class House:
    """Where gateway and sandbox are."""

    url: str
    control_url: str
    state: Path
    """Its state folder, where its first key is."""

    @property
    def key(self) -> str:
        """Its first key, an administrator's."""
        return (self.state / "key").read_text(encoding="ascii").strip()

    def scenes(self) -> dict[str, Any]:
        """Return the sandbox's known scenes by name."""
        return {scene["name"]: scene for scene in self._get("/scenes")["scenes"]}

    def picture(self, scene: str) -> bytes:
        """Return a scene's picture file."""
        with urllib.request.urlopen(self.scenes()[scene]["image_url"], timeout=60) as answer:
            return answer.read()

    def truth(self, scene: str, thing: str) -> Mask:
        """Return the exact mask of a scene's object."""
        (rle,) = (known["rle"] for known in self.scenes()[scene]["objects"] if known["name"] == thing)
        return Mask.from_counts(tuple(rle["size"]), rle["counts"])

    def billed(self) -> int:
        """Return how many calls the sandbox has billed."""
        return len(self._get("/books")["calls"])

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.control_url + path, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def house_running(state: Path) -> Iterator[House]:
    """Run a sandbox and a gateway in front of it, with its ledger and its log in *state*, while the block lasts."""
    with sandbox_running() as sandbox, (state / "gateway.log").open("w") as log:
        text = sandbox_config(sandbox.host, sandbox.port)
        settings = settings_from_yaml(text, environ={"MASKGATE_STATE_DIR": str(state)})
        with running(lambda: create_app(settings, log_to=log, show=lambda _key: None)) as url:
            yield House(url, sandbox.control_url, state)
