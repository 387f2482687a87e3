"""A gateway on sandbox upstreams, on real sockets."""

from collections.abc import Iterator

import pytest

from tests.gateway.house import House, house_running


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return a running gateway whose only upstreams are a sandbox's."""
    with house_running(tmp_path_factory.mktemp("state")) as running:
        yield running
