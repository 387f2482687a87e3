"""The upstream and the proxy of the benchmarks answer a POST with the very bytes they were given."""

import os
import shutil
from pathlib import Path

import pytest

from tests.benchmarks import nginx
from tests.benchmarks.contender import ask
from tests.benchmarks.processes import NotRunnable, serving

pytestmark = pytest.mark.skipif(
    shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None,
    reason="nginx is not installed; on Debian: apt-get install nginx-light",
)


def test_a_post_is_answered_through_the_proxy(tmp_path: Path) -> None:
    """Any bytes come back whole with their content type and status 200, straight and through proxy_pass."""
    core = min(os.sched_getaffinity(0))
    answer = nginx.Answer("multipart/form-data; boundary=6f1d", bytes(range(256)) * 6)
    body = tmp_path / "body"
    body.write_bytes(b"x" * 2000)

    with (
        nginx.upstream({"/v2/job": answer}, folder=tmp_path / "upstream", core=core) as upstream,
        nginx.proxy(upstream.port, folder=tmp_path / "proxy", core=core) as proxy,
    ):
        heard = [ask(server.url("/v2/job?price=true"), body=body) for server in (upstream, proxy)]

    assert [(200, answer.content_type, answer.body)] * 2 == [
        (one.status, one.headers["content-type"], one.body) for one in heard
    ]


def test_a_server_that_ends_at_once_is_named_with_its_last_words(tmp_path: Path) -> None:
    """A program that does not start is an error that shows what it said."""
    command = ["sh", "-c", "echo no room >&2; exit 3"]
    core = min(os.sched_getaffinity(0))

    with (
        pytest.raises(NotRunnable, match="no room"),
        serving(command, core=core, port=1, log=tmp_path / "log"),
    ):
        pytest.fail("the block must not be entered")
