"""The builders, schedulers and forms of housekeeping, as Buildbot loads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from buildbot.config.master import MasterConfig
from buildbot.www.authz.endpointmatchers import Match

from config.loading import load_site
from config.models import Composes, Site
from tests.master.loaded import load, steps_of


def test_housekeeping_runs_only_on_the_workers_with_the_repositories(site: Site, master: MasterConfig) -> None:
    publishers = {name for pool in site.workers if "publish" in pool.roles for name in pool.workers}
    words = {b.name: {more["arguments"][0] for _, more in steps_of(b) if "arguments" in more} for b in master.builders}
    assert {name for name, commands in words.items() if commands & {"clean", "compose"}} == {"clean", "compose"}
    for builder in (builder for builder in master.builders if builder.name in ("clean", "compose")):
        assert set(builder.workernames) == publishers
        assert len(list(steps_of(builder))) == 1


def test_housekeeping_runs_beside_publications_not_instead_of_them(site: Site, master: MasterConfig) -> None:
    """The worker has a slot for each kind; one publication and one housekeeping build run at a time."""
    locks = {builder.name: [(a.lockid.name, a.mode) for a in builder.locks] for builder in master.builders}
    assert locks["promote"] == [("publishing", "exclusive")]
    assert locks["clean"] == locks["compose"] == [("housekeeping", "exclusive")]
    places = {worker.workername: worker.max_builds for worker in master.workers}
    for pool in site.workers:
        for name in pool.workers:
            assert places[name] == (2 if "publish" in pool.roles else pool.max_builds)


def test_clean_and_composes_are_scheduled_as_configured(site: Site, master: MasterConfig) -> None:
    clean = master.schedulers["clean-by-the-clock"]
    daily = site.retention.clean
    assert daily is not None
    assert list(clean.builderNames) == ["clean"]
    more = clean._config_kwargs
    assert (more["hour"], more["minute"], more["properties"]) == (daily.hour, daily.minute, {"remove": True})
    composes = {name: s for name, s in master.schedulers.items() if list(s.builderNames) == ["compose"]}
    assert set(composes) == {"force-compose", "compose-kitten-by-the-clock"}
    more = composes["compose-kitten-by-the-clock"]._config_kwargs
    assert more["periodicBuildTimer"] == 3600
    assert more["properties"] == {"stage": "kitten", "if_due": True}


def test_a_site_may_have_no_scheduled_clean_and_no_composes(tmp_path: Path) -> None:
    site = load_site("demo")
    stages = tuple(stage.model_copy(update={"composes": None}) for stage in site.stages)
    retention = site.retention.model_copy(update={"clean": None})
    master = load(site.model_copy(update={"stages": stages, "retention": retention}), tmp_path)
    assert {"clean", "compose"} & {builder.name for builder in master.builders} == {"clean"}
    housekeeping = {name for name in master.schedulers if "clean" in name or "compose" in name}
    assert housekeeping == {"force-clean"}


def test_each_stage_with_composes_has_a_scheduler(tmp_path: Path) -> None:
    site = load_site("demo")
    stages = tuple(
        stage.model_copy(update={"composes": Composes(every_minutes=15)}) if stage.name == "testing" else stage
        for stage in site.stages
    )
    master = load(site.model_copy(update={"stages": stages}), tmp_path)
    timed = {n: s._config_kwargs for n, s in master.schedulers.items() if n.endswith("by-the-clock") and "compose" in n}
    assert {name: (more["periodicBuildTimer"], more["properties"]["stage"]) for name, more in timed.items()} == {
        "compose-testing-by-the-clock": (900, "testing"),
        "compose-kitten-by-the-clock": (3600, "kitten"),
    }
    form = {field.name: field for field in master.schedulers["force-compose"]._config_kwargs["properties"]}
    assert form["stage"].choices == ["testing", "kitten"]


def test_the_form_of_clean_removes_only_if_remove_is_set(master: MasterConfig) -> None:
    form = {field.name: field for field in master.schedulers["force-clean"]._config_kwargs["properties"]}
    assert form["remove"].getFromKwargs({}) is False
    assert form["remove"].getFromKwargs({"remove": [True]}) is True


@pytest.mark.parametrize("name", ["force-clean", "force-compose"])
def test_a_housekeeping_form_is_for_users_that_may_start_builds(
    site: Site, master: MasterConfig, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endpoint:
        """An endpoint with the name that a rule looks for."""

    Endpoint.__name__ = "ForceSchedulerEndpoint"
    rules = [r for r in master.www["authz"].allowRules if hasattr(r, "match_ForceSchedulerEndpoint_force")]
    matched = set()
    for rule in rules:
        monkeypatch.setattr(rule, "master", None, raising=False)  # a running master sets it
        match = rule.match_ForceSchedulerEndpoint_force(Endpoint(), {"schedulername": name}, {})
        if match.result is not None:
            assert isinstance(match.result, Match), match.result
            matched.add(rule.role)
    assert matched == {role.name for role in site.web.roles if "force" in role.may}
