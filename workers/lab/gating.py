"""``gating.yaml`` of a dist-git repository: which test cases must have passed before a package goes on.

The format is that of Fedora's and CentOS Stream's gates (Greenwave): YAML documents tagged ``!Policy``, with globs of product
versions and a list of rules. A test case's name says which plan is meant::

    osci.brew-build./plans/tier0.functional     the plan of that name, or all below it
    osci.brew-build.tier0.functional            the plans with that part in their name
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

_NAME = re.compile(r"[^./]+\.[^./]+\.(?P<plan>.+)\.[a-z-]+")


class GatingError(Exception):
    """The file says something that cannot be followed."""


@dataclass(frozen=True)
class Policy:
    """One document of the file."""

    products: tuple[str, ...]
    contexts: tuple[str, ...]
    cases: tuple[str, ...] = field(default=())
    """Names of test cases."""

    def is_about(self, products: Iterable[str]) -> bool:
        """Whether it is about one of the product versions (``gating_products`` of sources.yaml)."""
        return any(fnmatch.fnmatchcase(product, glob) for product in products for glob in self.products)


def read(text: str) -> tuple[Policy, ...]:
    """The policies of a file.

    :raises GatingError: when it is no YAML, or holds something other than policies of ``!PassingTestCaseRule``.
    """
    try:
        documents = list(yaml.load_all(text, _Loader))
    except yaml.YAMLError as error:
        raise GatingError(" ".join(str(error).split())) from None
    for document in documents:
        if not isinstance(document, Policy):
            raise GatingError("a document is no !Policy")
    if not documents:
        raise GatingError("it holds no policy")
    return tuple(documents)


def required_cases(policies: Iterable[Policy], products: Collection[str]) -> tuple[str, ...] | None:
    """The test cases that the policies about one of the products require, each once; None without such a policy."""
    counting = [policy for policy in policies if policy.is_about(products)]
    return tuple(dict.fromkeys(case for policy in counting for case in policy.cases)) if counting else None


def plans_of(case: str, plans: Iterable[str]) -> tuple[str, ...]:
    """Those of the plans that a test case means; none where it means no plan of this repository."""
    found = _NAME.fullmatch(case)
    if not found:
        return ()
    wanted = found["plan"]
    if wanted.startswith("/"):
        return tuple(plan for plan in plans if plan == wanted or plan.startswith(f"{wanted}/"))
    return tuple(plan for plan in plans if wanted in plan.split("/"))


class _Loader(yaml.SafeLoader):
    """Knows the tags of a gate, and nothing else that is not plain."""


def _mapping(loader: yaml.SafeLoader, node: yaml.Node) -> Mapping[Any, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, f"{node.tag} is no mapping", node.start_mark)
    return loader.construct_mapping(node, deep=True)


def _policy(loader: yaml.SafeLoader, node: yaml.Node) -> Policy:
    said = _mapping(loader, node)
    rules = said.get("rules")
    if not isinstance(rules, list) or not all(isinstance(rule, _Rule) for rule in rules):
        raise yaml.constructor.ConstructorError(None, None, "rules is no list of !PassingTestCaseRule", node.start_mark)
    contexts = said.get("decision_contexts", [said.get("decision_context", "")])
    return Policy(
        products=_texts(said.get("product_versions"), "product_versions", node),
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
