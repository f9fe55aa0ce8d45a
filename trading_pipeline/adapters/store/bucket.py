"""Objects in a bucket of S3, or of a server that speaks it: no locks, so conditional puts decide between writers."""

import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from trading_pipeline.errors import ConfigError, ServerUnavailable

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.fsspec import FsspecStore
    from obstore.store import ClientConfig, RetryConfig

SLOWEST_WRITER: Final = timedelta(days=1)
"""Objects that nothing names are left alone for so long: a writer may be about to name them."""
RETRIES: Final["RetryConfig"] = {"max_retries": 5, "retry_timeout": timedelta(minutes=1)}
"""Of a request that got no answer, or one of overload."""
_LOST: Final = (AlreadyExistsError, PreconditionError)
_NO_OBJECT: Final = (FileNotFoundError, NotFoundError)
_NO_VERSION: Final = '"0"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Objects under a prefix of a bucket.

    Key, region and endpoint come from the standard variables: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`.
    """

    url: str
    store: S3Store

    @classmethod
    def at(cls, name: str, prefix: str) -> Self:
        """Return the objects under a prefix; nothing is asked of the server yet."""
        inside = prefix.strip("/")
        options: ClientConfig = {"allow_http": _plain_http()}
        store = S3Store(name, prefix=inside or None, client_options=options, retry_config=RETRIES)
        return cls(url=f"s3://{name}/{inside}".rstrip("/"), store=store)

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return content and entity tag."""
        with self._answers(key):
            try:
                found = obstore.get(self.store, key)
            except _NO_OBJECT as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None
            return bytes(found.bytes()), str(found.meta["e_tag"])

    def unused(self, key: str) -> str:
        """Return the key with a mark of its own: what is put there can be nobody else's, nor about to be removed."""
        path = PurePosixPath(key)
        return str(path.with_name(f"{path.stem}-{uuid4().hex[:12]}{path.suffix}"))

    def put(self, key: str, content: bytes) -> None:
        """Upload; large content in parts, of which nobody sees any before all are there."""
        with self._answers(key):
            obstore.put(self.store, key, content)

    def swap(self, key: str, content: bytes, version: str | None) -> bool:
        """Put on the condition that the entity tag is still that of `version`.

        Where the answer was lost, or says that a repetition came too late, what the object holds now tells.
        """
        with self._answers(key):
            try:
                obstore.put(self.store, key, content, mode=_only_if(version))
            except _LOST:
                return self._holds(key, content)
            except BaseError:
                if self._holds(key, content):
                    return True
                raise
        if version is None:
            self._require_conditions(key, content)
        return True

    def delete(self, keys: Collection[str]) -> None:
        """Remove; S3 calls it no error when there is nothing."""
        if keys:
            with self._answers(next(iter(keys))):
                obstore.delete(self.store, list(keys))

    def sweep(self, folder: str, keep: Collection[str], *, newest: str) -> None:
        """Remove what nothing names and what is a day older than the object that this writer put last.

        Both ages are the server's. A writer whose own object is gone is late: those that came after it sweep.
        """
        with self._answers(folder):
            found = obstore.list(self.store, f"{folder}/").collect()
            ages = {str(entry["path"]).rpartition("/")[2]: entry["last_modified"] for entry in found}
            if newest in ages:
                before = ages[newest] - SLOWEST_WRITER
                self.delete([f"{folder}/{name}" for name, at in ages.items() if name not in keep and at < before])

    def exclusive(self, folder: str) -> AbstractContextManager[None]:  # noqa: ARG002 - there are no locks
        """Hold nothing."""
        return nullcontext()

    def location(self, key: str) -> str:
        """Return the URL."""
        return f"{self.url}/{key}"

    @property
    def options(self) -> dict[str, str]:
        """Permission to speak HTTP, where the endpoint does; the rest Polars finds in the same variables."""
        return {"allow_http": str(_plain_http()).lower()}

    def filesystem(self) -> "FsspecStore":
        """Return a file system that reads buckets with the same variables."""
        from obstore.fsspec import FsspecStore  # noqa: PLC0415 - only SQL needs it

        return FsspecStore("s3", client_options={"allow_http": _plain_http()})

    def _holds(self, key: str, content: bytes) -> bool:
        found = self.read(key)
        return found is not None and found[0] == content

    def _require_conditions(self, key: str, content: bytes) -> None:
        """Check on a new object that the server refuses puts whose condition fails; not all that speak S3 do."""
        for version in (None, _NO_VERSION):
            with self._answers(key):
                try:
                    obstore.put(self.store, key, content, mode=_only_if(version))
                except _LOST:
                    continue
            raise ConfigError(
                f"the server of {self.url} ignores conditional puts (If-Match, If-None-Match): two writers would undo "
                "each other's work. Use one that knows them",
                url=self.url,
            )

    @contextmanager
    def _answers(self, key: str) -> Iterator[None]:
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise ConfigError(
                f"{self.url}/{key}: access refused. Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, and "
                "the rights of the key",
                url=self.url,
            ) from error
        except _NO_OBJECT as error:
            raise ConfigError(f"{self.url}: there is no such bucket; create it", url=self.url) from error
        except BaseError as error:
            raise ServerUnavailable(f"{self.url}/{key}: {error}", url=self.url) from error


def _only_if(version: str | None) -> "PutMode":
    return "create" if version is None else {"e_tag": version}


def _plain_http() -> bool:
    return urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).scheme == "http"
