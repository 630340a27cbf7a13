"""What the master serves beside Buildbot's own pages, below ``/plugins/kitten/``. Read only.

Artifacts, published repositories and what suites left, to click on; as JSON, the newest state of each package on each target and what
waits for what; and the page that shows it.
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
    """Knows which folders are shown, so that the pages follow a reconfiguration."""

    name = NAME

    def checkConfig(self, folders: dict[str, str], site: Site) -> None:
        """Nothing to check: the folders may appear later."""

    @async_to_deferred
    async def reconfigService(self, folders: dict[str, str], site: Site) -> None:
        """Take over (new) folders: name in the address → path."""
        self.folders = folders
        self.site = site


class ReadOnlyFile(static.File):
    """A folder below which everything may be read but what a dot hides.

    Packages may hold anything, so a browser is told not to guess types and not to run what it is shown; a link that leads out
    of the folder leads nowhere.
    """

    contentTypes: dict[str, str]

    def __init__(self, path: str, *arguments: Any, **more: Any) -> None:
        super().__init__(path, *arguments, **more)
        self.contentTypes = {**self.contentTypes, **TEXT}
        self.top = os.path.realpath(path)

    def createSimilarFile(self, path: str) -> ReadOnlyFile:
        """A file of the same folder."""
        made: ReadOnlyFile = super().createSimilarFile(path)
        made.top = self.top
        return made

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Hide what begins with a dot, and what lies elsewhere."""
        if path.startswith(b".") or not self.isdir():
            return pages.notFound()
        found = super().getChild(path, request)
        if isinstance(found, ReadOnlyFile) and not os.path.realpath(found.path).startswith(f"{self.top}/"):
            return pages.notFound()
        return found

    def listNames(self) -> list[str]:
        """What a listing shows."""
        return sorted(name for name in super().listNames() if not name.startswith("."))

    def directoryListing(self) -> Resource:
        """A listing without hidden names."""
        return static.DirectoryLister(
            self.path, self.listNames(), self.contentTypes, self.contentEncodings, self.defaultType
        )


class _Folder(Resource):
    """One of the shown folders, looked up when it is asked for."""

    def __init__(self, application: _Pages, name: str) -> None:
        super().__init__()
        self.application = application
        self.name = name

    def getChild(self, path: bytes, request: Any) -> Resource:
        """A file, or a listing, as something a browser shows but does not run."""
        served = self.application.master.service_manager.namedServices.get(NAME)
        if served is None or self.name not in served.folders:
            return pages.notFound(message=f"{self.name}: not served here")
        request.setHeader(b"x-content-type-options", b"nosniff")
        request.setHeader(b"content-security-policy", b"sandbox; default-src 'none'; style-src 'unsafe-inline'")
        return ReadOnlyFile(served.folders[self.name]).getChild(path, request)


class _Stages(Resource):
    """The signed stages before the last, by their names."""

    def __init__(self, application: _Pages) -> None:
        super().__init__()
        self.application = application

    def getChild(self, path: bytes, request: Any) -> Resource:  # noqa: ARG002 - Twisted's signature
        """One of them."""
        return _Folder(self.application, f"stages/{path.decode(errors='replace')}")


class _Json(Resource):
    """A question to the running master, answered in JSON."""

    isLeaf = True

    def __init__(self, application: _Pages, question: Any) -> None:
        super().__init__()
        self.application = application
        self.question = question

    def render_GET(self, request: Any) -> Any:
        """Answer."""
        answer = ensureDeferred(self.question(self.application.master))

        def send(value: Any) -> None:
            request.setHeader(b"content-type", b"application/json")
            request.write(json.dumps(value).encode())
            request.finish()

        def fail(failure: Any) -> None:
            request.setResponseCode(503)
            request.write(json.dumps({"error": failure.getErrorMessage()}).encode())
            request.finish()

        gone = request.notifyFinish()
        gone.addErrback(lambda _: answer.cancel())
        answer.addCallbacks(send, fail).addErrback(lambda _: None)  # the client left
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
    """Buildbot's plugin: static files of the page, and the live resources below it."""

    master: Any

    def __init__(self) -> None:
        super().__init__("master.web", "packages, waits and artifacts")
        for name in ("artifacts", "published", "lab"):
            self.resource.putChild(name.encode(), _Folder(self, name))
        self.resource.putChild(b"stages", _Stages(self))
        self.resource.putChild(b"waiting.json", _Json(self, _waiting))
        self.resource.putChild(b"packages.json", _Json(self, _packages))


application = _Pages()
