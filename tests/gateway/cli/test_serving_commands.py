"""What holds for `maskgate serve` and `maskgate sandbox`, as processes."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from gateway.cli.failures import FAILED, NO_GATEWAY, WRONG_COMMAND_LINE
from tests.ports import free_row

MASKGATE = [sys.executable, "-m", "gateway.cli.main"]


@contextmanager
def started(environ: dict[str, str], *arguments: str, ready: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a command until *ready* (a pattern) stands on its stderr; give the process and what it had said by then."""
    process = subprocess.Popen(
        [*MASKGATE, *arguments], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if re.search(ready, line):
                break
        else:
            pytest.fail(f"it ended without having started: {said}")
        yield process, said
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=40)


def answer(url: str) -> dict[str, object]:
    """Return the JSON behind a URL."""
    with urllib.request.urlopen(url, timeout=60) as response:
        return json.load(response)


def url_in(said: str) -> str:
    """Return the gateway's URL, out of what it says when it has started."""
    found = re.search(r"Maskgate on (http://[^ ,\n]+)", said)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_gateway_serves_until_it_is_told_to_stop(environ: dict[str, str], number: signal.Signals) -> None:
    """It says where it and its first key are, answers, and ends with 0 on either signal; no output holds the key."""
    with started(environ, "serve", "--port", "0", ready="Maskgate on") as (process, said):
        assert (True, False) == (f"API key in {environ['MASKGATE_STATE_DIR']}/key\n" in said, "mg_" in said)
        assert answer(f"{url_in(said)}/healthz") == {"status": "ok"}
        process.send_signal(number)
        assert process.wait(timeout=40) == 0
    with started(environ, "serve", "--port", "0", ready="Maskgate on") as (process, said):
        assert "mg_" not in said


def test_sandbox_comes_with_the_gateway(environ: dict[str, str], tmp_path: Path) -> None:
    """`serve --sandbox` has the sandbox's deployments, and leaves no file behind."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = ("serve", "--sandbox", "--port", "0")
    with started(environ | {"TMPDIR": str(scratch)}, *command, ready="Maskgate on") as (process, said):
        deployments = answer(f"{url_in(said)}/v1/deployments")["deployments"]
        assert isinstance(deployments, list)
        assert [each["name"] for each in deployments] == ["runflow-eu", "runflow-us", "prodia", "local-classic"]
        control = re.search(r"Sandbox on (http://\S+)", said)
        assert control is not None
        assert answer(f"{control[1]}/books") == {"calls": []}
        process.terminate()
        assert process.wait(timeout=40) == 0
    assert list(scratch.iterdir()) == []


def test_several_processes_share_port_and_ledger(environ: dict[str, str]) -> None:
    """Two processes answer on one port, know one key, and end together."""
    with started(environ, "serve", "--port", "0", "--workers", "2", ready="Maskgate on") as (process, said):
        url = url_in(said)
        # The socket listens before the processes do: the first request waits until one of them takes it.
        assert answer(f"{url}/healthz") == {"status": "ok"}
        assert isinstance(answer(f"{url}/v1/deployments")["deployments"], list)
        process.terminate()
        assert process.wait(timeout=40) == 0


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_admin_routes_have_a_port_of_their_own(environ: dict[str, str], workers: str) -> None:
    """That port answers them and the proof of life, the other one all but them, however many processes there are."""
    made = run(environ, "keys", "create", "--tenant", "operations", "--scope", "admin", "--json")
    headers = {"Authorization": f"Bearer {json.loads(made.stdout)['key']}"}
    command = ("serve", "--port", "0", "--admin-port", "0", "--workers", workers)
    with started(environ, *command, ready="Maskgate on") as (process, said):
        found = re.search(r"Admin routes on (http://\S+)", said)
        assert found is not None
        paths = ("/healthz", "/admin/v1/keys", "/v1/deployments", "/readyz", "/openapi.json")
        assert [200, 404, 200, 200, 200] == [status(url_in(said) + path, headers) for path in paths]
        assert [200, 200, 404, 404, 404] == [status(found[1] + path, headers) for path in paths]
        process.terminate()
        assert process.wait(timeout=40) == 0


def status(url: str, headers: dict[str, str]) -> int:
    """Return the status of what is behind a URL."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.slow
def test_an_admin_port_that_is_the_gateway_s_own_is_refused(environ: dict[str, str]) -> None:
    """One port cannot be both, and the refusal names the option."""
    port = str(free_row(1))
    done = run(environ, "serve", "--port", port, "--admin-port", port)
    assert (NO_GATEWAY, True) == (done.returncode, "Name another with --admin-port" in done.stderr)


def run(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([*MASKGATE, *arguments], env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_taken_port_is_no_traceback(environ: dict[str, str]) -> None:
    """A port that somebody listens on is exit code 3 and one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = run(environ, "serve", "--port", str(other.getsockname()[1]))
    assert done.returncode == NO_GATEWAY
    assert "Address already in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_bad_configuration_does_not_start(environ: dict[str, str], tmp_path: Path) -> None:
    """A configuration with problems is exit code 1, every problem with its line."""
    file = tmp_path / "bad.yaml"
    file.write_text("deployments:\n  - name: a\n    povider: local\n")
    done = run(environ, "serve", "--config", str(file))
    assert done.returncode == FAILED
    assert "line 3" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_ledger_that_cannot_be_opened_is_said(environ: dict[str, str], unused_port: int, workers: str) -> None:
    """A database that is not there is said in a sentence, by one process and by several."""
    url = f"postgresql://nobody@127.0.0.1:{unused_port}/none"
    done = run(environ | {"MASKGATE_DATABASE_URL": url}, "serve", "--port", "0", "--workers", workers)
    assert done.returncode == NO_GATEWAY
    assert "the gateway did not start" in done.stderr
    assert "Traceback" not in done.stderr


def test_sandbox_brings_its_own_configuration(environ: dict[str, str], tmp_path: Path) -> None:
    """--sandbox and --config together are refused."""
    done = run(environ, "serve", "--sandbox", "--config", str(tmp_path / "any.yaml"))
    assert done.returncode == WRONG_COMMAND_LINE
    assert "--config" in done.stderr


@pytest.mark.slow
def test_printed_configuration_is_usable_beside_a_running_sandbox(environ: dict[str, str], tmp_path: Path) -> None:
    """What `sandbox --print-config` prints names the addresses that `sandbox` listens on, and the gateway takes it."""
    port = free_row(4)
    printed = run(environ, "sandbox", "--port", str(port), "--print-config")
    assert printed.returncode == 0
    file = tmp_path / "sandbox.yaml"
    file.write_text(printed.stdout)
    assert run(environ, "config", "check", str(file)).returncode == 0
    with started(environ, "sandbox", "--port", str(port), ready="--print-config") as (process, said):
        assert f"http://127.0.0.1:{port}" in said
        upstreams = answer(f"http://127.0.0.1:{port}/upstreams")
        endpoints = {each["name"]: each.get("endpoint") for each in yaml.safe_load(printed.stdout)["deployments"]}
        for name, upstream in upstreams.items():
            assert isinstance(upstream, dict)
            assert upstream["base_url"] == endpoints[name]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=40) == 0


def test_sandbox_on_a_taken_port_says_so(environ: dict[str, str]) -> None:
    """A taken port is exit code 3, and named."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run(environ, "sandbox", "--port", str(min(port, 65532)))
    assert done.returncode == NO_GATEWAY
    assert "port" in done.stderr  # this one, or one of the next few, which another program may have
    assert "is taken" in done.stderr
    assert "Traceback" not in done.stderr
