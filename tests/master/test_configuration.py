"""The builders, schedulers and rules of every site, as Buildbot loads them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from buildbot.config.errors import ConfigErrors
from buildbot.config.master import MasterConfig
from buildbot.www.authz.endpointmatchers import AnyControlEndpointMatcher

from config.loading import FOLDER, load_site
from config.models import Site, Targets
from master.housekeeping import is_duplicate_request
from master.lab import may_start
from master.runs import scheduled_suites
from master.web.authz import NOBODY
from master.web.www import artifact_links, stage_folders
from steps.command import Installation, KittenCommand
from steps.handoff import HandOff
from steps.lab import GuestTestStep, TargetTestStep
from tests.master.loaded import arguments, load, steps_of
from tests.other_names import site_with_other_names


def test_each_target_has_a_builder_that_builds_for_it(site: Site, master: MasterConfig) -> None:
    builders = {builder.name: builder for builder in master.builders}
    for target in site.targets:
        words = arguments(builders[target.name], "build")
        assert words[:3] == ["build", "--target", target.name]
        # The command compiles with the flags of the target's entry, which have frame pointers.
        entry = load_site(site.distribution.name).target(words[2])
        assert "-fno-omit-frame-pointer" in entry.flags.compiler


def test_only_try_builds_are_trials_and_all_of_them_are(site: Site, master: MasterConfig) -> None:
    builders = {builder.name: builder for builder in master.builders}
    for name in ("source", *(target.name for target in site.targets)):
        for builder, expected in ((name, False), ("try" if name == "source" else f"try-{name}", True)):
            first = next(iter(steps_of(builders[builder])))[1]
            words = [word for word in first["arguments"] if isinstance(word, str)]  # a Property equals everything
            assert ("--trial" in words) is expected


def test_steps_of_a_target_are_in_the_order_that_stages_only_proven_builds(site: Site, master: MasterConfig) -> None:
    builders = {builder.name: builder for builder in master.builders}
    for target in site.targets:
        names = [kind.name for kind, _ in steps_of(builders[target.name])]
        assert names == [
            "build RPMs",
            "verify code and flags",
            "test in QEMU",
            "stage for next builds",
            "hand to promote",
        ]
        assert all(kind.haltOnFailure and kind.flunkOnFailure for kind, _ in steps_of(builders[target.name]))


def test_a_target_runs_its_own_suites_and_those_of_the_package_that_fit_it(site: Site, master: MasterConfig) -> None:
    builders = {builder.name: builder for builder in master.builders}
    for target in site.targets:
        for name in (target.name, f"try-{target.name}"):
            (suites,) = [more["suites"] for kind, more in steps_of(builders[name]) if kind is GuestTestStep]
            assert suites.keys() == {p.name for p in site.packages if target in site.targets_of(p)}
            for package, chosen in suites.items():
                assert set(target.suites) <= set(chosen) <= {*target.suites, *site.package(package).suites}
                assert all(suite.fits(target) for suite in site.suites if suite.name in chosen)
    if site.distribution.name == "kitten-10":
        (suites,) = [more["suites"] for kind, more in steps_of(builders["ppc64le"]) if kind is GuestTestStep]
        assert suites["qemu-kvm"] == ("packages", "power-kvm")


def test_a_step_that_runs_suites_allows_the_time_of_the_slowest_guest(site: Site, master: MasterConfig) -> None:
    for builder in master.builders:
        for kind, more in steps_of(builder):
            if issubclass(kind, GuestTestStep):
                limits = [
                    site.suite_seconds(site.target(target), chosen)
                    for name, chosen in more["suites"].items()
                    for target in ([name] if builder.name == "lab" else [builder.name.removeprefix("try-")])
                ]
                assert more["time_limit"] > max(limits) > 0
                assert more["silence_limit"] == more["time_limit"]


def test_the_lab_tests_each_target_by_the_suites_that_need_no_package(site: Site, master: MasterConfig) -> None:
    (lab,) = [builder for builder in master.builders if builder.name == "lab"]
    ((kind, more),) = steps_of(lab)
    assert kind is TargetTestStep
    assert more["arguments"][:2] == ["test", "--target"]
    assert more["suites"] == {t.name: suites for t in site.targets if (suites := site.suites_without_package(t))}
    assert not any(
        suite.needs_package for suite in site.suites for chosen in more["suites"].values() if suite.name in chosen
    )
    assert set(lab.workernames) == {name for pool in site.workers if "build" in pool.roles for name in pool.workers}
    assert list(master.schedulers["force-lab"].builderNames) == ["lab"]


def test_a_run_of_suites_starts_only_on_a_worker_of_its_target(site: Site) -> None:
    starts = may_start(site)
    for pool in site.workers:
        for target in site.targets:
            worker = SimpleNamespace(worker=SimpleNamespace(workername=pool.workers[0]))
            request = SimpleNamespace(properties=SimpleNamespace(getProperty={"target": target.name}.get))
            fits = "build" in pool.roles and pool.targets.includes(target.name)
            assert starts(None, worker, request).result is fits


def test_schedules_of_suites_start_the_lab_and_the_others_the_source(site: Site, master: MasterConfig) -> None:
    for schedule in site.schedules:
        scheduler = master.schedulers[schedule.name]
        assert list(scheduler.builderNames) == (["lab"] if schedule.suites else ["source"])
    assert scheduled_suites(site) == {
        target: suites for s in site.schedules for target, suites in site.runs_of(s).items()
    }
    assert scheduled_suites(site)


def test_a_site_whose_suites_all_need_a_package_has_no_lab(tmp_path: Path) -> None:
    site = load_site("demo")
    alone = [suite for suite in site.suites if suite.needs_package]
    schedules = [schedule for schedule in site.schedules if not schedule.suites]
    master = load(site.model_copy(update={"suites": tuple(alone), "schedules": tuple(schedules)}), tmp_path)
    assert "lab" not in {builder.name for builder in master.builders}
    assert "force-lab" not in master.schedulers


def test_files_of_suites_are_linked_only_if_the_workers_are_on_this_host(tmp_path: Path) -> None:
    for name, here in (("demo", True), ("kitten-10", False)):
        links = dict(artifact_links(load_site(name), str(tmp_path), 8010))
        assert (f"{tmp_path}/lab" in links) is here


def test_no_step_shows_the_workers_environment(master: MasterConfig) -> None:
    from buildbot.steps.shell import ShellCommand

    kinds = [kind for b in master.builders if not b.name.startswith("__") for kind, _ in steps_of(b)]
    assert kinds
    assert all(issubclass(kind, KittenCommand | HandOff) and not issubclass(kind, ShellCommand) for kind in kinds)


def test_names_are_unique_and_every_trigger_has_a_scheduler(master: MasterConfig) -> None:
    names = [builder.name for builder in master.builders]
    assert len(names) == len(set(names))
    workers = [worker.workername for worker in master.workers]
    assert len(workers) == len(set(workers))
    for builder in master.builders:
        for kind, more in steps_of(builder):
            if issubclass(kind, HandOff):
                called = more["schedulers"].values() if "schedulers" in more else [more["scheduler"]]
                assert set(called) <= master.schedulers.keys()
                for name in called:
                    assert set(master.schedulers[name].builderNames) <= set(names)


def test_every_builder_except_the_janitors_has_a_project_tags_and_a_description(
    site: Site, master: MasterConfig
) -> None:
    for builder in master.builders:
        if not builder.name.startswith("__"):
            assert builder.project == site.distribution.name
            assert builder.tags
            assert builder.description
            assert builder.collapseRequests is (is_duplicate_request if builder.name in ("clean", "compose") else False)


def test_stages_with_other_names_are_published_served_and_composed(tmp_path: Path) -> None:
    site = load_site(str(site_with_other_names(tmp_path / "config")))
    master = load(site, tmp_path, str(tmp_path / "config/harbour"))
    (promote,) = [builder for builder in master.builders if builder.name == "promote"]
    assert arguments(promote, "publish")[-2:] == ["--stage", "preview"]
    assert arguments(promote, "promote")[-2:] == ["--stage", "main"]
    assert [more["to_users"] for _, more in steps_of(promote) if "to_users" in more] == [False, True]
    assert stage_folders(site) == {"stages/preview": "preview", "published": "main"}
    assert "compose-main-by-the-clock" in master.schedulers


def test_the_last_rule_denies_everything_to_all_users(master: MasterConfig) -> None:
    last = master.www["authz"].allowRules[-1]
    assert isinstance(last, AnyControlEndpointMatcher)
    assert last.role == NOBODY
    assert last.defaultDeny
    assert all(NOBODY not in getattr(matcher, "roles", []) for matcher in master.www["authz"].roleMatchers)


def test_logs_are_limited_compressed_and_removed_later(site: Site, master: MasterConfig) -> None:
    assert master.logMaxSize == site.web.log_max_bytes
    assert master.logMaxTailSize
    assert master.logCompressionMethod == "zstd"
    assert any(builder.name == "__Janitor" for builder in master.builders)
    assert master.buildbotNetUsageData is None


def test_each_package_of_the_site_is_followed(site: Site, master: MasterConfig) -> None:
    assert {poller.name for poller in master.change_sources} == {f"dist-git {p.name}" for p in site.packages}


def test_try_builds_run_on_workers_without_a_key_and_never_stage_or_publish(site: Site, master: MasterConfig) -> None:
    trusted = {name for pool in site.workers if "try" not in pool.roles for name in pool.workers}
    tries = [builder for builder in master.builders if builder.name.split("-")[0] == "try"]
    assert tries
    for builder in tries:
        assert not trusted & set(builder.workernames)
        words = {more["arguments"][0] for _, more in steps_of(builder) if "arguments" in more}
        assert not words & {"stage", "publish"}


def test_a_new_target_is_one_entry_and_gets_a_builder(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    for source in (FOLDER / "kitten-10", FOLDER / "demo"):
        for file in source.glob("*.yaml"):
            (folder / file.name).write_text(file.read_text().replace("extends: kitten-10", "extends:"))
    (folder / "packages").symlink_to(FOLDER / "demo" / "packages")
    targets = yaml.safe_load((FOLDER / "kitten-10" / "targets.yaml").read_text())
    entry = next(t for t in targets if t["name"] == "x86_64") | {
        "name": "x86_64_v4",
        "description": "64-bit x86 with AVX-512",
        "rpm_arch": "x86_64_v4",
        "isa_level": "x86-64-v4",
    }
    (folder / "targets.yaml").write_text(json.dumps([*targets, entry]))
    master = load(load_site(str(folder)), tmp_path / "state")
    builders = {builder.name: builder for builder in master.builders}
    assert arguments(builders["x86_64_v4"], "build")[:3] == ["build", "--target", "x86_64_v4"]
    assert "try-x86_64_v4" in builders
    assert "to-x86_64_v4" in master.schedulers


def test_a_target_that_no_pool_serves_is_a_configuration_error(tmp_path: Path) -> None:
    site = load_site("demo")
    pools = [pool.model_copy(update={"targets": Targets(("x86_64",))}) for pool in site.workers]
    with pytest.raises(ConfigErrors, match=r"no pool has the role build for target x86_64_v2"):
        load(site.model_copy(update={"workers": tuple(pools)}), tmp_path)


def test_a_pool_that_mixes_try_builds_with_trusted_work_is_refused(tmp_path: Path) -> None:
    site = load_site("demo")
    pools = [p.model_copy(update={"roles": ("try", "build")}) if "try" in p.roles else p for p in site.workers]
    with pytest.raises(ConfigErrors, match="try-builds need a pool that does nothing else"):
        load(site.model_copy(update={"workers": tuple(pools)}), tmp_path)


def test_files_of_each_signed_stage_can_be_opened_in_a_browser() -> None:
    installation = Installation("demo", artifact_links(load_site("demo"), "/state", 8010))
    pages = "http://127.0.0.1:8010/plugins/kitten"
    assert installation.link("/state/published/10-kitten/a.rpm") == f"{pages}/published/10-kitten/a.rpm"
    assert installation.link("/state/testing/10-kitten/a.rpm") == f"{pages}/stages/testing/10-kitten/a.rpm"
    assert installation.link("/state/staged/aarch64/a.rpm") is None
