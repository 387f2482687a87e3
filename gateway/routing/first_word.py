"""
Who has the first word once an ejection has run out: a free probe, or real traffic (pure).

A call of a caller's that finds out that a deployment is still dead has waited for nothing. So where its provider can be
asked something free, that comes first, and as long as it fails no caller is sent there. It is a hint all the same:

- what it says in favour is not believed: one real call decides, since a service that is up and knows our key may fail
  at what it is for;
- what it says against is believed three times in a row, and then a real call decides: nothing is out for ever because
  a question that nobody pays for is answered badly;
- it is not waited for: a second after the ejection's end real traffic goes as if there were none.
"""

from __future__ import annotations

#: The longest that a free probe may take: a connection that is waited for in vain, and a few seconds.
FREE_PROBE_SECONDS = 8.0
#: How late a free probe, or its end, may be before real traffic goes on without it.
LATE_SECONDS = 1.0
#: Free probes that are believed to have failed for the deployment's sake, with no real call between.
BELIEVED_FAILURES = 3


class FirstWord:
    """Of one deployment's free probe. Times are in monotonic seconds."""

    def __init__(self) -> None:
        """Leave it to real traffic."""
        self.offered = False
        """Whether somebody can ask something free."""
        self._until = 0.0
        self._asked = 0
        self._asking = False
        self._failures = 0

    def held(self, now: float) -> bool:
        """Whether real traffic has to wait for a free probe or its end."""
        return now < self._until

    def asking(self, now: float) -> bool:
        """Whether a free probe is under way, and not overdue."""
        return self._asking and self.held(now)

    def due(self, now: float) -> bool:
        """Whether one may begin, if the ejection has run out."""
        return not self._asking and self.held(now)

    def give(self, ends: float) -> None:
        """Have a free probe come first when an ejection *ends*, if there is one that is to be believed."""
        self._asking = False
        self._until = ends + LATE_SECONDS if self.offered and self._failures < BELIEVED_FAILURES else 0.0

    def ask(self, now: float) -> int:
        """Note that a free probe begins; return its number."""
        self._asking = True
        self._asked += 1
        self._until = now + FREE_PROBE_SECONDS + LATE_SECONDS
        return self._asked

    def ended(self, number: int, *, failed: bool) -> bool:
        """Note how that free probe ended; return whether it still counts: real traffic may have gone on without it."""
        if not self._asking or number != self._asked:
            return False
        self.leave()
        self._failures += failed
        return True

    def leave(self) -> None:
        """Leave it to real traffic."""
        self._asking = False
        self._until = 0.0

    def waive(self) -> None:
        """Leave it to real traffic, unless a free probe is under way: there is better news than one would bring."""
        if not self._asking:
            self._until = 0.0

    def decided(self) -> None:
        """Note that a real call has found out: free probes are believed again."""
        self._failures = 0
