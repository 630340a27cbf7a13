"""Buildbot's try scheduler, which receives contributors' patches, with checks of everything that the client sends."""

from __future__ import annotations

from typing import Any

from buildbot.plugins import schedulers
from buildbot.schedulers.trysched import Try_Userpass_Perspective
from buildbot.util.twisted import async_to_deferred

from steps.names import TRY

TRY_PROPERTIES = frozenset({"package", "targets"})


class GuardedTryPerspective(Try_Userpass_Perspective):
    """Check a client's request: few properties are allowed; repository and user are set here, not by the client."""

    @async_to_deferred
    async def perspective_try(
        self,
        branch: Any,
        revision: Any,
        patch: Any,
        repository: Any,  # noqa: ARG002 - the client's; not used
        project: Any,  # noqa: ARG002
        builderNames: Any,  # noqa: ARG002 - always TRY
        who: Any = "",  # noqa: ARG002
        comment: Any = "",
        properties: Any = None,
    ) -> Any:
        """Start a try-build.

        :raises ValueError: a property that is not allowed, or an unknown package.
        """
        wanted = {str(key): value for key, value in (properties or {}).items()}
        if refused := sorted(wanted.keys() - TRY_PROPERTIES):
            allowed = ", ".join(sorted(TRY_PROPERTIES))
            raise ValueError(f"refused properties: {', '.join(refused)}; a try-build takes {allowed}")
        package = str(wanted.get("package", ""))
        if package not in self.scheduler.packages:
            raise ValueError(f"unknown package {package!r}; give a package of the site: --property=package=NAME")
        return await super().perspective_try(
            branch,
            revision,
            patch,
            "",
            package,
            [TRY],
            self.username,
            comment,
            wanted | {"owner": self.username},
        )


class GuardedTry(schedulers.Try_Userpass):
    """The scheduler of try-builds, for users with a password. It uses plain TCP, so its port must be a local one."""

    def checkConfig(self, packages: list[str], **more: Any) -> None:  # noqa: ARG002
        """Check the arguments of Try_Userpass."""
        super().checkConfig(**more)

    @async_to_deferred
    async def reconfigService(self, packages: list[str], **more: Any) -> None:
        """Use a new list of packages."""
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
