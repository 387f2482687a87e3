"""The ledger as the works about load read it."""

import time
from pathlib import Path

from gateway.accounting import Attempt as Wanted
from gateway.accounting import Ledger
from providers.contract import Money
from tests.benchmarks.load_ledger import Attempt, disagreements, read_attempts
from tests.benchmarks.load_regions import Call

SETTLED = Attempt("one", 1.0, 2.0, "settle", "a")
HELD = Attempt("one", 1.0, 2.0, "hold", None)


async def test_attempts_are_read_as_they_ended(tmp_path: Path) -> None:
    """A settled one has its job, one that is open has no end."""
    before = time.time()
    ledger = await Ledger.open(
        f"sqlite:///{tmp_path / 'maskgate.db'}", wall=time.time, clock=time.monotonic, answer_seconds=10
    )
    try:
        for number in range(2):
            attempt = Wanted(f"att{number}", "seg", 0, "acme", "key", "one", "prodia", "sam-3", "eu", "one@2026-01-01")
            reservation = await ledger.reserve(attempt, Money(1100), expires_in=60)
            if number == 0:
                async with reservation:
                    await reservation.settle(charge=Money(1100), cost=Money(1100), reported=None, upstream_ref="a")
        settled, under_way = read_attempts(tmp_path)
    finally:
        await ledger.close()
    assert ("one", "settle", "a", False) == (settled.deployment, settled.kind, settled.job, settled.failed)
    assert settled.ended is not None
    assert before - 0.001 <= settled.begun <= settled.ended <= time.time() + 0.001
    assert ("open", None, None) == (under_way.kind, under_way.ended, under_way.job)


def test_what_was_billed_is_settled_or_held() -> None:
    """An answer that never came may have been billed; then an attempt is on hold for it."""
    calls = [Call("one", 1.1, 1.9, 200, "a"), Call("one", 1.1, 1.9, 500, None), Call("one", 1.2, 1.9, 200, "b")]
    assert [] == disagreements([SETTLED, HELD, Attempt("one", 1.0, 2.0, "release", None)], calls)


def test_every_difference_is_named() -> None:
    """An open attempt, one that is settled twice, one that nobody billed, and a call that is not in the ledger."""
    calls = [Call("one", 1.1, 1.9, 200, "b")]
    attempts = [SETTLED, SETTLED, Attempt("one", 1.0, None, "open", None)]
    found = disagreements(attempts, calls)
    assert ["1", "1", "1", "1"] == [words.partition(" ")[0] for words in found]
