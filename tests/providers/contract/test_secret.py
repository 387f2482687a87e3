"""Credentials do not print."""

from __future__ import annotations

import logging
import traceback

import pytest

from providers.contract import Deployment, Secret

HIDDEN = "rf_live_5up3r"


def test_a_secret_prints_as_stars() -> None:
    """No way of printing a secret, or a deployment that holds one, shows any of it."""
    secret = Secret(HIDDEN)
    deployment = Deployment("one", "runflow", "sam-3", "eu", credential=secret)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r}", "%s" % secret, f"{[secret]}", f"{deployment}"]  # noqa: UP031 - one of the ways
    assert not [text for text in shown if HIDDEN in text or "5up3r" in text]
    assert "Secret('********')" in repr(deployment)


def test_a_secret_is_not_in_logs_or_traces(caplog: pytest.LogCaptureFixture) -> None:
    """A log line and an exception that were given the secret show stars."""
    secret = Secret(HIDDEN)
    logging.getLogger(__name__).warning("using %s", secret)
    error = ValueError("with", secret)
    assert HIDDEN not in caplog.text + "".join(traceback.format_exception(error))


def test_a_secret_is_its_value_to_those_who_ask() -> None:
    """It reveals its value, equals one of the same value, hashes alike, and is false when there is none."""
    secret = Secret(HIDDEN)
    assert secret.reveal() == HIDDEN
    assert Secret(HIDDEN) == secret
    assert hash(Secret(HIDDEN)) == hash(secret)
    assert secret != HIDDEN
    assert secret
    assert not Secret("")


def test_a_secret_has_no_dictionary_to_leak_from() -> None:
    """It has no `__dict__` that a serializer would walk."""
    assert not hasattr(Secret(HIDDEN), "__dict__")
