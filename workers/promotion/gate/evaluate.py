"""Check a situation against a stage's rules: for each rule and build, passed or refused, why, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from config.models import GateRule, Stage, Target
from workers.promotion.gate import proofs, targets, versions
from workers.promotion.gate.closure import Closure, closure
from workers.promotion.gate.culprits import bisect_failing, culprits, hint, names_by_source, units
from workers.promotion.gate.refusal import Refusal
from workers.promotion.gate.situation import Passing, Situation
from workers.promotion.gate.targets import Refused
from workers.repository.primary import Repositories, names, replace_packages
from workers.results import RuleVerdict

Rule = Callable[[Situation, GateRule], Iterable[Refused]]

EXPENSIVE = ("provides", "installable", "dnf")
"""Rules that cost more than a look at records."""


def rules_of(stage: Stage) -> tuple[str, ...]:
    """Names of a stage's rules, in the order of stages.yaml; ``built`` comes first at every stage."""
    return tuple(dict.fromkeys(("built", *(entry.rule for entry in stage.gate))))


def evaluate(situation: Situation, names: Collection[str] | None = None) -> tuple[RuleVerdict, ...]:
    """The verdict of each rule of the stage's gate on each build, in the order of stages.yaml.

    ``built`` comes first, even if the stage does not name it: the other proofs mean nothing for an incomplete build.

    :param names: the rules to apply; by default all of the stage.
    """
    entries = {entry.rule: entry for entry in (GateRule(rule="built"), *situation.stage.gate)}
    verdicts: list[RuleVerdict] = []
    for name, entry in entries.items():
        if names is not None and name not in names:
            continue
        refusals: dict[int, list[Refusal]] = {}
        for passing, refusal in RULES[name](situation, entry):
            refusals.setdefault(id(passing), []).append(refusal)
        for passing in situation.passing:
            verdicts += _verdicts(name, passing, refusals.get(id(passing), ()))
    return tuple(verdicts)


def _verdicts(rule: str, passing: Passing, refusals: Iterable[Refusal]) -> Iterable[RuleVerdict]:
    about = {
        "rule": rule,
        "package": passing.package.name,
        "target": passing.target.name,
        "nevr": passing.nevr,
        "build": passing.build.url,
    }
    refused = tuple(dict.fromkeys(refusals))
    for refusal in refused:
        words = {"what": refusal.what, "hint": refusal.hint}
        yield RuleVerdict.model_validate({**about, **words, "outcome": "refused"})
    if not refused:
        yield RuleVerdict.model_validate({**about, "outcome": "passed"})


def _over_targets(rule: Callable[[Situation], Iterable[Refused]]) -> Rule:
    return lambda situation, _: rule(situation)


def _proof(name: str) -> Rule:
    def rule(situation: Situation, entry: GateRule) -> Iterable[Refused]:
        for passing in situation.passing:
            build = passing.build
            suites = entry.suites or situation.site.suites_of(passing.target, passing.package)
            found = proofs.judge(build.result, build.verify, build.test, passing.target, (name,), suites)
            # An incomplete build is reported once, by the rule `built`.
            yield from ((passing, refusal) for refusal in found if refusal.rule == name)

    return rule


def _placement(situation: Situation, entry: GateRule) -> Iterable[Refused]:  # noqa: ARG001 - a rule's signature
    for passing in situation.passing:
        if passing.package.binaries:
            found = proofs.against_package(passing.package, passing.build.result.rpms)
            yield from ((passing, refusal) for refusal in found)


def _no_downgrade(situation: Situation, entry: GateRule) -> Iterable[Refused]:  # noqa: ARG001 - a rule's signature
    for passing in situation.passing:
        old = situation.published.get(passing.key)
        yield from ((passing, refusal) for refusal in versions.not_older(passing.candidate, old))


def _not_taken_back(situation: Situation, entry: GateRule) -> Iterable[Refused]:  # noqa: ARG001 - a rule's signature
    for passing in situation.passing:
        came, old = situation.history.get(passing.key, ()), situation.published.get(passing.key)
        yield from ((passing, refusal) for refusal in versions.not_taken_back(passing.candidate, old, came))


def _no_replaced_file(situation: Situation, entry: GateRule) -> Iterable[Refused]:  # noqa: ARG001 - a rule's signature
    for passing in situation.passing:
        old = situation.published.get(passing.key)
        yield from ((passing, refusal) for refusal in versions.not_replaced(passing.candidate, old))


def _one_source(situation: Situation, entry: GateRule) -> Iterable[Refused]:  # noqa: ARG001 - a rule's signature
    for passing in situation.passing:
        name, target = passing.key
        others = [record for key, record in situation.published.items() if key[0] == name and key[1] != target]
        yield from ((passing, refusal) for refusal in versions.same_source(passing.candidate, others))
        for other in situation.passing:
            if other.key < passing.key and other.package.name == name:
                for file in versions.other_content(passing.unsigned, other.unsigned):
                    if file.endswith(".src.rpm"):
                        words = f"{file} has other content on {other.target.name}"
                        yield passing, Refusal("one-source", words, "build both from one source package")


def _provides(situation: Situation, entry: GateRule) -> Iterable[Refused]:  # noqa: ARG001 - a rule's signature
    for passing in situation.passing:
        yield from ((passing, refusal) for refusal in situation.world.takeovers(passing))


def closure_of(situation: Situation, target: Target, passing: Iterable[Passing]) -> tuple[Repositories, Closure]:
    """What users of a target have now, and what builds would break there."""
    before = situation.world.before(target)
    after = replace_packages(before, {each.package.name: situation.world.elements(each) for each in passing})
    return before, closure(before, after, target.rpm_arch)


def _installable(situation: Situation, entry: GateRule) -> Iterable[Refused]:  # noqa: ARG001 - a rule's signature
    for target in situation.targets:
        passing = situation.of_target(target)
        before, found = closure_of(situation, target, passing)
        if not found.breakages:
            continue
        goes = names_by_source(before.packages)
        changed = [{*names(situation.world.elements(p)), *goes.get(p.package.name, ())} for p in passing]
        for breakage in found.breakages:
            for culprit in culprits(passing, changed, breakage):
                yield culprit, Refusal("installable", breakage.words, hint(culprit, breakage))


def _dnf(situation: Situation, entry: GateRule) -> Iterable[Refused]:  # noqa: ARG001 - a rule's signature
    for target in situation.targets:
        passing = situation.of_target(target)
        unsigned = [p for p in passing if p.record is None]
        signing = situation.site.stage_for("signing").name
        for each in unsigned:
            words = f"{each.nevr} is in no signed repository of {target.name} yet, so dnf cannot install it"
            yield each, Refusal("dnf", words, f"kitten publish --stage {signing} --target {target.name} first")
        if not unsigned and (words := situation.world.dnf(target, passing)):
            together = units(situation, passing, situation.world.before(target), target.rpm_arch)
            for each, message in bisect_failing(together, words, partial(situation.world.dnf, target)):
                yield each, Refusal("dnf", message, f"try it: kitten install-check --target {target.name}")


RULES: Mapping[str, Rule] = {
    "built": _proof("built"),
    "verified": _proof("verified"),
    "tested": _proof("tested"),
    "placement": _placement,
    "required-targets": _over_targets(targets.required_targets),
    "lag": _over_targets(targets.lag),
    "noarch-parity": _over_targets(targets.noarch_parity),
    "same-newest": _over_targets(targets.same_newest),
    "no-downgrade": _no_downgrade,
    "no-replaced-file": _no_replaced_file,
    "not-taken-back": _not_taken_back,
    "one-source": _one_source,
    "provides": _provides,
    "installable": _installable,
    "dnf": _dnf,
}
"""Name of a rule in stages.yaml → the function that yields its refusals."""
