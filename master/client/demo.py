"""``kitten demo``: from an empty state folder to signed packages on every target, with a live table and a result.

The demo also runs once the suites of the site's schedules. If one of them fails, the demo fails.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from config.models import SourcePackage
from master.client.api import Api
from master.client.overlay import original_service
from master.client.progress import LAB_ROW, all_settled, lab_cells, matrix
from master.client.revisions import head, published_commits
from master.client.tables import clock, display, lab_table, result_table, under_way
from master.client.target_setup import resume_hint, service_without, set_up_targets
from master.errors import ServiceError
from master.runs import LAB_FORM, all_schedules_are_quick, scheduled_suites
from master.service.ports import Ports
from master.service.service import Service
from master.status import PUBLISHED, Cell

POLL_SECONDS = 2.0
# The poller sees a push within its interval. If a package has no build after this time, the demo requests one itself.
PATIENCE_SECONDS = 45.0


def choose_packages(service: Service, names: str) -> tuple[SourcePackage, ...]:
    """Return the packages of ``names``: an empty string selects the default ones, ``all`` selects all.

    :raises KeyError: an unknown name; the text lists the known ones.
    """
    wanted = names.replace(",", " ").split()
    if not wanted:
        return tuple(p for p in service.site.packages if p.default)
    if wanted == ["all"]:
        return service.site.packages
    return tuple(service.site.package(name) for name in wanted)


def run_demo(
    service: Service,
    packages: Sequence[SourcePackage],
    console: Console,
    web_port: int | None = None,
    *,
    with_lab: bool = True,
) -> bool:
    """Run the demo. Return whether every package is published on all its targets, and every suite passed.

    :param with_lab: also run the suites of the site's schedules.
    :raises ServiceError: a part of the demo cannot run at all.
    """
    started = time.monotonic()
    service = original_service(service)
    set_up = set_up_targets(service, console)
    service = service_without(service, set_up.missing, console)
    ports = service.start(console.print, web_port)
    console.print(f"web UI: {ports.url}   (sign in as admin: {service.state / 'secrets'})")
    commits = push(service, packages)
    api = Api(ports.url, (package.name for package in packages))
    wanted = scheduled_suites(service.site) if with_lab else {}
    runs = {target: suites for target, suites in wanted.items() if target not in set_up.no_guest}
    before = lab_cells(api.snapshot(t.name for t in service.site.targets), runs)
    if nothing_to_do(service, packages, commits) and all(cell.state == "passed" for cell in before.values()):
        suites = ", ".join(sorted({name for suites in runs.values() for name in suites}))
        lab = f", and the suites {suites} passed" if runs else ""
        names = ", ".join(package.name for package in packages)
        console.print(
            f"[green]nothing to do[/green]: {names} are published on every target, from the commits in dist-git{lab}"
        )
        console.print(result_table(service, packages, _published_cells(service, packages)))
        console.print(resume_hint(set_up.missing), end="")
        return not set_up.missing
    run = DemoRun(service, ports, packages, runs)
    ignored = retry_failures(run, api, commits, console)
    cells = follow(run, api, commits, console, ignored)
    cells |= {(LAB_ROW, t): Cell("failed", set_up.no_guest[t]) for t in wanted if t in set_up.no_guest}
    console.print(result_table(service, packages, cells))
    if wanted:
        console.print(lab_table(wanted, cells))
    passed = all(cell.state in ("published", "passed") for cell in cells.values())
    for (package, target), cell in cells.items():
        if cell.state in ("failed", "signed") or cell.warned:
            colour = "red" if cell.state == "failed" else "yellow"
            console.print(f"[{colour}]{package} on {target}[/{colour}]: {escape(cell.words)}   {ports.url}{cell.build}")
    repositories = service.state / service.site.stage_for("users").url / service.site.repositories.layout.root
    console.print(f"web UI        {ports.url}\nrepositories  {repositories}")
    console.print(
        f"{'everything passed' if passed else 'not everything passed'}, after {clock(time.monotonic() - started)}"
        "   (`make stop` ends the service)"
    )
    console.print(resume_hint(set_up.missing), end="")
    return passed and not set_up.missing


@dataclass(frozen=True)
class DemoRun:
    """The packages and suites of one run of the demo, with methods that request their builds from the master."""

    service: Service
    ports: Ports
    packages: Sequence[SourcePackage]
    runs: Mapping[str, Sequence[str]]
    """Target → the suites that run on it without a package."""

    def package(self, name: str, targets: Sequence[str] = ()) -> None:
        """Start the build of a package, on these targets or on all."""
        self._force("force", {"package": name, "targets": list(targets)})

    def suites(self, target: str) -> None:
        """Start the suites of a target."""
        quick = all_schedules_are_quick(self.service.site)
        self._force(LAB_FORM, {"target": target, "suites": list(self.runs[target]), "quick": quick})

    def _force(self, form: str, answers: Mapping[str, Any]) -> None:
        """Start builds as the admin, by one of the forms that people use."""
        password = (self.service.state / "secrets" / "web-admin").read_text().strip()
        session = requests.Session()
        session.get(f"{self.ports.url}auth/login", auth=("admin", password), timeout=30).raise_for_status()
        call = {
            "id": 1,
            "jsonrpc": "2.0",
            "method": "force",
            "params": {**answers, "reason": "requested by kitten demo"},
        }
        answer = session.post(f"{self.ports.url}api/v2/forceschedulers/{form}", json=call, timeout=30)
        if not answer.ok:
            raise ServiceError(f"the master refused the form {form} with {answers}: {answer.text.strip()[:300]}")


def push(service: Service, packages: Sequence[SourcePackage]) -> dict[str, str]:
    """Push the demo's content to its dist-git repositories. Return package → commit."""
    done = service.kitten("dist-git", "init", *(p.name for p in packages), capture_output=True)
    if done.returncode != 0:
        raise ServiceError(f"dist-git: {(done.stderr or done.stdout).strip()}")
    return {package.name: head(service, package)[1] for package in packages}


def nothing_to_do(service: Service, packages: Sequence[SourcePackage], commits: Mapping[str, str]) -> bool:
    """Return whether each package's commit is published on every target of the package."""
    known = published_commits(service)
    return all(
        known.get((p.name, t.name)) == commits[p.name] != "" for p in packages for t in service.site.targets_of(p)
    )


def retry_failures(run: DemoRun, api: Api, commits: Mapping[str, str], console: Console) -> int:
    """Build again what failed in an earlier run, on the targets where it failed. Finished builds are reused.

    Return the id of the newest build of that run: failures up to it no longer count.
    """
    site = run.service.site
    seen = api.snapshot(t.name for t in site.targets)
    cells = matrix(site, run.packages, commits, seen, published_commits(run.service))
    for package in run.packages:
        failed = [target for (name, target), cell in cells.items() if name == package.name and cell.state == "failed"]
        if failed:
            console.print(f"{package.name} failed before on {', '.join(failed)}: it is built again")
            run.package(package.name, failed)
    return max((build["buildid"] for build in seen.builds if build["complete"]), default=0)


def follow(
    run: DemoRun, api: Api, commits: Mapping[str, str], console: Console, ignored: int = 0
) -> dict[tuple[str, str], Cell]:
    """Show the builds until each cell is finished. The master may restart in between.

    If a package shows no build, its build is requested. The suites are requested after every package has reached its
    targets, because builds of packages come first.

    :param ignored: failures of builds up to this id do not count.
    """
    service, packages = run.service, run.packages
    workers = sum(len(p.workers) * p.max_builds for p in service.site.workers if "build" in p.roles)
    known = published_commits(service)
    quiet_since = dict.fromkeys((p.name for p in packages), time.monotonic())
    requested_at: dict[str, float] = {}
    cells: dict[tuple[str, str], Cell] = {}
    with display(console) as show:
        while True:
            try:
                seen = api.snapshot(t.name for t in service.site.targets)
            except requests.RequestException:
                show(Text("the master does not answer; waiting for it to come back", style="yellow"), cells)
                time.sleep(POLL_SECONDS)
                continue
            built = matrix(service.site, packages, commits, seen.without_failures_up_to(ignored), known)
            lab = lab_cells(seen, run.runs, ignored)
            cells = {**built, **lab}
            show(under_way(service, packages, cells, workers), cells)
            if all_settled(cells):
                return cells
            try:
                for package in packages:
                    mine = [cell for (name, _), cell in built.items() if name == package.name]
                    if any(cell.state not in ("nothing", "published") for cell in mine) or not any(
                        cell.state == "nothing" for cell in mine
                    ):
                        quiet_since[package.name] = time.monotonic()
                    elif time.monotonic() - quiet_since[package.name] > PATIENCE_SECONDS:
                        run.package(package.name)
                        quiet_since[package.name] = time.monotonic()
                if all(cell.state not in ("nothing", "source") for cell in built.values()):
                    for (_, target), cell in lab.items():
                        since = time.monotonic() - requested_at.get(target, -PATIENCE_SECONDS)
                        if cell.state == "nothing" and since >= PATIENCE_SECONDS:
                            run.suites(target)
                            requested_at[target] = time.monotonic()
            except (requests.ConnectionError, requests.Timeout):
                pass  # the master restarts: the next round sees what it has stored, and requests the rest
            time.sleep(POLL_SECONDS)


def _published_cells(service: Service, packages: Sequence[SourcePackage]) -> dict[tuple[str, str], Cell]:
    return {(p.name, t.name): PUBLISHED for p in packages for t in service.site.targets_of(p)}
