"""dnf as a user runs it, against what is published: into an empty root, both signature checks on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from config.models import Site, Target
from workers.errors import CannotRun, DidNotHold
from workers.repo.placement import published_repositories
from workers.repo.snapshot import Snapshots
from workers.repo.state import named_stage, snapshots_of
from workers.run import require, run

_PYTHON = "/usr/bin/python3"  # the one that has dnf; ours lives in an environment of its own


def install(
    site: Site, state: Path, target_name: str, packages: Sequence[str] = (), *, stage_name: str = "kitten"
) -> tuple[str, ...]:
    """Install packages of a target with dnf and return the NEVRAs in the root, sorted.

    Scriptlets are not run: on a foreign architecture nothing could run them.

    :param packages: what to install; by default everything published but debuginfo.
    :raises CannotRun: when dnf is missing, or nothing is published for the target.
    :raises DidNotHold: when dnf refuses, with its last words.
    """
    require("dnf", "dnf")
    try:
        target = site.target(target_name)
    except KeyError as error:
        raise CannotRun(str(error.args[0])) from None
    snapshots = snapshots_of(site, state, named_stage(site, stage_name))
    wanted = tuple(packages) or _everything(snapshots, target)
    with tempfile.TemporaryDirectory(prefix="kitten-install-") as folder:
        try:
            return _install(Path(folder), site, target, snapshots.root, wanted)
        except DidNotHold as refusal:
            if why := _changed(snapshots):
                raise DidNotHold(f"{why}\n{refusal}") from None
            raise


def _changed(snapshots: Snapshots) -> str:
    """What was changed by hand, in a line, if that is why dnf refuses."""
    try:
        if (current := snapshots.current()) is not None:
            current.require_unchanged()
    except CannotRun as error:
        return f"{error.what} → {error.mend}"
    return ""


def _everything(snapshots: Snapshots, target: Target) -> tuple[str, ...]:
    from workers.repo.packages import is_debug, nevra_of_file

    current = snapshots.current()
    names = {
        nevra_of_file(file.name).name
        for (_, name), record in (current.published() if current else {}).items()
        if name == target.name
        for file in record.files
        if not file.name.endswith(".src.rpm")
    }
    if not (wanted := tuple(sorted(name for name in names if not is_debug(name)))):
        raise CannotRun(f"nothing is published for {target.name}", "kitten publish")
    return wanted


def _install(folder: Path, site: Site, target: Target, published: Path, packages: Sequence[str]) -> tuple[str, ...]:
    root, layout = folder / "root", site.repositories.layout
    # Debian's rpm keeps its database in the user's home; packages are for systems that keep it here.
    (folder / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n", encoding="utf-8")
    key = published / f"RPM-GPG-KEY-{site.distribution.name}"
    repositories, log = folder / "repositories", folder / "log"
    repositories.mkdir()
    log.mkdir()
    for repository in published_repositories(site, target):
        place = published / layout.root / layout.packages.format(repository=repository.name, arch=target.rpm_arch)
        (repositories / f"{repository.name}.repo").write_text(
            f"[{repository.name}]\nname={repository.name}\nbaseurl=file://{place}\nenabled=1\n"
            f"gpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file://{key}\n",
            encoding="utf-8",
        )
    options = {
        "reposdir": repositories,
        "cachedir": folder / "cache",
        "persistdir": folder / "persist",
        "logdir": log,
        "install_weak_deps": "0",
        "tsflags": "noscripts",
        "gpgcheck": "1",
        "repo_gpgcheck": "1",
    }
    configuration = folder / "dnf.conf"
    configuration.write_text("[main]\n", encoding="utf-8")
    environment = {**os.environ, "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    command: list[str | Path] = [_PYTHON, Path(__file__).with_name("dnf_for_arch.py"), target.rpm_arch]
    command += ["--assumeyes", "--noplugins", "--forcearch", target.rpm_arch, "--releasever", "10"]
    command += ["--config", configuration, "--installroot", root]
    command += [f"--setopt={name}={value}" for name, value in options.items()]
    done = run([*command, "install", *packages], env=environment, check=False, timeout=600)
    if done.status != 0:
        words = [line for line in done.output.splitlines() if line.strip()]
        raise DidNotHold(f"dnf refused to install {' '.join(packages)} for {target.name}:\n" + "\n".join(words[-12:]))
    query: list[str | Path] = ["rpm", "--root", root, "--query", "--all", "--queryformat", "%{NEVRA}\n"]
    names = run(query, env=environment).output.split()
    return tuple(sorted(name for name in names if not name.startswith("gpg-pubkey-")))
