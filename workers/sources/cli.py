"""``kitten source`` and ``kitten dist-git``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from workers.base import options
from workers.base.command import conclude


@click.command()
@options.site
@options.state
@click.option("--package", "package_name", required=True, metavar="NAME", help="Package of the site.")
@click.option(
    "--branch", metavar="NAME", help="dist-git branch; default: the first of sources.yaml that the repository has."
)
@click.option("--revision", metavar="COMMIT", help="Commit on that branch; default: its newest.")
@click.option("--repository", metavar="URL", help="dist-git repository; default: the one of sources.yaml.")
@click.option("--patch", type=click.Path(path_type=Path), metavar="FILE", help="Apply a contributor's patch first.")
@click.option("--trial", is_flag=True, help="For a try build: stored apart from sources for users.")
@options.json
def source(
    site_name: str,
    state_folder: Path | None,
    package_name: str,
    branch: str | None,
    revision: str | None,
    repository: str | None,
    patch: Path | None,
    trial: bool,
    json_file: Path | None,
) -> None:
    """Make a source package from a dist-git commit, once for all targets.

    Tarballs come from the lookasides of sources.yaml and must have the checksums of the package's sources file. The
    result is stored in ARTIFACTS/sources/NAME/KEY/ and is used again for the same content.
    """
    import time

    from workers.results import SourceResult
    from workers.sources import distgit
    from workers.sources.make import Request, source_of

    known = {"package": package_name, "branch": branch or "", "commit": revision or ""}

    def work() -> SourceResult:
        began = time.monotonic()
        site, folder = options.site_and_state(site_name, state_folder)
        package = options.named_package(site, package_name)
        url = repository or distgit.address(site, package.name, folder)
        commit = distgit.find(url, (branch,) if branch else site.sources.branches, revision)
        known.update(branch=commit.branch, commit=commit.commit)
        click.echo(f"{package.name}: {commit.branch} {commit.commit[:12]} of {url}")
        yaml = f"{_displayed_path(_site_folder(site_name))}/packages/{package.name}.yaml"
        result = source_of(Request(site, package, folder, yaml, commit, patch, trial))
        return result.model_copy(update={"seconds": time.monotonic() - began})

    result = conclude(SourceResult, json_file, work, known=known)
    if result.srpm is not None:
        click.echo(f"  {result.srpm.url}{' (reused)' if result.reused else ''}")


@click.group(name="dist-git")
@options.site
@options.state
@click.pass_context
def dist_git(context: click.Context, site_name: str, state_folder: Path | None) -> None:
    """Make the demo's dist-git repositories and push to them. They are bare git repositories below the state folder.

    You can clone one, commit and push; then its builds start.
    """
    context.obj = (site_name, state_folder)


@dist_git.command()
@click.argument("packages", nargs=-1)
@click.option("--empty", is_flag=True, help="Only make missing repositories, without a commit.")
@click.pass_obj
def init(given: tuple[str, Path | None], packages: tuple[str, ...], empty: bool) -> None:
    """Make the repositories, or update them from the site's folder. Pushed commits stay in the history.

    PACKAGES: only these; default: all in the folder.
    """
    from workers.sources import demo

    site, state = options.site_and_state(*given)
    names = {options.named_package(site, name).name for name in packages} or {package.name for package in site.packages}
    content = demo.content_folder(_site_folder(given[0]))
    if empty:
        demo.ensure_empty_repositories(site, state, content, names)
        return
    for pushed in demo.ensure_demo_repositories(site, state, content, names):
        click.echo(f"{pushed.package}: {pushed.repository} {pushed.commit[:12]}{'' if pushed.new else ' (unchanged)'}")


@dist_git.command()
@click.argument("package")
@click.option(
    "--from", "folder", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Content of the commit."
)
@click.option("-m", "--message", required=True, help="Message of the commit.")
@click.option("--branch", metavar="NAME", help="Default: the first of sources.yaml.")
@click.pass_obj
def push(given: tuple[str, Path | None], package: str, folder: Path, message: str, branch: str | None) -> None:
    """Commit the content of a folder on top of PACKAGE's branch."""
    from workers.sources import demo

    site, state = options.site_and_state(*given)
    pushed = demo.push(site, state, options.named_package(site, package).name, folder, message, branch)
    note = "" if pushed.new else " (nothing to commit)"
    click.echo(f"{pushed.package}: {pushed.repository} {pushed.commit[:12]}{note}")


def _site_folder(name: str) -> Path:
    from config.loading import site_folder

    return site_folder(name)


def _displayed_path(path: Path) -> str:
    """Return a path of the configuration for messages: relative if it is below the checkout."""
    return os.path.relpath(path, options.CHECKOUT) if path.resolve().is_relative_to(options.CHECKOUT) else str(path)
