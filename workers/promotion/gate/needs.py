"""Find the packages that break with others: nothing but broken packages provides one of their needs.

This follows from the needs alone, without a solve. It never reports a sound package: libsolv would take each step too.
It does not find everything, because only libsolv judges rich dependencies and packages that exclude each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from workers.repository.protocols import Pool, PoolDependency, PoolSolvable


@dataclass(frozen=True, eq=False)
class Cause:
    """One of libsolv's rules that cannot be met together.

    It has no ``==``: Python crashes if it compares one of libsolv's solvables with None.
    """

    kind: int
    solvable: PoolSolvable
    other: PoolSolvable | None
    dependency: PoolDependency | None
    providers: tuple[int, ...] = ()
    """Numbers of the solvables that provide the dependency at that moment."""

    @property
    def need(self) -> PoolDependency:
        """The dependency that a rule is about.

        :raises ValueError: when the rule is about none.
        """
        if self.dependency is None:
            raise ValueError(f"libsolv's rule of kind {self.kind} names no dependency")
        return self.dependency

    @property
    def solvables(self) -> tuple[PoolSolvable, ...]:
        """The one or two packages that the rule is about."""
        return (self.solvable,) if self.other is None else (self.solvable, self.other)


_BRANCHING = 8
"""Packages on the way to a cause; after them, :meth:`Needs.causes` follows one of several alternatives."""

_LENGTH = 12
"""Packages on the way to a cause; after them, :meth:`Needs.causes` goes directly to the end of the chain."""

Chains = Mapping[int, tuple[int, int]]
"""Number of a solvable → (dependency, the only solvable that meets it). All chains end at one solvable."""


@dataclass(frozen=True)
class Reason:
    """Why a package cannot be installed."""

    lacking: tuple[int, ...] = ()
    """Dependencies that nothing provides."""
    lost: tuple[int, ...] = ()
    """The first dependency whose providers all cannot be installed."""
    core: tuple[Cause, ...] = ()
    """Rules that exclude it, found by a solve."""
    chains: tuple[Chains, ...] = ()
    """If the rules were found for another package: the needs that lead from this one to the packages in the rules."""


class Needs:
    """The needs of the packages that are enabled in a pool, and the packages that are known to be broken."""

    def __init__(
        self, pool: Pool, requires: Mapping[int, Sequence[int]], dependencies: Mapping[int, PoolDependency]
    ) -> None:
        """Look at every need once.

        :param requires: number of each enabled solvable → its dependencies.
        :param dependencies: number of a dependency → itself.
        """
        self._pool, self._requires, self._dependencies = pool, requires, dependencies
        self._users: dict[int, list[int]] = {}
        for number, listed in requires.items():
            for need in listed:
                self._users.setdefault(need, []).append(number)
        self.providers = {
            need: tuple(s.id for s in pool.whatprovides(dependencies[need]))
            for need in self._users
            if not is_conditional(dependencies[need])
        }
        self._offers: dict[int, list[int]] = {}
        for need, numbers in self.providers.items():
            for number in numbers:
                self._offers.setdefault(number, []).append(need)
        self._left = {need: len(numbers) for need, numbers in self.providers.items()}
        self.reasons: dict[int, Reason] = {}
        """Number of each broken solvable → why it is broken, in the order of discovery."""
        self._roots: dict[int, int] = {}
        """Number of each broken solvable → the solvable at the end of its chain."""
        lacking: dict[int, list[int]] = {}
        for need in (need for need, left in self._left.items() if not left):
            for number in self._users[need]:
                lacking.setdefault(number, []).append(need)
        self._break({number: Reason(lacking=tuple(needs)) for number, needs in sorted(lacking.items())})

    def exclude(self, number: int, core: tuple[Cause, ...]) -> None:
        """Mark a package that a solve found broken, and the packages that the same rules break."""
        self._break({number: Reason(core=core)})
        for cause in core:
            if (pair := excluding(cause)) is not None:
                chains = tuple(self._forcing(end) for end in pair)
                both = set(chains[0]).intersection(*chains[1:]) - self.reasons.keys()
                self._break({broken: Reason(core=(cause,), chains=chains) for broken in sorted(both)})

    def _break(self, reasons: Mapping[int, Reason]) -> None:
        queue = deque(number for number in reasons if number not in self.reasons)
        self.reasons |= {number: reasons[number] for number in queue}
        self._roots |= {number: number for number in queue}
        while queue:
            broken = queue.popleft()
            for need in self._offers.get(broken, ()):
                self._left[need] -= 1
                if self._left[need]:
                    continue
                for user in self._users[need]:
                    if user not in self.reasons:
                        self.reasons[user] = Reason(lost=(need,))
                        self._roots[user] = self._roots[broken]
                        queue.append(user)

    def _forcing(self, goal: int) -> Chains:
        """The packages that cannot be installed without a package, each with its first step there; with the package."""
        chains, queue = {goal: (0, goal)}, deque([goal])
        while queue:
            here = queue.popleft()
            for need in self._offers.get(here, ()):
                if [n for n in self.providers[need] if n not in self.reasons or n == here] != [here]:
                    continue
                for user in self._users[need]:
                    if user not in chains:
                        chains[user] = (need, here)
                        queue.append(user)
        return chains

    def order(self, numbers: Iterable[int]) -> list[int]:
        """The solvables in an order: a provider before its users, unless they need each other in a circle."""
        among, done, found = set(numbers), set[int](), list[int]()
        for first in sorted(among):
            stack = [(first, False)]
            while stack:
                number, below = stack.pop()
                if below:
                    found.append(number)
                elif number in among and number not in done:
                    done.add(number)
                    stack.append((number, True))
                    needed = {n for need in self._requires.get(number, ()) for n in self.providers.get(need, ())}
                    stack += [(n, False) for n in sorted(needed & among - done)]
        return found

    def lost(self, number: int) -> tuple[int, ...]:
        """The needs of a broken package that only broken packages provide."""
        needs = self._requires.get(number, ())
        return tuple(need for need in needs if self.providers.get(need) and not self._left[need])

    def add_rules(self, number: int, core: tuple[Cause, ...]) -> None:
        """Add the rules that break a package even if it had what it lacks."""
        self.reasons[number] = replace(self.reasons[number], core=core)

    def own(self, number: int) -> tuple[tuple[Cause, ...], ...]:
        """The separate causes that break a package directly, even if all that it needs is sound."""
        import solv

        reason, me = self.reasons[number], self._pool.id2solvable(number)
        if reason.lost:
            return ()
        kind = solv.Solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP
        lacking = (*(Cause(kind, me, None, self._dependencies[need]) for need in reason.lacking),)
        rules = (*reason.core, *(step for chains in reason.chains for step in self._steps(number, chains)))
        return tuple(filter(None, (lacking, rules)))

    def causes(self, number: int) -> tuple[Cause, ...]:
        """Why a package is broken, as the rules that libsolv would give.

        Near the package, of several alternatives the first two are followed.
        """
        found: list[Cause] = []
        queue, seen = deque([number]), {number}
        while queue:  # this ends: what a package broke with, broke before it
            here = queue.popleft()
            found += [cause for causes in self.own(here) for cause in causes]
            for need in self.reasons[here].lost:
                following = [n for n in self.providers[need] if n not in seen][: 2 if len(seen) < _BRANCHING else 1]
                if len(seen) >= _LENGTH:
                    following = [self._roots[here]] if self._roots[here] not in seen else []
                found.append(self._need(here, need))
                queue.extend(following)
                seen.update(following)
        return tuple(found)

    def _steps(self, number: int, chains: Chains) -> Iterable[Cause]:
        while chains[number][1] != number:
            need, following = chains[number]
            yield self._need(number, need)
            number = following

    def _need(self, number: int, need: int) -> Cause:
        import solv

        me, kind = self._pool.id2solvable(number), solv.Solver.SOLVER_RULE_PKG_REQUIRES
        return Cause(kind, me, None, self._dependencies[need], self.providers[need])


def is_rich(dependency: PoolDependency) -> bool:
    """Return whether a dependency is a rich one, for example ``(a if b)``."""
    return str(dependency).startswith("(")


def is_conditional(dependency: PoolDependency) -> bool:
    """Return whether more than one provider decides; one provider meets ``(a or b)`` and ``(a with b)``."""
    return is_rich(dependency) and any(word in str(dependency) for word in (" and ", " if ", " unless ", " else "))


def excluding(cause: Cause) -> tuple[int, ...] | None:
    """The one or two solvables that a rule keeps from being installed together; None for other rules."""
    import solv

    kinds = solv.Solver
    if cause.dependency is not None and is_rich(cause.dependency):
        return None
    if cause.kind in (kinds.SOLVER_RULE_PKG_SELF_CONFLICT, kinds.SOLVER_RULE_PKG_NOT_INSTALLABLE):
        return (cause.solvable.id,)
    pairs = (
        kinds.SOLVER_RULE_PKG_CONFLICTS,
        kinds.SOLVER_RULE_PKG_OBSOLETES,
        kinds.SOLVER_RULE_PKG_IMPLICIT_OBSOLETES,
        kinds.SOLVER_RULE_PKG_SAME_NAME,
    )
    if cause.kind in pairs and cause.other is not None:
        return cause.solvable.id, cause.other.id
    return None
