"""A run over many pictures: several at once, each on its own, the results written as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.cli.pictures import PictureFile
from gateway.cli.results import ASKED, Results
from gateway.client import Answer, Client, ClientError, GatewayUnreachable, Options, Problem
from gateway.client.requests import request_json
from providers.contract import Prompt

#: Statuses that every further picture would meet too: no valid key, no money left, not allowed.
FINAL = frozenset({401, 402, 403})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one picture."""

    picture: PictureFile
    answer: Answer | None
    problem: str | None
    """Why there is no answer, or only a part of one; None where all went well."""
    kept: bool = False
    """Whether the answer is one that an earlier run had written."""


@dataclass(frozen=True, slots=True)
class Run:
    """The same question about each of several pictures."""

    pictures: Sequence[PictureFile]
    prompts: Sequence[Prompt]
    options: Options
    results: Results | None
    """Where answers are written; None for nowhere."""
    resume: bool
    jobs: int
    """Pictures at once."""

    async def through(self, gateway: Client, *, told: Callable[[Outcome], None]) -> None:
        """
        Ask about every picture.

        A gateway that is gone, or that would refuse each further picture for the same reason, ends the run: the
        pictures that are left are then outcomes too, and nothing is asked for them.
        """
        waiting = iter(self.pictures)
        ended: list[str] = []

        async def work() -> None:
            for picture in waiting:
                if ended:
                    told(Outcome(picture, None, f"not asked: {ended[0]}"))
                    continue
                try:
                    told(await self._one(gateway, picture))
                except ClientError as error:
                    if isinstance(error, GatewayUnreachable) or (isinstance(error, Problem) and error.status in FINAL):
                        ended.append(str(error))
                    told(Outcome(picture, None, str(error)))
                except (OSError, ValueError) as error:  # a file that cannot be read, results that cannot be written
                    told(Outcome(picture, None, str(error)))

        await asyncio.gather(*(work() for _ in range(min(self.jobs, len(self.pictures)))))

    async def _one(self, gateway: Client, picture: PictureFile) -> Outcome:
        data = await asyncio.to_thread(picture.path.read_bytes)
        if self.results is not None and self.resume:
            kept = await asyncio.to_thread(self.results.read, picture, data, asked=self._asked)
            if kept is not None:
                return Outcome(picture, kept, None, kept=True)
        answer = await gateway.segment(data, self.prompts, options=self._marked)
        if self.results is not None:
            await asyncio.to_thread(self.results.write, picture, data, answer)
        failed = [str(origin.error) for origin in answer.answers if origin.error is not None]
        return Outcome(picture, answer, "; ".join(failed) or None)

    @property
    def _asked(self) -> Mapping[str, Any]:
        """The question as it stands in each answer, by which a later run knows whether it is the same."""
        return request_json(None, self.prompts, self.options)

    @property
    def _marked(self) -> Options:
        """The options, with the question in the metadata, which the answer echoes."""
        return replace(self.options, metadata={ASKED: self._asked})
