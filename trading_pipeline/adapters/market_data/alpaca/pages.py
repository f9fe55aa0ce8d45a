"""Pages of a retrieval under way, kept on disk so that a restart goes on where it stopped; it asks nobody itself."""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl
import structlog

from trading_pipeline.core.clock import Clock
from trading_pipeline.errors import DataQualityError

MAX_AGE: Final = timedelta(hours=6)
"""Older pages are asked for again: one retrieval must not mix what was known on different days."""
_NEXT, _FETCHED_AT = "next_page_token", "fetched_at"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Rows of one answer, where to go on (None after the last), and the instant (UTC) they were known at."""

    rows: pl.DataFrame
    next_token: str | None
    fetched_at: datetime


class StagedPages:
    """One folder a retrieval, one file a page. Each file is complete or absent, and names the page after it."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock

    def retrieve(self, request: str, ask: Callable[[str | None], Page]) -> list[Page]:
        """Return all pages of a request, asking only for those that are not there yet.

        Args:
            request: everything that tells this request from another.
            ask: gets the page of a token, or the first for None.

        Raises:
            DataQualityError: a token led back to a page seen before: the server's paging does not end.
        """
        self._sweep()
        folder = self._folder_of(request)
        pages = self._kept(folder)
        if pages:
            log.info("going on with a retrieval", pages=len(pages), request=request)
        folder.mkdir(parents=True, exist_ok=True)
        seen = {page.next_token for page in pages}
        while not pages or pages[-1].next_token is not None:
            page = ask(pages[-1].next_token if pages else None)
            if page.next_token is not None and page.next_token in seen:
                shutil.rmtree(folder)
                raise DataQualityError(
                    f"{request}: page {len(pages) + 1} leads back to one before it: the server's paging does not end",
                    request=request,
                    pages=len(pages),
                )
            self._keep(folder, len(pages), page)
            seen.add(page.next_token)
            pages.append(page)
        return pages

    def forget(self, request: str) -> None:
        """Remove the pages of a request whose rows are safely elsewhere."""
        shutil.rmtree(self._folder_of(request), ignore_errors=True)

    def _folder_of(self, request: str) -> Path:
        return self._folder / hashlib.sha256(request.encode()).hexdigest()[:32]

    def _sweep(self) -> None:
        """Remove what retrievals left that nobody has gone on with: it is too old to be used."""
        for first in self._folder.glob("*/000000.parquet"):
            try:
                fetched_at = datetime.fromisoformat(pl.read_parquet_metadata(first)[_FETCHED_AT])
            except OSError:  # another process was faster
                continue
            if self._clock.now() - fetched_at > MAX_AGE:
                shutil.rmtree(first.parent, ignore_errors=True)

    def _kept(self, folder: Path) -> list[Page]:
        pages: list[Page] = []
        while (file := folder / f"{len(pages):06d}.parquet").exists():
            facts = pl.read_parquet_metadata(file)
            fetched_at = datetime.fromisoformat(facts[_FETCHED_AT])
            if self._clock.now() - fetched_at > MAX_AGE:  # since it was swept, or a later page of it
                shutil.rmtree(folder)
                return []
            pages.append(Page(rows=pl.read_parquet(file), next_token=facts[_NEXT] or None, fetched_at=fetched_at))
        return pages

    def _keep(self, folder: Path, number: int, page: Page) -> None:
        target = folder / f"{number:06d}.parquet"
        temporary = target.with_suffix(f".{os.getpid()}.tmp")
        facts = {_NEXT: page.next_token or "", _FETCHED_AT: page.fetched_at.isoformat()}
        with temporary.open("wb") as file:
            page.rows.write_parquet(file, metadata=facts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
