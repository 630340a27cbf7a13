"""Which builds wait, for what, and that no set of packages waits without end."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed

from config.loading import load_site
from config.models import Targets
from master.build_queue import BuildQueue, TargetQueue, next_request, sort_by_urgency
from master.waiting import Request, dependents, needs, providers, reason_to_wait

MADE_BY = {"zlib": "zlib", "zlib-devel": "zlib", "pigz": "pigz", "perl-Foo": "perl-Foo"}


def request(number: int, package: str, *required: str) -> Request:
    return Request(number, package, frozenset(required))


def test_build_requires_name_packages_with_or_without_version_and_architecture() -> None:
    requires = ["zlib-devel >= 1.2", "zlib-devel(x86-64)", "pigz", "gcc", "pkgconfig(zlib)"]
    assert needs("pigz", requires, MADE_BY) == {"zlib"}


def test_a_package_does_not_need_itself() -> None:
    assert needs("zlib", ["zlib-devel"], MADE_BY) == frozenset()


def test_providers_are_the_packages_made_on_the_target() -> None:
    site = load_site("demo")
    zlib = site.package("zlib").model_copy(update={"targets": Targets(("x86_64",))})
    narrowed = site.model_copy(update={"packages": (zlib, site.package("bzip2"))})
    assert providers(narrowed, "x86_64")["zlib-devel"] == "zlib"
    assert "zlib-devel" not in providers(narrowed, "s390x")


def test_a_package_without_needs_does_not_wait() -> None:
    assert reason_to_wait(request(1, "bzip2"), "s390x", [], [request(1, "bzip2")], {}) is None


def test_waits_while_the_provider_is_under_way_on_the_target() -> None:
    pigz, zlib = request(2, "pigz", "zlib"), request(5, "zlib")
    assert reason_to_wait(pigz, "s390x", [], [pigz, zlib], {"zlib": True}) == "waits for zlib: under way on s390x"


def test_waits_while_the_providers_source_is_being_made() -> None:
    pigz = request(2, "pigz", "zlib")
    reason = "waits for zlib: its source package is being made"
    assert reason_to_wait(pigz, "s390x", ["zlib"], [pigz], {"zlib": True}) == reason


def test_waits_for_what_was_never_built_on_the_target() -> None:
    pigz = request(2, "pigz", "zlib")
    reason = "waits for zlib, which has never been built on s390x"
    assert reason_to_wait(pigz, "s390x", [], [pigz], {"pigz": True}) == reason


def test_starts_if_the_provider_always_failed_so_that_the_failure_shows_what_is_missing() -> None:
    pigz = request(2, "pigz", "zlib")
    assert reason_to_wait(pigz, "s390x", [], [pigz], {"zlib": False}) is None


def test_two_builds_of_a_package_go_in_order() -> None:
    first, second = request(1, "zlib"), request(2, "zlib")
    assert reason_to_wait(first, "s390x", [], [first, second], {}) is None
    assert reason_to_wait(second, "s390x", [], [first, second], {}) == "waits for an earlier build of zlib on s390x"


def test_packages_that_need_each_other_go_in_the_order_of_their_requests() -> None:
    a, b = request(1, "a", "b"), request(2, "b", "a")
    assert reason_to_wait(a, "s390x", [], [a, b], {}) is None
    assert reason_to_wait(b, "s390x", [], [a, b], {}) == "waits for a: under way on s390x"


@given(st.dictionaries(st.sampled_from("abcdef"), st.frozensets(st.sampled_from("abcdef")), min_size=1))
def test_of_any_packages_under_way_at_least_one_may_start(graph: dict[str, frozenset[str]]) -> None:
    requests = [Request(n, name, (graph[name] & graph.keys()) - {name}) for n, name in enumerate(graph)]
    assert any(reason_to_wait(request, "t", [], requests, {}) is None for request in requests)


def test_a_package_is_as_urgent_as_many_wait_for_it_directly_or_through_others() -> None:
    on_target = [
        request(1, "bzip2"),
        request(2, "zlib"),
        request(3, "pigz", "zlib"),
        request(4, "png", "zlib"),
        request(5, "viewer", "png"),
    ]
    assert [dependents(each.package, on_target) for each in on_target] == [0, 3, 0, 1, 0]


def test_packages_that_need_each_other_are_counted_once() -> None:
    cycle = [request(1, "a", "b"), request(2, "b", "a")]
    assert [dependents(each.package, cycle) for each in cycle] == [1, 1]


class PreparedQueue(BuildQueue):
    """A build queue with prepared requests, without a master."""

    running = True

    def __init__(self, queues: dict[str, TargetQueue]) -> None:
        self.queues = queues
        self.in_source = {}
        self.source_builder = "source"
        self.last_builder = "lab"

    def catch_up(self) -> Deferred[None]:
        return succeed(None)


def builder(name: str, oldest: int, build_queue: BuildQueue) -> Any:
    services = SimpleNamespace(namedServices={"build-queue": build_queue})
    return SimpleNamespace(
        name=name,
        master=SimpleNamespace(service_manager=services),
        getOldestRequestTime=lambda: succeed(datetime.fromtimestamp(oldest, UTC)),
    )


def queue(*requests: Request) -> TargetQueue:
    return TargetQueue(requests={each.id: each for each in requests})


def test_a_package_that_others_wait_for_is_built_before_an_older_request() -> None:
    build_queue = PreparedQueue({"s390x": queue(request(1, "bzip2"), request(2, "pigz", "zlib"), request(3, "zlib"))})
    requests = [SimpleNamespace(id=number) for number in (1, 2, 3)]
    assert result_of(next_request(builder("s390x", 0, build_queue), requests)).id == 3
    assert result_of(next_request(builder("s390x", 0, build_queue), requests[:2])).id == 1


def test_builders_are_sorted_source_then_targets_with_urgent_builds_then_others_then_suites() -> None:
    build_queue = PreparedQueue(
        {
            "old": queue(request(1, "bzip2")),
            "urgent": queue(request(2, "zlib"), request(3, "pigz", "zlib")),
            "stuck": queue(request(4, "pigz", "zlib")),
        }
    )
    builders = [
        builder(name, oldest, build_queue) for oldest, name in enumerate(("lab", "old", "stuck", "urgent", "source"))
    ]
    ordered = result_of(sort_by_urgency(builders[0].master, builders))
    assert [each.name for each in ordered] == ["source", "urgent", "old", "lab", "stuck"]


def result_of(deferred: Any) -> Any:
    """Return the result of a Deferred that has fired."""
    results: list[Any] = []
    deferred.addCallback(results.append)
    return results[0]
