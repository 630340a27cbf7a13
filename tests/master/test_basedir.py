"""Base folders, passwords, and the configuration that Buildbot reads in them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from buildbot.config.errors import ConfigErrors
from buildbot.config.master import MasterConfig

from config.loading import FOLDER, load_site
from master.configuration import Surroundings, configuration
from master.service.basedir import ensure_secrets, prepare_master, prepare_worker, read_passwords
from tests.master.loaded import SITES, surroundings


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    folder = ensure_secrets(load_site("demo"), tmp_path)
    (folder / "web-admin").chmod(0o640)
    with pytest.raises(ConfigErrors, match=r"web-admin can be read by others .*chmod 600"):
        read_passwords(folder)


def test_secrets_are_made_once_are_all_different_and_readable_only_by_the_owner(tmp_path: Path) -> None:
    site = load_site("demo")
    folder = ensure_secrets(site, tmp_path)
    first = read_passwords(folder)
    ensure_secrets(site, tmp_path)
    assert read_passwords(folder) == first
    assert len(set(first.values())) == len(first)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_masters_secrets_do_not_include_the_signing_keys(tmp_path: Path) -> None:
    folder = ensure_secrets(load_site("demo"), tmp_path)
    (folder / "gnupg").mkdir()
    (folder / "signing-passphrase").write_text("x")
    assert not {"gnupg", "signing-passphrase"} & read_passwords(folder).keys()


def test_passwords_are_not_in_the_representation_of_the_surroundings(tmp_path: Path) -> None:
    around = surroundings(load_site("demo"), "demo", tmp_path)
    assert not any(password in repr(around) for password in around.passwords.values() if len(password) > 1)


def test_a_missing_password_is_named(tmp_path: Path) -> None:
    site = load_site("demo")
    with pytest.raises(ConfigErrors, match="user admin has no password: secrets/web-admin is missing"):
        MasterConfig.loadFromDict(configuration(site, Surroundings("demo", str(tmp_path), 1, 2)), "test")


def test_a_database_password_comes_from_the_secrets(tmp_path: Path) -> None:
    site = load_site("demo")
    web = site.web.model_copy(update={"database": "postgresql://b:{secret:database-password}@db/b"})
    result = configuration(site.model_copy(update={"web": web}), surroundings(site, "demo", tmp_path))
    assert result["db"]["db_url"] == "postgresql://b:x@db/b"
    assert result["db"]["engine_kwargs"]["pool_size"] == 12


def test_base_folders_may_be_prepared_again(tmp_path: Path) -> None:
    checkout = FOLDER.parent
    for _ in range(2):
        basedir = prepare_master(tmp_path, checkout)
        prepare_worker(tmp_path, "build-1", 9989)
    assert (basedir / "master.cfg").resolve() == checkout / "master" / "master.cfg"
    compile((basedir / "buildbot.tac").read_text(), "buildbot.tac", "exec")
    tac = tmp_path / "workers" / "build-1" / "buildbot.tac"
    compile(tac.read_text(), "buildbot.tac", "exec")


def test_master_cfg_is_short() -> None:
    assert len((FOLDER.parent / "master" / "master.cfg").read_text().splitlines()) <= 30


@pytest.mark.parametrize("name", SITES)
def test_buildbot_checkconfig_passes_offline(name: str, tmp_path: Path) -> None:
    ensure_secrets(load_site(name), tmp_path)
    password = tmp_path / "secrets" / "database-password"
    password.touch(0o600)
    password.write_text("x")
    basedir = prepare_master(tmp_path, FOLDER.parent)
    environment = os.environ | {
        "KITTEN_SITE": name,
        "KITTEN_STATE": str(tmp_path),
        "KITTEN_WEB_PORT": "8010",
        "KITTEN_WORKER_PORT": "9989",
        "KITTEN_TRY_PORT": "8031",
    }
    buildbot = Path(sys.executable).with_name("buildbot")
    done = subprocess.run(
        [buildbot, "checkconfig", str(basedir)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Config file is good" in done.stdout
