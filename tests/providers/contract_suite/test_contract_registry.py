"""What the models of every registered provider say about themselves, and which deployments they take."""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from providers.contract import Deployment, Means, Money, PriceUnit, PromptKind, Provider, Secret
from providers.fetch import GuardedFetcher
from providers.registry import BUILT_IN, build_providers
from providers.transport import HttpUpstream
from providers.workers import ThreadWorkers
from tests.decoders import shared_decoders
from tests.providers.contract_suite.subjects import CANARY, REMOTE, SUBJECTS, Subject

ENDPOINT = "http://127.0.0.1:9"
MEDIA_TYPES = {"image/png", "image/jpeg", "image/webp"}

#: What no provider over HTTP can be called with: the field that has to be named, and its value.
BAD_REMOTE: tuple[tuple[str, Any], ...] = (
    ("model", "no/such/model"),
    ("endpoint", ""),
    ("endpoint", "127.0.0.1:9"),
    ("endpoint", "ftp://127.0.0.1"),
    ("endpoint", "http://"),
    ("endpoint", "http://127.0.0.1:9/"),
    ("endpoint", "http://127.0.0.1:9?a=b"),
    ("endpoint", "http://127.0.0.1:9#a"),
    ("endpoint", "http://127.0.0.1:99999"),
    ("endpoint", f"http://somebody:{CANARY}@127.0.0.1:9"),
    ("credential", Secret("")),
    ("credential", Secret(f"{CANARY} and a space")),
    ("credential", Secret(f"{CANARY}\r\nx-injected: yes")),
    ("options", {"no_such_option": 1}),
)
#: What no model in this process has a use for.
BAD_IN_PROCESS: tuple[tuple[str, Any], ...] = (
    ("model", "no/such/model"),
    ("endpoint", ENDPOINT),
    ("credential", Secret(CANARY)),
    ("options", {"no_such_option": 1}),
)
BAD = [
    *((subject, field, value) for subject in REMOTE for field, value in BAD_REMOTE),
    *((subject, field, value) for subject in SUBJECTS if subject not in REMOTE for field, value in BAD_IN_PROCESS),
    *((subject, next(iter(options)), {**options}) for subject in SUBJECTS for options in subject.bad_options),
]


@pytest.fixture
async def built(installed: None, tls: ssl.SSLContext) -> AsyncIterator[dict[str, Provider]]:
    """Every built-in provider and the one of another house, by name."""
    upstream, fetcher = HttpUpstream(time.monotonic, tls=tls), GuardedFetcher(time.monotonic, tls=tls)
    workers = ThreadWorkers(threads=1, queue=1)
    means = Means(upstream, fetcher, workers, shared_decoders(), time.monotonic, asyncio.sleep)
    providers = build_providers(means, {*BUILT_IN, *(subject.provider for subject in SUBJECTS)})
    yield providers
    for provider in providers.values():
        await provider.close()
    await upstream.close()
    await fetcher.close()
    workers.close()


def test_every_registered_model_is_asked(built: dict[str, Provider]) -> None:
    """Every model of every provider has an entry in subjects.py, and no entry is for a model that there is not."""
    registered = {(name, model) for name, provider in built.items() for model in provider.models}
    assert registered == {(subject.provider, subject.model) for subject in SUBJECTS}


def test_a_model_is_coherent(built: dict[str, Provider], subject: Subject) -> None:
    """A model is sold under its own name too, says what it can be asked, and contradicts itself nowhere."""
    model = built[subject.provider].models[subject.model]
    can = model.capabilities
    assert subject.provider == built[subject.provider].name
    assert model == built[subject.provider].models[model.name]
    assert model.family
    assert can.prompt_kinds
    assert (PromptKind.OBJECT in can.prompt_kinds) == (can.points or can.boxes)
    limits = can.limits
    numbers = (limits.min_side, limits.max_side, limits.max_bytes, limits.max_prompt_characters, can.max_masks)
    assert all(number is None or number > 0 for number in numbers)
    assert (limits.min_side or 1) <= (limits.max_side or math.inf)
    assert limits.media_types
    assert limits.media_types <= MEDIA_TYPES
    reads_words = bool(can.prompt_kinds & {PromptKind.TEXT, PromptKind.EXEMPLARS})
    assert reads_words or limits.max_prompt_characters is None


def test_a_list_price_is_money(built: dict[str, Provider], subject: Subject) -> None:
    """A published price is an exact number of dollars, for a known unit, from a day on, with its source."""
    price = built[subject.provider].models[subject.model].list_price
    if price is not None:
        assert Money.from_usd(price.usd) >= Money(0)
        assert price.unit in PriceUnit
        assert date.fromisoformat(price.valid_from) <= date(2100, 1, 1)
        assert price.source


def test_a_good_deployment_is_taken(built: dict[str, Provider], subject: Subject) -> None:
    """The deployment that this suite asks is one that the provider takes, and printing it shows no credential."""
    deployment = subject.deployment(ENDPOINT)
    built[subject.provider].check(deployment)
    assert CANARY not in repr(deployment)


@pytest.mark.parametrize(
    ("subject", "field", "value"), [pytest.param(*row, id=f"{row[0].name}-{row[1]}-{at}") for at, row in enumerate(BAD)]
)
def test_a_bad_deployment_is_refused(built: dict[str, Provider], subject: Subject, field: str, value: Any) -> None:
    """What cannot work is refused at start with a sentence that names the field and no credential."""
    where = field if field in Deployment.__dataclass_fields__ else "options"
    deployment = replace(subject.deployment(ENDPOINT), **{where: value})
    with pytest.raises(ValueError, match=field) as caught:
        built[subject.provider].check(deployment)
    assert CANARY not in str(caught.value)


def test_defaults_follow_the_keys(built: dict[str, Provider], subject: Subject) -> None:
    """Without a key there is nothing to call, but for models in this process; with one there is a good deployment."""
    provider = built[subject.provider]
    without = provider.defaults({})
    assert (subject.key_variable is None) == bool(without)
    found = without if subject.key_variable is None else provider.defaults({subject.key_variable: CANARY})
    assert found
    assert len(found) == len({deployment.name for deployment in found})
    for deployment in found:
        provider.check(deployment)
        assert provider.name == deployment.provider
        assert deployment.model in provider.models
        assert deployment.credential == Secret("" if subject.key_variable is None else CANARY)
        assert CANARY not in repr(deployment)
    if subject.key_variable is not None:
        assert not provider.defaults({subject.key_variable: ""})
