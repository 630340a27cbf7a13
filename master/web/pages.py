"""The read-only pages below ``/plugins/kitten/``, which the master serves beside those of Buildbot.

Files: artifacts, published repositories and the files of suites. JSON: the state of each package on each target, and
what waits for what. And the page "Packages", which shows that JSON.
"""

from __future__ import annotations

import json
import os
from typing import Any

from buildbot.util.service import BuildbotService
from buildbot.util.twisted import async_to_deferred
from buildbot.www.plugin import Application
from twisted.internet.defer import ensureDeferred
from twisted.web import pages, static
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from config.models import Site
from master.build_queue import NAME as BUILD_QUEUE
from master.web.matrix import read_housekeeping, read_matrix

NAME = "served-folders"
TEXT = {".log": "text/plain; charset=utf-8", ".spec": "text/plain; charset=utf-8", ".json": "application/json"}


class ServedFolders(BuildbotService):
    """The folders that the pages show, as a service, so that the pages follow a reconfiguration."""

    name = NAME

    def checkConfig(self, folders: dict[str, str], site: Site) -> None:
        """Check nothing: the folders may appear later."""

    @async_to_deferred
    async def reconfigService(self, folders: dict[str, str], site: Site) -> None:
        """Use new folders: name in the address → path."""
        self.folders = folders
        self.site = site


class ReadOnlyFile(static.File):
    """A folder in which all users may read all files except those whose names begin with a dot.

    A package can contain anything, so headers forbid the browser to guess types and to run files. A symbolic link that
    leaves the folder is not followed.
    """

    contentTypes: dict[str, str]

    def __init__(self, path: str, *arguments: Any, **more: Any) -> None:
        super().__init__(path, *arguments, **more)
        self.contentTypes = {**self.contentTypes, **TEXT}
        self.top = os.path.realpath(path)

    def createSimilarFile(self, path: str) -> ReadOnlyFile:
        """Return a file of the same folder."""
        file: ReadOnlyFile = super().createSimilarFile(path)
        file.top = self.top
        return file

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Hide names that begin with a dot, and files outside the folder."""
        if path.startswith(b".") or not self.isdir():
            return pages.notFound()
        child = super().getChild(path, request)
        if isinstance(child, ReadOnlyFile) and not os.path.realpath(child.path).startswith(f"{self.top}/"):
            return pages.notFound()
        return child

    def listNames(self) -> list[str]:
        """Return the names in a listing."""
        return sorted(name for name in super().listNames() if not name.startswith("."))

    def directoryListing(self) -> Resource:
        """Return a listing without hidden names."""
        return static.DirectoryLister(
            self.path, self.listNames(), self.contentTypes, self.contentEncodings, self.defaultType
        )


class _Folder(Resource):
    """One of the served folders; its path is looked up for each request."""

    def __init__(self, application: _Pages, name: str) -> None:
        super().__init__()
        self.application = application
        self.name = name

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Return a file or a listing, with headers that forbid the browser to run it."""
        served = self.application.master.service_manager.namedServices.get(NAME)
        if served is None or self.name not in served.folders:
            return pages.notFound(message=f"{self.name} is not served by this master")
        request.setHeader(b"x-content-type-options", b"nosniff")
        request.setHeader(b"content-security-policy", b"sandbox; default-src 'none'; style-src 'unsafe-inline'")
        return ReadOnlyFile(served.folders[self.name]).getChild(path, request)


class _Stages(Resource):
    """The signed stages before the users' stage, by their names."""

    def __init__(self, application: _Pages) -> None:
        super().__init__()
        self.application = application

    def getChild(self, path: bytes, request: Any) -> Resource:  # noqa: ARG002 - Twisted's signature
        """Return one of them."""
        return _Folder(self.application, f"stages/{path.decode(errors='replace')}")


class _Json(Resource):
    """A query to the running master, answered in JSON."""

    isLeaf = True

    def __init__(self, application: _Pages, query: Any) -> None:
        super().__init__()
        self.application = application
        self.query = query

    def render_GET(self, request: Any) -> Any:
        """Send the answer of the query; status 503 if it fails."""
        answer = ensureDeferred(self.query(self.application.master))

        def send(value: Any) -> None:
            request.setHeader(b"content-type", b"application/json")
            request.write(json.dumps(value).encode())
            request.finish()

        def fail(failure: Any) -> None:
            request.setResponseCode(503)
            request.write(json.dumps({"error": failure.getErrorMessage()}).encode())
            request.finish()

        client_left = request.notifyFinish()
        client_left.addErrback(lambda _: answer.cancel())
        answer.addCallbacks(send, fail).addErrback(lambda _: None)  # no client is left to answer
        return NOT_DONE_YET


async def _waiting(master: Any) -> Any:
    build_queue = master.service_manager.namedServices[BUILD_QUEUE]
    await build_queue.catch_up()
    return {"waiting": build_queue.waiting_requests()}


async def _packages(master: Any) -> Any:
    services = master.service_manager.namedServices
    await services[BUILD_QUEUE].catch_up()
    packages = await read_matrix(master, services[NAME].site, services[BUILD_QUEUE].waiting_requests())
    return packages | {"housekeeping": await read_housekeeping(master)}


class _Pages(Application):
    """Buildbot's plugin: the static files of the page, and the resources below its address."""

    master: Any

    def __init__(self) -> None:
        super().__init__("master.web", "packages, waits and artifacts")
        for name in ("artifacts", "published", "lab"):
            self.resource.putChild(name.encode(), _Folder(self, name))
        self.resource.putChild(b"stages", _Stages(self))
        self.resource.putChild(b"waiting.json", _Json(self, _waiting))
        self.resource.putChild(b"packages.json", _Json(self, _packages))


application = _Pages()
