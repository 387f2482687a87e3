"""
The fourteen stages at which a gateway is killed: how a request is brought to each of them, and what is on disk then.

Each `lead` returns when the request stands exactly there, held by a gate, a locked file or a caller who does not read;
whoever calls it kills the gateway. Where the list means something that Maskgate does not have (runs of its own that are
acknowledged before they are done, a store of blobs), the stage is the nearest thing it has, and says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.end_to_end.gates import Point, Trap
from tests.end_to_end.killing import Play

RUNFLOW, PRODIA = "runflow-eu", "prodia"
BOTH = (RUNFLOW, PRODIA)

Lead = Callable[[Play], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the stages."""

    number: int
    lead: Lead
    leaves: frozenset[str]
    """What the ledger may say of the request's attempt when the gateway is dead; `none` where there is none."""
    deployments: tuple[str, ...] = BOTH
    called_back: bool = False
    """Whether the gateway has a public address, and waits for callbacks instead of looking."""
    afterwards: Lead | None = None
    """What has to hold in addition, once another gateway has taken over."""

    def __str__(self) -> str:
        """Name it in a test's id."""
        return f"{self.number:02}-{self.lead.__name__}"


async def accepted(play: Play) -> None:
    """After accept: the gateway waits for the second half of the request."""
    await play.send_half()


async def reserved(play: Play) -> None:
    """
    After the reservation's commit.

    With PostgreSQL and an odd seed the gateway has not even heard that it has committed; else it has begun to connect
    to the upstream, which accepts nobody.
    """
    if play.commits is not None and play.seed % 2:
        committed = play.commits.hold(play.question.name, after=True)
        play.ask()
        await committed.wait()
    else:
        await play.gate.clog()
        play.ask()
    await play.attempt()


async def connected(play: Play) -> None:
    """After connect: the upstream has accepted, and reads nothing."""
    await _stopped(play, Point.CONNECTED)


async def sent(play: Play) -> None:
    """After the request's last byte: for an even seed the upstream has not acted on it, for an odd one it has."""
    await _stopped(play, Point.ANSWER if play.seed % 2 else Point.REQUEST, _posts)


async def answering(play: Play) -> None:
    """In the middle of an answer; of a run at Runflow it is that to the creation, to a look, or the mask's."""
    lines = (_posts, _looks, _brings) if play.deployment == RUNFLOW else (_posts,)
    await _stopped(play, Point.MIDDLE, lines[play.seed % len(lines)])


async def answered(play: Play) -> None:
    """After the whole answer, before its settlement is on disk."""
    await _settlement_held(play, await _stopped(play, Point.ANSWER, _posts))


async def settled(play: Play) -> None:
    """
    After the settlement, before the answer is stored: under its Idempotency-Key, where other gateways have a blob.

    With PostgreSQL the gateway has not heard that it has committed. With SQLite it is killed in the moment in which the
    settlement can be read; should it be faster than that, it is killed in the next stage instead.
    """
    trap = await _stopped(play, Point.ANSWER, _posts)
    attempt = await play.attempt()
    if play.commits is not None:
        committed = play.commits.hold(attempt, after=True)
        trap.released.set()
        await committed.wait()
    else:
        trap.released.set()
        await play.until_ended(attempt, "settle")


async def stored(play: Play) -> None:
    """After the answer is stored under its Idempotency-Key, before the caller has read it."""
    play.ask()
    await play.until_stored()


async def claimed(play: Play) -> None:
    """
    Acknowledged, and not begun: the Idempotency-Key is taken on disk, and the picture is not there yet.

    Maskgate has no runs of its own that would be acknowledged with 202; the claim is what outlives the process.
    """
    trap = play.pictures.trap(Point.REQUEST)
    play.ask()
    await trap.sprung.wait()
    assert await play.is_claimed()


async def polling(play: Play) -> None:
    """While the run is looked at: before the look arrives for an even seed, before its answer does for an odd one."""
    await _stopped(play, Point.ANSWER if play.seed % 2 else Point.REQUEST, _looks)


async def called_back(play: Play) -> None:
    """The run's callback was received, and the settlement it led to is not on disk."""
    trap = play.callbacks.trap(Point.REQUEST, _tells)
    play.ask()
    await trap.sprung.wait()
    await _settlement_held(play, trap)


async def unacknowledged(play: Play) -> None:
    """The settlement is on disk, and the callback that led to it was not acknowledged."""
    trap = play.callbacks.trap(Point.ANSWER, _tells)
    play.ask()
    await trap.sprung.wait()
    await play.until_ended(await play.attempt(), "settle")


async def alerted(play: Play) -> None:
    """A budget's webhook was sent, and it is not marked as taken, since its receiver has not answered."""
    await play.set_soft_budget()
    taken = play.receiver.keep_waiting()
    play.ask()
    await taken.wait()


async def alerted_again(play: Play) -> None:
    """The next request that passes the budget has its webhook sent again, under the same id."""
    await play.pass_soft_budget_again()


async def sweeping(play: Play) -> None:
    """
    Inside the sweeper: a second gateway holds what the first one, killed with a call in flight, has left open.

    With PostgreSQL its commit is held back. A SQLite file cannot be locked against the sweep and not against the start
    that it is a part of; so there the second gateway is killed in the moment in which its hold can be read.
    """
    await _stopped(play, Point.ANSWER, _posts)
    attempt = await play.attempt()
    await play.kill()
    if play.commits is not None:
        held = play.commits.hold(attempt)
        await play.start()
        await held.wait()
    else:
        await play.start()
        await play.until_ended(attempt, "hold")


async def _stopped(play: Play, point: Point, meant_for: Callable[[bytes], bool] = lambda _: True) -> Trap:
    """Ask, and return when the exchange with the upstream stands at a point."""
    trap = play.gate.trap(point, meant_for)
    play.ask()
    await trap.sprung.wait()
    return trap


async def _settlement_held(play: Play, trap: Trap) -> None:
    """Let what is trapped go on, but not the settlement it leads to; return when the gateway is about to settle."""
    attempt = await play.attempt()
    if play.commits is not None:
        held = play.commits.hold(attempt)
        trap.released.set()
        await held.wait()
        return
    play.lock_file()
    last = play.gate.trap(Point.PASSED, _brings if play.deployment == RUNFLOW else _posts)
    trap.released.set()
    await last.sprung.wait()
    await play.have_it_look()


def _posts(line: bytes) -> bool:
    """Whether a request orders a segmentation."""
    return line.startswith(b"POST ") and (b"/runs " in line or b"/job?" in line)


def _looks(line: bytes) -> bool:
    """Whether a request looks at one run."""
    return line.startswith(b"GET /v1/runs/")


def _brings(line: bytes) -> bool:
    """Whether a request brings a mask."""
    return line.startswith(b"GET ") and b"/v1/" not in line


def _tells(line: bytes) -> bool:
    """Whether a request is a callback for the deployment that nobody else asks."""
    return line.startswith(b"POST /v1/callbacks/" + RUNFLOW.encode())


OPEN, SETTLED, NONE = frozenset({"open"}), frozenset({"settle"}), frozenset({"none"})

STAGES = (
    Stage(1, accepted, NONE),
    Stage(2, reserved, OPEN),
    Stage(3, connected, OPEN),
    Stage(4, sent, OPEN),
    Stage(5, answering, OPEN),
    Stage(6, answered, OPEN),
    Stage(7, settled, SETTLED),
    Stage(8, stored, SETTLED),
    Stage(9, claimed, NONE),
    Stage(10, polling, OPEN, deployments=(RUNFLOW,)),
    Stage(11, called_back, OPEN, deployments=(RUNFLOW,), called_back=True),
    Stage(12, unacknowledged, SETTLED, deployments=(RUNFLOW,), called_back=True),
    Stage(13, alerted, frozenset({"open", "settle"}), afterwards=alerted_again),
    Stage(14, sweeping, frozenset({"open", "hold"})),
)
