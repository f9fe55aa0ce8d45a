"""Where the lake keeps its bytes: named objects, each put whole; a folder is one such store."""

import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trading_pipeline.adapters.store.atomic import exclusive, put_file

_STAGING = ".staging"


class ObjectStore(Protocol):
    """What the lake asks of a store. A key is `<dataset>/<name>`."""

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return content and version of an object, or None when there is none."""

    def put(self, key: str, content: bytes) -> None:
        """Store an object durably: whole or not at all.

        Raises:
            OSError: the store does not take it.
        """

    def swap(self, key: str, content: bytes, version: str | None) -> bool:
        """Replace the object that has this version (None: create it); False when another writer came first."""

    def delete(self, keys: Collection[str]) -> None:
        """Remove objects; those that are gone already are no error."""

    def sweep(self, folder: str, keep: Collection[str]) -> None:
        """Remove what writers that died left in a folder: all but the names kept and what may be in the making."""

    def exclusive(self, folder: str) -> AbstractContextManager[None]:
        """Hold a folder for writing, as far as the store can; `swap` is what decides."""

    def location(self, key: str) -> str:
        """Return the path or URL under which Polars finds the object."""

    def local_path(self, key: str) -> str:
        """Return the path of a file with the content of the object, for readers that know only files."""

    @property
    def options(self) -> dict[str, str] | None:
        """What Polars needs beside the location."""


@dataclass(frozen=True, slots=True)
class FolderStore:
    """Objects as files under a root folder, one writer of this machine at a time."""

    root: Path

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return the bytes of the file; its version is of no use, as writers hold a lock."""
        try:
            return (self.root / key).read_bytes(), ""
        except FileNotFoundError:
            return None

    def put(self, key: str, content: bytes) -> None:
        """Write beside, then rename; survives a loss of power."""
        path = self.root / key
        put_file(path, content, staging=path.parent / _STAGING)

    def swap(self, key: str, content: bytes, version: str | None) -> bool:  # noqa: ARG002 - the lock is held
        """Rename over the old file."""
        self.put(key, content)
        return True

    def delete(self, keys: Collection[str]) -> None:
        """Unlink; whoever has the file open reads on."""
        for key in keys:
            (self.root / key).unlink(missing_ok=True)

    def sweep(self, folder: str, keep: Collection[str]) -> None:
        """Remove every file that no manifest names: the lock says that nobody is writing one."""
        for entry in os.scandir(self.root / folder):
            if entry.is_file() and not entry.name.startswith(".") and entry.name not in keep:
                Path(entry.path).unlink(missing_ok=True)

    @contextmanager
    def exclusive(self, folder: str) -> Iterator[None]:
        """Lock the folder and remove what a crash left half written."""
        with exclusive(self.root / folder):
            staging = self.root / folder / _STAGING
            staging.mkdir(exist_ok=True)
            for left in staging.iterdir():
                left.unlink(missing_ok=True)
            yield

    def location(self, key: str) -> str:
        """Return the path of the file."""
        return str(self.root / key)

    def local_path(self, key: str) -> str:
        """Return the path of the file."""
        return str((self.root / key).absolute())

    @property
    def options(self) -> dict[str, str] | None:
        """Nothing."""
        return None
