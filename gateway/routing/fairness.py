"""
Whose turn it is under `weighted`: shares that hold over any stretch of requests, without bursts.

Each time somebody is first, everyone who could have been is owed their weight more, and whoever was is owed all of
those weights less. Who is owed most, the weight of the next round included, comes next: 5, 1 and 1 come as
a a b a c a a. Who cannot be asked is owed nothing for that time, so that nobody is flooded when they come back.

Source: the smooth weighted round-robin of nginx, as the message of the commit describes it that brought it into
ngx_http_upstream_round_robin.c; read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from gateway.routing.candidates import Candidate


class Turns:
    """What each deployment is owed; whole numbers, whose sum is always 0."""

    def __init__(self, owed: Mapping[str, int] | None = None) -> None:
        """Owe what is given; nobody anything without."""
        self._owed = dict(owed or {})

    @property
    def owed(self) -> Mapping[str, int]:
        """What each is owed; who is not in it is owed nothing."""
        return MappingProxyType(self._owed)

    def taken(self, ranked: Sequence[Candidate]) -> None:
        """Note that of all of these the first was first."""
        for candidate in ranked:
            self._owed[candidate.name] = self._owed.get(candidate.name, 0) + candidate.offer.weight
        self._owed[ranked[0].name] -= sum(candidate.offer.weight for candidate in ranked)

    def renewed(self, names: Collection[str]) -> Turns:
        """Return turns for these: as here where all that are owed anything stay, and begun anew where one does not."""
        return Turns(self._owed) if self._owed.keys() <= set(names) else Turns()
