"""The server that every test of the adapter talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from providers.contract import Deployment, Secret
from providers.runflow import Runflow
from tests.providers.loopback import file_of, real_means, serving
from tests.providers.runflow.fake_runflow import DISCS, KEY, FakeRunflow, Scene


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Serve a Runflow whose run finds both discs."""
    fake = FakeRunflow()
    async with serving(fake.app()) as base, real_means(base) as means:
        fake.base = base
        fake.files = {"0.png": file_of(DISCS[0]), "1.webp": file_of(DISCS[1], ".webp"), "picture": b""}
        masks = [{"url": fake.mask_url(name), "type": "image"} for name in ("0.png", "1.webp")]
        fake.output = {"outputs": masks[:1], "model_data": {"masks": masks, "scores": [0.9, 0.4]}}
        options = {"poll_seconds": 0.02}
        deployment = Deployment("eu", "runflow", "meta/sam-3/image", "eu", base, Secret(KEY), options)
        runflow = Runflow(means)
        runflow.check(deployment)
        yield Scene(fake, runflow, deployment)
        await runflow.close()
