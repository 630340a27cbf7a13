"""The web page and the terminal show the same status: one reads the database, the other the REST API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from buildbot.data.resultspec import Filter, Property, ResultSpec
from buildbot.test import fakedb
from buildbot.test.fake import fakemaster
from buildbot.test.reactor import TestReactorMixin
from buildbot.util import toJson
from twisted.trial import unittest

from config.loading import load_site
from master.client.api import PROPERTIES, Snapshot
from master.client.progress import matrix as terminal_matrix
from master.status import STEP_OF, Cell, State
from master.web.matrix import cells, matrix
from master.web.records import read_records
from steps.build import BuildRpmsStep
from steps.lab import GuestTestStep
from steps.names import released_property
from steps.verify import VerifyStep

SITE = load_site("demo")
TARGETS = [target.name for target in SITE.targets]
BUILDERS = {name: number for number, name in enumerate(["source", *TARGETS, "promote"], 1)}
SUCCESS, WARNINGS, FAILURE, RETRY = 0, 1, 2, 5
REASON = "waits for bzip2: under way on s390x"
BUILT, PROVEN, RAN = ("build RPMs", SUCCESS), ("verify code and flags", SUCCESS), ("test in QEMU", SUCCESS)


def test_the_results_are_read_from_steps_of_these_names() -> None:
    assert {"built": BuildRpmsStep.name, "verified": VerifyStep.name, "tested": GuestTestStep.name} == STEP_OF


class Database:
    """Rows of Buildbot's database, oldest first."""

    def __init__(self) -> None:
        self.number = 0
        self.rows: list[Any] = [fakedb.Master(id=1), fakedb.Worker(id=1, name="build-1"), fakedb.SourceStamp(id=1)]
        self.rows += [fakedb.Builder(id=number, name=name) for name, number in BUILDERS.items()]

    def request(self, builder: str, package: str, commit: str = "", *, claimed: bool = False) -> int:
        """Add a request; return its number."""
        self.number += 1
        self.rows += [
            fakedb.Buildset(id=self.number),
            fakedb.BuildsetSourceStamp(buildsetid=self.number, sourcestampid=1),
        ]
        request = fakedb.BuildRequest(id=self.number, buildsetid=self.number, builderid=BUILDERS[builder])
        request.complete = int(claimed)
        self.rows.append(request)
        if claimed:
            self.rows.append(fakedb.BuildRequestClaim(brid=self.number, masterid=1, claimed_at=1))
        for name, value in {"package": package, **({"commit": commit} if commit else {})}.items():
            pair = json.dumps([value, "test"])
            self.rows.append(fakedb.BuildsetProperty(buildsetid=self.number, property_name=name, property_value=pair))
        return self.number

    def build(
        self,
        builder: str,
        package: str,
        commit: str = "",
        results: int | None = SUCCESS,
        *steps: tuple[str, int | None],
        text: str = "its text",
        **properties: object,
    ) -> None:
        """Add a build with its request and its steps."""
        number = self.request(builder, package, commit, claimed=True)
        self.rows.append(
            fakedb.Build(
                id=number,
                number=number,
                builderid=BUILDERS[builder],
                buildrequestid=number,
                masterid=1,
                workerid=1,
                results=results,
                state_string=text,
                started_at=100,
                complete_at=None if results is None else 100 + number,
            )
        )
        known = {"package": package, **({"commit": commit} if commit else {}), **properties}
        if builder in TARGETS:
            known["target"] = builder
        self.rows += [
            fakedb.BuildProperty(buildid=number, name=name, value=value, source="test") for name, value in known.items()
        ]
        for place, (name, result) in enumerate(steps):
            done = None if result is None else 120
            self.rows.append(
                fakedb.Step(
                    id=100 * number + place, number=place, name=name, buildid=number, results=result,
                    state_string=f"{name}: text", started_at=110, complete_at=done,
                )
            )  # fmt: skip

    def promotion(
        self, package: str, commit: str, target: str, results: int, *has: str, text: str = "promoted"
    ) -> None:
        """Add a promotion, with the targets on which users have the commit after it."""
        properties = {released_property(package): [[name, commit] for name in has]} if has else {}
        self.build("promote", package, commit, results, target=target, text=text, **properties)


def every_state() -> tuple[Database, dict[str, str], dict[int, str]]:
    """Return a database, package → newest commit in dist-git, and request → why it waits."""
    db = Database()
    # zlib: its source is made, and each target has another state.
    db.build("source", "zlib", "zlib-2", nevr="zlib-2-1")
    db.build("x86_64", "zlib", "zlib-2", WARNINGS, BUILT, PROVEN, ("test in QEMU", WARNINGS))
    db.promotion("zlib", "zlib-2", "x86_64", WARNINGS, "x86_64", text="in use; FLAKY")
    db.build("x86_64_v2", "zlib", "zlib-2", None, BUILT, ("verify code and flags", None))
    db.build("aarch64", "zlib", "zlib-2", FAILURE, BUILT, ("verify code and flags", FAILURE))
    db.build("ppc64le", "zlib", "zlib-2", SUCCESS, BUILT, PROVEN, RAN)
    db.promotion("zlib", "zlib-2", "ppc64le", SUCCESS, "x86_64", text="waits for s390x")
    waiting = db.request("s390x", "zlib", "zlib-2")
    # zstd: the other states of a target.
    db.build("source", "zstd", "zstd-1")
    db.build("source", "zstd", "zstd-2")
    db.build("x86_64", "zstd", "zstd-2", SUCCESS, BUILT, PROVEN, RAN)
    db.build("x86_64_v2", "zstd", "zstd-2", RETRY, BUILT)
    db.build("aarch64", "zstd", "zstd-2", SUCCESS, BUILT, PROVEN, RAN)
    db.promotion("zstd", "zstd-2", "aarch64", FAILURE, text="placement: zstd-static")
    db.build("ppc64le", "zstd", "zstd-2", FAILURE, ("build RPMs", FAILURE))
    db.request("ppc64le", "zstd", "zstd-2")
    db.build("s390x", "zstd", "zstd-1", SUCCESS, BUILT, PROVEN, RAN)
    # lz4: users have the commit before; the new source build waits. pigz: its source build runs without a commit yet.
    db.build("source", "lz4", "lz4-1")
    db.build("x86_64", "lz4", "lz4-1", SUCCESS, BUILT, PROVEN, RAN)
    db.promotion("lz4", "lz4-1", "x86_64", SUCCESS, "x86_64")
    db.request("source", "lz4")
    db.build("source", "pigz", "pigz-1")
    db.build("source", "pigz", "", None)
    # xz: its source failed. bzip2: it has no requests and no builds.
    db.build("source", "xz", "xz-1", FAILURE, text="xz.spec:3: an error")
    heads = {name: f"{name}-2" for name in ("zlib", "zstd", "lz4", "pigz")} | {"xz": "xz-1", "bzip2": "bzip2-1"}
    return db, heads, {waiting: REASON}


class TestStatus(TestReactorMixin, unittest.TestCase):
    async def setUp(self) -> None:
        self.setup_test_reactor()
        self.master = await fakemaster.make_master(self, wantDb=True, wantData=True)
        db, self.heads, self.reasons = every_state()
        await self.master.db.insert_test_data(db.rows)

    async def snapshot(self) -> Snapshot:
        """Return what ``master.client.api`` reads over REST, from the same data API."""
        properties = (*PROPERTIES, *(released_property(package.name) for package in SITE.packages))

        async def rows(*path: str, order: str = "", filters: Mapping[str, bool] = {}) -> Any:
            spec = ResultSpec(
                filters=[Filter(name, "eq", [value]) for name, value in filters.items()],
                properties=[Property(b"property", "eq", list(properties))],
                order=[order] if order else None,
            )
            return json.loads(json.dumps(await self.read(path, spec), default=toJson))

        builds = await rows("builds", order="-buildid")
        open_requests = await rows("buildrequests", filters={"complete": False, "claimed": False})
        steps = {build["buildid"]: await rows("builds", str(build["buildid"]), "steps") for build in builds}
        names = {number: name for name, number in BUILDERS.items()}
        return Snapshot(names, builds, open_requests, steps, self.reasons, now=500.0)

    async def read(self, path: tuple[str, ...], spec: ResultSpec) -> Any:
        """Return one collection, filtered and sorted as a request wants it."""
        endpoint, arguments = self.master.data.getEndpoint(path)
        found = await endpoint.get(spec, arguments)
        return list(spec.apply(found))

    async def cells(self) -> tuple[dict[tuple[str, str], Cell], dict[tuple[str, str], Cell]]:
        """Return the cells of the web page and of the terminal."""
        web = cells(SITE, *await read_records(self.master, SITE, self.reasons))
        terminal = terminal_matrix(SITE, SITE.packages, self.heads, await self.snapshot(), {})
        return web, terminal

    async def test_page_and_terminal_show_the_same_in_each_state(self) -> None:
        web, terminal = await self.cells()
        assert {key: _timeless(cell) for key, cell in web.items()} == {
            key: _timeless(cell) for key, cell in terminal.items()
        }
        assert {cell.state for cell in web.values()} == {*get_args(State)} - {"passed"}  # only suites have it

    async def test_each_situation_has_its_state_and_text(self) -> None:
        web, _ = await self.cells()
        found = {key: (cell.state, cell.words) for key, cell in web.items()}
        expected = {
            ("zlib", "x86_64"): ("published", "in use; FLAKY"),
            ("zlib", "x86_64_v2"): ("running", "verify code and flags"),
            ("zlib", "aarch64"): ("failed", "verify code and flags: verify code and flags: text"),
            ("zlib", "ppc64le"): ("signed", "waits for s390x"),
            ("zlib", "s390x"): ("waiting", REASON),
            ("zstd", "x86_64"): ("promoting", "promote"),
            ("zstd", "x86_64_v2"): ("waiting", "starts again: its worker was lost"),
            ("zstd", "aarch64"): ("failed", "promote: placement: zstd-static"),
            ("zstd", "ppc64le"): ("waiting", "waits for a free worker"),
            ("zstd", "s390x"): ("source", "source"),
            **{("lz4", target): ("source", "source waits for a free worker") for target in TARGETS},
            **{("pigz", target): ("source", "source") for target in TARGETS},
            **{("xz", target): ("failed", "source: xz.spec:3: an error") for target in TARGETS},
            **{("bzip2", target): ("nothing", "") for target in TARGETS},
        }
        assert found == expected
        assert web["zlib", "ppc64le"].done == {"built", "verified", "tested"}
        assert web["zlib", "x86_64"].warned

    async def test_a_target_owes_the_newest_good_source_that_users_do_not_have(self) -> None:
        page = matrix(SITE, *await read_records(self.master, SITE, self.reasons))
        rows = {row["package"]: row for row in page["packages"]}
        owes = {name: {target for target, cell in row["targets"].items() if cell["owes"]} for name, row in rows.items()}
        assert owes["zlib"] == {*TARGETS} - {"x86_64"}
        assert owes["zstd"] == {*TARGETS}
        assert not owes["xz"] | owes["pigz"] | owes["bzip2"]
        assert rows["zlib"]["source"]["nevr"] == "zlib-2-1"
        assert json.loads(json.dumps(page)) == page


def _timeless(cell: Cell) -> Cell:
    """Return the cell without the seconds of a running build."""
    return Cell(
        cell.state, cell.words, cell.done, 0.0 if cell.state == "running" else cell.seconds, cell.build, cell.warned
    )
