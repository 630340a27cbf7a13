"""What takes patches of contributors: Buildbot's try scheduler, with what a client may ask for guarded."""

from __future__ import annotations

from typing import Any

from buildbot.plugins import schedulers
from buildbot.schedulers.trysched import Try_Userpass_Perspective
from buildbot.util.twisted import async_to_deferred

from steps.names import TRY

TRY_PROPERTIES = frozenset({"package", "targets"})


class GuardedTryPerspective(Try_Userpass_Perspective):
    """What a client sends is a wish: few properties pass, the repository is ours, the user is the logged-in one."""

    @async_to_deferred
    async def perspective_try(
        self,
        branch: Any,
        revision: Any,
        patch: Any,
        repository: Any,  # noqa: ARG002 - the client's, and so refused
        project: Any,  # noqa: ARG002
        builderNames: Any,  # noqa: ARG002 - there is one
        who: Any = "",  # noqa: ARG002
        comment: Any = "",
        properties: Any = None,
    ) -> Any:
        """Start a try-build, or say what is refused."""
        wished = {str(key): value for key, value in (properties or {}).items()}
        if refused := sorted(wished.keys() - TRY_PROPERTIES):
            allowed = ", ".join(sorted(TRY_PROPERTIES))
            raise ValueError(f"refused properties: {', '.join(refused)}; a try-build takes {allowed}")
        package = str(wished.get("package", ""))
        if package not in self.scheduler.packages:
            raise ValueError(f"unknown package {package!r}: pass --property=package=NAME")
        return await super().perspective_try(
            branch,
            revision,
            patch,
            "",
            package,
            [TRY],
            self.username,
            comment,
            wished | {"owner": self.username},
        )


class GuardedTry(schedulers.Try_Userpass):
    """Try-builds for users with a password. Plain TCP: bound to where only trusted programs reach it."""

    def checkConfig(self, packages: list[str], **more: Any) -> None:  # noqa: ARG002
        """Leave the rest to Try_Userpass."""
        super().checkConfig(**more)

    @async_to_deferred
    async def reconfigService(self, packages: list[str], **more: Any) -> None:
        """Take over a (new) list of packages."""
        self.packages = packages
        await super().reconfigService(**more)

    @async_to_deferred
    async def _create_pb(self) -> None:
        for user, password in self.userpass:
            self.registrations.append(
                await self.master.pbmanager.register(
                    self.port, user, password, lambda _mind, username: GuardedTryPerspective(self, username)
                )
            )
