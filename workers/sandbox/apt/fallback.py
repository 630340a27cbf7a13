"""What to do while a mirror is inconsistent: other names of the release, older lists, a bounded wait, a clear end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

from workers.base.errors import CannotRun
from workers.sandbox.apt.host import whole_number
from workers.sandbox.apt.lists import Lists, last_day, release, valid_until
from workers.sandbox.apt.root import AptRoot, MirrorDisagrees

WAIT_SECONDS = 480
"""How long one command waits for mirrors in total, if $KITTEN_MIRROR_WAIT does not say otherwise."""

_FIRST_PAUSE = 15.0  # seconds; each is twice as long as the one before
_LONGEST_PAUSE = 240.0
_OLDER_SECONDS = 3600.0  # after that the mirror is asked again, though older lists served

_T = TypeVar("_T")


class WaitBudget:
    """The waiting of one command: bounded in total, however many of its targets meet the same mirror."""

    def __init__(self) -> None:
        self.waited = 0.0

    def pause(self, number: int) -> float:
        """Seconds to wait before the next attempt; 0: the time is used up."""
        left = whole_number("KITTEN_MIRROR_WAIT", WAIT_SECONDS) - self.waited
        return max(0.0, min(_FIRST_PAUSE * 2.0**number, _LONGEST_PAUSE, left))

    def wait(self, seconds: float) -> None:
        """Wait, and count it."""
        time.sleep(seconds)
        self.waited += seconds


wait_budget = WaitBudget()


def private_root(suite: str, architecture: str, *, sources: bool = False) -> AptRoot:
    """The private root of a suite and architecture, its lists not older than a day if the mirror has whole ones.

    For questions to the lists alone. To fetch what they name, use ``with_lists``.

    :param sources: with the lists of source packages as well (``apt-get source --download-only``).
    :raises CannotRun: no apt, no keys, no network, no lists that can be trusted.
    """
    return with_lists(suite, architecture, lambda root: root, sources=sources)


def with_lists(suite: str, architecture: str, work: Callable[[AptRoot], _T], *, sources: bool = False) -> _T:
    """Do work with a private root whose lists and packages agree; repeat it with other lists while they do not.

    :param work: asks and fetches all that must be of the same lists. It raises ``MirrorDisagrees``, as ``AptRoot`` does and
        ``contradiction`` finds in another program's output, and is then called again: it must cope with what it left.
    :raises CannotRun: what ``work`` raises; no apt, no keys, no network; or a mirror that stays inconsistent.
    """
    lists = Lists(suite, architecture, sources=sources)
    number = 0
    while True:
        attempt = _Attempt(lists, first=number == 0)
        for root in attempt.roots():
            (root.folder / "used").touch()  # nobody removes it for a day
            try:
                result = work(root)
            except CannotRun as error:
                attempt.failed(root, error)
                continue
            attempt.succeeded(root)
            return result
        pause = wait_budget.pause(number) if attempt.worth_a_wait else 0
        if not pause:
            raise attempt.error()
        _say(
            f"{lists.mirror} is inconsistent for {suite}, {architecture}: {attempt.first_reason}; next attempt in {pause:.0f} s"
        )
        wait_budget.wait(pause)
        number += 1


class _Attempt:
    """One walk through all lists with which the work may succeed, and why each did not serve."""

    def __init__(self, lists: Lists, *, first: bool) -> None:
        self._lists = lists
        self._ask_usual = first
        self._began = time.time()
        self._errors: list[tuple[str, CannotRun]] = []
        self._older: set[AptRoot] = set()

    @property
    def first_reason(self) -> str:
        """Why the first lists did not serve, in words."""
        return self._errors[0][1].what

    @property
    def worth_a_wait(self) -> bool:
        """Whether the mirror may be consistent in some minutes."""
        return any(isinstance(error, MirrorDisagrees) and error.passing for _, error in self._errors)

    def roots(self) -> Iterator[AptRoot]:
        """Private roots to do the work with, the best first; each is asked for only if the work failed with those before."""
        seen = set()
        if self._ask_usual and (usual := self._lists.usual()):
            seen.add(usual)
            yield usual
        for name in self._lists.names:
            how = "" if name == self._lists.suite else f"as {name}: "
            try:
                root = self._lists.updated(name, self._began)
            except CannotRun as error:
                self._errors.append((how, error))
                if not isinstance(error, MirrorDisagrees) and not how:
                    break  # out of reach, or not signed with a known key: other names are not better
                continue
            if root in seen:
                if how:
                    self._errors.append((how, MirrorDisagrees("the same lists", passing=False)))
                continue
            seen.add(root)
            if how:
                _say(f"{self._subject}: {self.first_reason}; using the lists that the mirror serves as {name}")
            yield root
        for root in self._lists.kept():
            if root not in seen and self._may_serve(root):
                self._older.add(root)
                _say(f"{self._subject}: {self.first_reason}; using {_described(root)}")
                yield root

    def failed(self, root: AptRoot, error: CannotRun) -> None:
        """Note why the work failed.

        :raises CannotRun: the error itself, if no mirror that contradicts itself is the cause.
        """
        if not self._errors and not isinstance(error, MirrorDisagrees):
            raise error
        how = _described(root) if root in self._older else "" if root.name == self._lists.suite else f"as {root.name}"
        self._errors.append((f"{how}: " if how else "", error))

    def succeeded(self, root: AptRoot) -> None:
        """Remember the lists that served, if they are not those that the next command uses anyway."""
        if root in self._older:
            self._lists.prefer(root, _OLDER_SECONDS)
        elif self._errors and root != self._lists.usual():
            self._lists.prefer(root)

    def error(self) -> CannotRun:
        """What to report at the end."""
        first = self._errors[0][1]
        if not isinstance(first, MirrorDisagrees):
            return first
        reasons = "; ".join(dict.fromkeys(f"{how}{error.what}" for how, error in self._errors))
        waited = f"; waited {wait_budget.waited:.0f} s" if wait_budget.waited else ""
        return CannotRun(
            f"the mirror {self._lists.mirror} is inconsistent for {self._subject}: {reasons}{waited}",
            "run the same command again later, or use another mirror: export KITTEN_DEBIAN_MIRROR=URL",
        )

    @property
    def _subject(self) -> str:
        return f"{self._lists.suite}, {self._lists.architecture}"

    def _may_serve(self, root: AptRoot) -> bool:
        if datetime.now(UTC) <= (last := last_day(root)):
            return True
        self._errors.append((f"{_described(root)}: ", MirrorDisagrees(f"too old since {last:%Y-%m-%d}", passing=False)))
        return False


def _described(root: AptRoot) -> str:
    """Lists that this host kept, in words: of when they are, and how long past their time."""
    words = f"the kept lists of {release(root).get('Date', 'an unknown date')}"
    until = valid_until(root)
    if until and (late := datetime.now(UTC) - until).total_seconds() > 0:
        words += f", {late.days} days beyond their Valid-Until"
    return words


def _say(text: str) -> None:
    print(f"apt: {text}", flush=True)  # noqa: T201 - progress for people
