"""Deployments that cannot work are refused before any traffic, in words that say what to change."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from providers.contract import Deployment, Secret
from providers.deployment_checks import OptionRule, check_http_deployment, number_between

OPTIONS = {"poll_seconds": OptionRule(number_between(0.02, 60), "a number of seconds from 0.02 to 60")}


def checked(
    *,
    endpoint: str = "https://api.example",
    credential: str = "key_1",
    model: str = "a/b",
    options: Mapping[str, str | int | float | bool] | None = None,
) -> None:
    """Check a deployment that is right but for what is given."""
    deployment = Deployment("eu", "p", model, "eu", endpoint, Secret(credential), options or {})
    check_http_deployment(deployment, models=["a/b"], options=OPTIONS)


@pytest.mark.parametrize("endpoint", ["https://api.example", "http://127.0.0.1:8081", "https://api.example/v2"])
def test_right(endpoint: str) -> None:
    """An endpoint of http or https, with or without a path, is right."""
    checked(endpoint=endpoint, options={"poll_seconds": 1})


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "api.example",
        "ftp://api.example",
        "https://",
        "https://api.example/",
        "https://api.example?x=1",
        "https://api.example#x",
        "https://api.example:99999",
        "https://[::1",
        "https://api.example/a b",
        "https://api.example\r\n",
    ],
)
def test_endpoint(endpoint: str) -> None:
    """An endpoint to which no path can be appended is refused by name and value."""
    with pytest.raises(ValueError, match="deployment 'eu': endpoint"):
        checked(endpoint=endpoint)


def test_endpoint_with_a_password() -> None:
    """An endpoint that holds a user name is refused without being shown."""
    with pytest.raises(ValueError, match="user name") as refusal:
        checked(endpoint="https://me:hunter2@api.example")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("credential", ["", "key 1", "key\n", "schlüssel"])
def test_credential(credential: str) -> None:
    """A credential that is empty or fits no header is refused without being shown."""
    with pytest.raises(ValueError, match="deployment 'eu': credential") as refusal:
        checked(credential=credential)
    assert not credential or credential not in str(refusal.value)


def test_model() -> None:
    """An unknown model is refused, and the known ones are named."""
    with pytest.raises(ValueError, match="model 'x' is unknown; use one of a/b"):
        checked(model="x")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pol_seconds": 1}, "options.pol_seconds is unknown; known options: poll_seconds"),
        ({"poll_seconds": 0}, "options.poll_seconds is 0; it has to be a number of seconds from 0.02 to 60"),
        ({"poll_seconds": "1"}, "options.poll_seconds is '1'"),
        ({"poll_seconds": True}, "options.poll_seconds is True"),
        ({"poll_seconds": float("nan")}, "options.poll_seconds is nan"),
    ],
)
def test_options(options: Mapping[str, str | int | float | bool], words: str) -> None:
    """An option that is unknown or out of range is refused, and the message says what it may be."""
    with pytest.raises(ValueError, match="deployment 'eu'") as refusal:
        checked(options=options)
    assert words in str(refusal.value)
