"""``gating.yaml`` of a dist-git repository: which test cases must pass before a package is published.

Fedora and CentOS Stream define the format for their gate, Greenwave: YAML documents with the tag ``!Policy``. Each has
globs of product versions and a list of rules. The name of a test case contains the name of a plan::

    osci.brew-build./plans/tier0.functional     the plan of that name, or all plans below it
    osci.brew-build.tier0.functional            the plans that have that part in their name
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import yaml

_NAME = re.compile(r"[^./]+\.[^./]+\.(?P<plan>.+)\.[a-z-]+")


class GatingError(Exception):
    """gating.yaml has a content that the lab does not support."""


@dataclass(frozen=True)
class Policy:
    """One document of gating.yaml."""

    products: tuple[str, ...]
    """Globs of product versions."""
    contexts: tuple[str, ...]
    """Decision contexts of Greenwave."""
    cases: tuple[str, ...] = field(default=())
    """Names of test cases."""

    def applies_to(self, products: Iterable[str]) -> bool:
        """Return whether a glob matches one of the product versions (``gating_products`` of sources.yaml)."""
        return any(fnmatch.fnmatchcase(product, glob) for product in products for glob in self.products)


def read(text: str) -> tuple[Policy, ...]:
    """Return the policies in the text of a gating.yaml.

    :raises GatingError: if it is no YAML, or contains anything other than policies of ``!PassingTestCaseRule``.
    """
    try:
        documents = list(yaml.load_all(text, _Loader))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
        raise GatingError(" ".join(str(error).split())) from None
    except RecursionError:
        raise GatingError("it is nested too deeply") from None
    for document in documents:
        if not isinstance(document, Policy):
            raise GatingError("a document has no !Policy tag")
    if not documents:
        raise GatingError("it has no policy")
    return tuple(documents)


def required_cases(policies: Iterable[Policy], products: Collection[str]) -> tuple[str, ...] | None:
    """Return the test cases that the policies for these products require, each once; None if no policy is for them."""
    applicable = [policy for policy in policies if policy.applies_to(products)]
    return tuple(dict.fromkeys(case for policy in applicable for case in policy.cases)) if applicable else None


def plans_of(case: str, plans: Iterable[str]) -> tuple[str, ...]:
    """Return the plans that a test case names; empty if it names no plan of this repository."""
    name = _NAME.fullmatch(case)
    if not name:
        return ()
    wanted = name["plan"]
    if wanted.startswith("/"):
        return tuple(plan for plan in plans if plan == wanted or plan.startswith(f"{wanted}/"))
    return tuple(plan for plan in plans if wanted in plan.split("/"))


class _Loader(yaml.SafeLoader):
    """A loader of plain YAML and of the tags of gating.yaml."""


def _mapping(loader: yaml.SafeLoader, node: yaml.Node) -> Mapping[object, object]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, f"{node.tag} is no mapping", node.start_mark)
    return loader.construct_mapping(node, deep=True)


def _policy(loader: yaml.SafeLoader, node: yaml.Node) -> Policy:
    policy = _mapping(loader, node)
    rules = policy.get("rules")
    if not isinstance(rules, list) or not all(isinstance(rule, _Rule) for rule in rules):
        raise yaml.constructor.ConstructorError(None, None, "rules is no list of !PassingTestCaseRule", node.start_mark)
    contexts = policy.get("decision_contexts", [policy.get("decision_context", "")])
    return Policy(
        products=_texts(policy.get("product_versions"), "product_versions", node),
        contexts=_texts(contexts, "decision_contexts", node),
        cases=tuple(rule.case for rule in rules),
    )


def _texts(value: object, name: str, node: yaml.Node) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise yaml.constructor.ConstructorError(None, None, f"{name} is no list of texts", node.start_mark)
    return tuple(value)


@dataclass(frozen=True)
class _Rule:
    case: str


def _rule(loader: yaml.SafeLoader, node: yaml.Node) -> _Rule:
    case = _mapping(loader, node).get("test_case_name")
    if not isinstance(case, str):
        raise yaml.constructor.ConstructorError(None, None, "a rule has no test_case_name", node.start_mark)
    return _Rule(case)


_Loader.add_constructor("!Policy", _policy)
_Loader.add_constructor("!PassingTestCaseRule", _rule)
