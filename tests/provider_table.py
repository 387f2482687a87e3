"""The README's table of providers, made from the registry; `make readme` writes it into the README."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from providers.contract import Limits, Means, Model, PriceUnit, PromptKind
from providers.decoders import DecoderProcesses
from providers.fetch import GuardedFetcher
from providers.registry import BUILT_IN
from providers.transport import HttpUpstream
from providers.workers import ThreadWorkers

README = Path(__file__).parents[1] / "README.md"
HEAD = "| provider | model | prompts | scores | masks | picture | price |"
KINDS = (PromptKind.TEXT, PromptKind.OBJECT, PromptKind.EXEMPLARS, PromptKind.AUTOMATIC)
UNITS = {PriceUnit.SUCCESS: "an answer", PriceUnit.REQUEST: "a call", PriceUnit.SECOND: "a second"}


def table() -> str:
    """Return the table: a row for each product of each built-in provider, under all of its names."""
    means = Means(
        upstream=HttpUpstream(time.monotonic),
        fetcher=GuardedFetcher(time.monotonic),
        workers=ThreadWorkers(threads=1, queue=0),
        decoders=DecoderProcesses(processes=1, memory_bytes=0, clock=time.monotonic),
        clock=time.monotonic,
        sleep=asyncio.sleep,
    )
    rows = [HEAD, "|" + "---|" * HEAD.count(" |")]
    for provider, made in BUILT_IN.items():
        names: dict[int, list[str]] = {}
        models = made(means).models
        for name, model in models.items():
            names.setdefault(id(model), []).append(name)
        rows.extend(_row(provider, each, models[each[0]]) for each in names.values())
    return "\n".join(rows) + "\n"


def written() -> str:
    """Return the table as it stands in the README."""
    text = README.read_text(encoding="utf-8")
    start = text.index(HEAD)
    return text[start : text.index("\n\n", start) + 1]


def _row(provider: str, names: list[str], model: Model) -> str:
    capabilities = model.capabilities
    called = ", ".join(f"`{name}`" for name in names)
    prompts = ", ".join(_prompt(kind, model) for kind in KINDS if kind in capabilities.prompt_kinds)
    scores = "yes" if capabilities.gives_scores else "no"
    masks = "all found" if capabilities.max_masks is None else f"up to {capabilities.max_masks}"
    cells = (provider, called, prompts, scores, masks, _limits(capabilities.limits), _price(model))
    return f"| {' | '.join(cells)} |"


def _prompt(kind: PromptKind, model: Model) -> str:
    if kind is not PromptKind.OBJECT:
        return kind.value
    there = (("points", model.capabilities.points), ("box", model.capabilities.boxes))
    return f"object ({', '.join(part for part, taken in there if taken)})"


def _limits(limits: Limits) -> str:
    said = []
    if limits.min_side is not None and limits.max_side is not None:
        said.append(f"{limits.min_side} to {limits.max_side} px")
    elif limits.max_side is not None:
        said.append(f"up to {limits.max_side} px")
    if limits.max_bytes is not None:
        whole, rest = divmod(limits.max_bytes, 2**20)
        said.append(f"up to {limits.max_bytes // 10**6} MB" if rest else f"up to {whole} MiB")
    return ", ".join(said) or "any"


def _price(model: Model) -> str:
    price = model.list_price
    if price is None:
        return "yours to name"
    return f"${price.usd} {UNITS[price.unit]} ({price.source})"


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(text.replace(written(), table()), encoding="utf-8")
    sys.stdout.write(table())
