"""Providers by name: the built-in ones, and those of packages that are really installed."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from providers.contract import Means
from providers.fetch import GuardedFetcher
from providers.registry import BUILT_IN, build_providers
from providers.transport import HttpUpstream
from providers.workers import ThreadWorkers
from tests.decoders import shared_decoders

MODULE = '''"""A provider of another house."""


class Stranger:
    """As much of a provider as the registry looks at."""

    name = "{own_name}"

    def __init__(self, means):
        self.means = means
'''

Install = Callable[..., None]


@pytest.fixture
async def means() -> AsyncIterator[Means]:
    """Everything a provider is built with, as in service."""
    upstream, fetcher = HttpUpstream(time.monotonic), GuardedFetcher(time.monotonic)
    workers = ThreadWorkers(threads=1, queue=1)
    yield Means(upstream, fetcher, workers, shared_decoders(), time.monotonic, asyncio.sleep)
    workers.close()
    await fetcher.close()
    await upstream.close()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Lay a distribution down as an installer does: a module, and a dist-info folder with its entry point."""
    monkeypatch.syspath_prepend(tmp_path)
    modules: list[str] = []

    def lay(distribution: str, provider: str, *, own_name: str | None = None, code: str | None = None) -> None:
        module = distribution.replace("-", "_")
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(code or MODULE.format(own_name=own_name or provider))
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[maskgate.providers]\n{provider} = {module}:Stranger\n")

    yield lay
    for module in modules:
        sys.modules.pop(module, None)


async def test_every_built_in_provider_is_built_under_its_own_name(means: Means) -> None:
    """Runflow, Prodia and the local model need nothing installed beside this tree."""
    providers = build_providers(means)
    assert list(providers) == list(BUILT_IN) == ["runflow", "prodia", "local"]
    assert [provider.name for provider in providers.values()] == list(BUILT_IN)
    for provider in providers.values():
        await provider.close()


async def test_only_the_named_providers_are_built(means: Means) -> None:
    """What is not named is not built."""
    providers = build_providers(means, ["prodia"])
    assert list(providers) == ["prodia"]
    await providers["prodia"].close()
    assert build_providers(means, []) == {}


async def test_an_installed_package_adds_a_provider(means: Means, install: Install) -> None:
    """It is built with the same means as ours."""
    install("maskgate-stranger", "stranger")
    stranger: Any = build_providers(means, ["stranger"])["stranger"]
    assert stranger.means is means


async def test_a_package_that_is_not_named_is_not_imported(means: Means, install: Install) -> None:
    """A broken package breaks only those who ask for it."""
    install("maskgate-broken", "broken", code="raise RuntimeError('broken on import')")
    assert build_providers(means, []) == {}
    with pytest.raises(RuntimeError, match="broken on import"):
        build_providers(means, ["broken"])


async def test_a_package_cannot_take_the_name_of_a_built_in_provider(means: Means, install: Install) -> None:
    """The error names the package, so that it can be uninstalled."""
    install("maskgate-impostor", "prodia")
    with pytest.raises(ValueError, match="the package maskgate-impostor brings a provider 'prodia'"):
        build_providers(means, [])


async def test_two_packages_cannot_share_a_name(means: Means, install: Install) -> None:
    """Neither wins by the order in which they were installed."""
    install("maskgate-one", "stranger")
    install("maskgate-two", "stranger")
    with pytest.raises(ValueError, match="both bring a provider 'stranger'"):
        build_providers(means, [])


async def test_a_provider_goes_by_the_name_it_is_registered_under(means: Means, install: Install) -> None:
    """Configuration, JSON and metrics would otherwise call it differently."""
    install("maskgate-stranger", "stranger", own_name="someone")
    with pytest.raises(ValueError, match="'stranger' calls itself 'someone'"):
        build_providers(means, ["stranger"])


async def test_an_unknown_name_is_refused_with_the_known_ones(means: Means, install: Install) -> None:
    """The error lists what there is."""
    install("maskgate-stranger", "stranger")
    with pytest.raises(ValueError, match="no provider 'runfow'; there are runflow, prodia, local, stranger"):
        build_providers(means, ["runfow"])
