"""Work in spite of an inconsistent mirror: by other names of the release, older lists, a bounded wait, or an error."""

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
"""Seconds that one command waits for mirrors in total; $KITTEN_MIRROR_WAIT overrides it."""

_FIRST_PAUSE = 15.0  # seconds; each further pause is twice as long
_LONGEST_PAUSE = 240.0
_OLDER_SECONDS = 3600.0  # after older lists worked, commands use them for so long before they ask the mirror again

_T = TypeVar("_T")


class WaitBudget:
    """The time that one command may wait for mirrors, for all its targets together."""

    def __init__(self) -> None:
        self.waited = 0.0

    def pause(self, number: int) -> float:
        """Return the seconds to wait before the next attempt; 0 if no time is left."""
        left = whole_number("KITTEN_MIRROR_WAIT", WAIT_SECONDS) - self.waited
        return max(0.0, min(_FIRST_PAUSE * 2.0**number, _LONGEST_PAUSE, left))

    def wait(self, seconds: float) -> None:
        """Wait and count the seconds."""
        time.sleep(seconds)
        self.waited += seconds


wait_budget = WaitBudget()


def private_root(suite: str, architecture: str, *, sources: bool = False) -> AptRoot:
    """Return the private root of a suite and architecture; its lists are at most a day old if the mirror is complete.

    Use it only to read the lists. To download packages that they name, use :func:`with_lists`.

    :param sources: also get the lists of source packages (``apt-get source --download-only``).
    :raises CannotRun: if apt, its keys, the network or lists with a valid signature are missing.
    """
    return with_lists(suite, architecture, lambda root: root, sources=sources)


def with_lists(suite: str, architecture: str, work: Callable[[AptRoot], _T], *, sources: bool = False) -> _T:
    """Do work with a private root; if its lists and the mirror's packages disagree, do it again with other lists.

    :param work: reads and downloads everything that must come from the same lists. If it raises ``MirrorDisagrees`` (as
        ``AptRoot`` does, and as ``contradiction`` returns for another program's output), it is called again. So it must
        accept its own leftovers.
    :raises CannotRun: any other error of ``work``; apt, keys or network are missing; the mirror stays inconsistent.
    """
    lists = Lists(suite, architecture, sources=sources)
    number = 0
    while True:
        attempt = _Attempt(lists, first=number == 0)
        for root in attempt.roots():
            (root.folder / "used").touch()  # no command removes it for a day
            try:
                result = work(root)
            except CannotRun as error:
                attempt.note_failure(root, error)
                continue
            attempt.note_success(root)
            return result
        pause = wait_budget.pause(number) if attempt.worth_a_wait else 0
        if not pause:
            raise attempt.error()
        problem = f"{lists.mirror} is inconsistent for {suite}, {architecture}: {attempt.first_reason}"
        _say(f"{problem}; next attempt in {pause:.0f} s")
        wait_budget.wait(pause)
        number += 1


class _Attempt:
    """One pass through all lists with which the work may succeed, and the reason why each one failed."""

    def __init__(self, lists: Lists, *, first: bool) -> None:
        self._lists = lists
        self._ask_usual = first
        self._began = time.time()
        self._errors: list[tuple[str, CannotRun]] = []
        self._older: set[AptRoot] = set()

    @property
    def first_reason(self) -> str:
        """Return why the work failed with the first lists."""
        return self._errors[0][1].what

    @property
    def worth_a_wait(self) -> bool:
        """Return whether the mirror may be consistent in some minutes."""
        return any(isinstance(error, MirrorDisagrees) and error.passing for _, error in self._errors)

    def roots(self) -> Iterator[AptRoot]:
        """Yield private roots for the work, the best first; the caller takes the next one if the work failed."""
        seen = set()
        if self._ask_usual and (usual := self._lists.usual()):
            seen.add(usual)
            yield usual
        for name in self._lists.names:
            how = "" if name == self._lists.suite else f"as {name}: "
            try:
                root = self._lists.update(name, self._began)
            except CannotRun as error:
                self._errors.append((how, error))
                if not isinstance(error, MirrorDisagrees) and not how:
                    break  # no network, or no known key: other names would fail, too
                continue
            if root in seen:
                if how:
                    self._errors.append((how, MirrorDisagrees("the same lists", passing=False)))
                continue
            seen.add(root)
            if how:
                _say(f"{self._subject}: {self.first_reason}; using the lists that the mirror serves as {name}")
            yield root
        for root in self._lists.newest_first():
            if root not in seen and self._may_serve(root):
                self._older.add(root)
                _say(f"{self._subject}: {self.first_reason}; using {_description(root)}")
                yield root

    def note_failure(self, root: AptRoot, error: CannotRun) -> None:
        """Note why the work failed.

        :raises CannotRun: the error itself, if an inconsistent mirror is not the cause.
        """
        if not self._errors and not isinstance(error, MirrorDisagrees):
            raise error
        how = _description(root) if root in self._older else "" if root.name == self._lists.suite else f"as {root.name}"
        self._errors.append((f"{how}: " if how else "", error))

    def note_success(self, root: AptRoot) -> None:
        """Remember the lists that worked, unless the next command uses them anyway."""
        if root in self._older:
            self._lists.prefer(root, _OLDER_SECONDS)
        elif self._errors and root != self._lists.usual():
            self._lists.prefer(root)

    def error(self) -> CannotRun:
        """Return the error to report after the last attempt."""
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
        self._errors.append(
            (f"{_description(root)}: ", MirrorDisagrees(f"too old since {last:%Y-%m-%d}", passing=False))
        )
        return False


def _description(root: AptRoot) -> str:
    """Return a text that names lists of this host by their date, with the days after their Valid-Until."""
    text = f"the kept lists of {release(root).get('Date', 'an unknown date')}"
    until = valid_until(root)
    if until and (late := datetime.now(UTC) - until).total_seconds() > 0:
        text += f", {late.days} days beyond their Valid-Until"
    return text


def _say(text: str) -> None:
    print(f"apt: {text}", flush=True)  # noqa: T201 - progress for people
