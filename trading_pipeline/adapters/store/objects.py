"""Where the lake keeps its bytes: named objects, each put whole; a folder is one such store, a bucket another."""

import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from trading_pipeline.adapters.store.atomic import exclusive, put_file
from trading_pipeline.errors import ConfigError

_STAGING = ".staging"


class ObjectStore(Protocol):
    """What the lake asks of a store. A key is `<dataset>/<name>`."""

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return content and version of an object, or None when there is none."""

    def unused(self, key: str) -> str:
        """Return a key like this one, with the same ending, that no other writer can be using or removing."""

    def put(self, key: str, content: bytes) -> None:
        """Store an object durably: whole or not at all.

        Raises:
            OSError: the disk does not take it.
            ServerUnavailable: the bucket does not answer, or does not take it.
        """

    def swap(self, key: str, content: bytes, version: str | None) -> bool:
        """Replace the object that has this version (None: create it); False when another writer came first.

        Raises:
            ConfigError: the store knows no such condition, so that writers would undo each other's work.
            ServerUnavailable: no answer, and nothing to tell whether it was done: repeat what led to it.
        """

    def delete(self, keys: Collection[str]) -> None:
        """Remove objects; those that are gone already are no error."""

    def sweep(self, folder: str, keep: Collection[str], *, newest: str) -> None:
        """Remove what writers that died left in a folder: all but the names kept and what may be in the making.

        Args:
            folder: the dataset.
            keep: the names that are in use.
            newest: the one of them that was put last before they became so.
        """

    def exclusive(self, folder: str) -> AbstractContextManager[None]:
        """Hold a folder for writing, as far as the store can; `swap` is what decides."""

    def location(self, key: str) -> str:
        """Return the absolute path or the URL of an object."""

    @property
    def options(self) -> dict[str, str] | None:
        """What Polars needs beside the location."""

    def filesystem(self) -> Any | None:
        """Return an fsspec file system that reads locations, for readers that know no buckets; None: plain files."""


def open_store(root: Path | str) -> ObjectStore:
    """Return the store under a root: a folder, or `s3://bucket/prefix`. Nothing is read or written yet.

    Raises:
        ConfigError: the URL is of another kind, or names no bucket.
    """
    if isinstance(root, Path) or "://" not in root:
        return FolderStore(Path(root).absolute())
    url = urlsplit(root)
    if url.scheme != "s3" or not url.netloc or url.query or url.fragment:
        raise ConfigError(f"the lake cannot be at {root!r}: give a folder, or s3://bucket/prefix", root=root)
    from trading_pipeline.adapters.store.bucket import Bucket  # noqa: PLC0415 - most lakes are folders, and start faster

    return Bucket.at(url.netloc, url.path)


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

    def unused(self, key: str) -> str:
        """Return the key itself: the lock keeps others away."""
        return key

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

    def sweep(self, folder: str, keep: Collection[str], *, newest: str) -> None:  # noqa: ARG002 - the lock is held
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

    @property
    def options(self) -> dict[str, str] | None:
        """Nothing."""
        return None

    def filesystem(self) -> None:
        """Return None: everybody reads files."""
