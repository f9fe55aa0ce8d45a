"""The files of the embedded servers under one home folder; nothing outside it is ever touched."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from trading_pipeline.errors import ConfigError

_TRAVERSABLE = 0o711


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Absolute paths below `home/embedded`."""

    root: Path

    @classmethod
    def of(cls, home: Path) -> Self:
        """Return the paths for a home folder, which need not exist yet."""
        return cls(root=home.expanduser().resolve() / "embedded")

    def create(self) -> None:
        """Create the folder; its server user may pass through it but not look around.

        Raises:
            ConfigError: the folder cannot be created or belongs to another user.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot create {self.root} ({error.strerror}): set PIPELINE_HOME to a folder you may write",
                path=str(self.root),
            ) from error
        self.require_own()
        self.root.chmod(_TRAVERSABLE)

    def require_own(self) -> None:
        """Raise ConfigError when the folder exists and another user made it: two users cannot share its servers."""
        if self.root.exists() and (owner := self.root.stat().st_uid) != os.geteuid():
            raise ConfigError(
                f"{self.root} belongs to user {owner}, not to {os.geteuid()}: run as that user, "
                "or set PIPELINE_HOME to a folder of your own",
                path=str(self.root),
                owner=owner,
            )

    @property
    def lease(self) -> Path:
        """Locked shared by every holder; the supervisor stops when it can lock it exclusively."""
        return self.root / "lease.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Locked by the one supervisor for as long as it lives."""
        return self.root / "supervisor.lock"

    @property
    def servers_lock(self) -> Path:
        """Locked by every server process, so that no second server starts on the same data."""
        return self.root / "servers.lock"

    @property
    def state(self) -> Path:
        """What runs now, if its supervisor is alive."""
        return self.root / "state.json"

    @property
    def last_state(self) -> Path:
        """What ran last; its ports are tried first."""
        return self.root / "last_state.json"

    @property
    def failure(self) -> Path:
        """Why the last start failed."""
        return self.root / "failure.json"

    @property
    def credentials(self) -> Path:
        """The generated passwords, readable by the owner alone."""
        return self.root / "credentials.json"

    def data(self, server: str) -> Path:
        """Return the data folder of a server."""
        return self.root / server

    def log(self, name: str) -> Path:
        """Return the log file of a server or of the supervisor."""
        return self.root / f"{name}.log"
