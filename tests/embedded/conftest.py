"""Homes for embedded servers, and other processes that hold them."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg
import pytest
import redis

import trading_pipeline
from trading_pipeline.embedded import EmbeddedStatus, ServerUrls, embedded_servers, embedded_status, stop_embedded
from trading_pipeline.embedded.state import started_at

_HOLD = """
import json, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from trading_pipeline.embedded import embedded_servers
with embedded_servers(Path(sys.argv[1])) as urls:
    print(json.dumps([urls.database_url, urls.redis_url]), flush=True)
    sys.stdin.read()
"""
Become = Callable[[], None]


@dataclass
class Holder:
    """Another process that holds the servers until it is let go or killed."""

    process: subprocess.Popen[str]
    _urls: ServerUrls | None = None

    @classmethod
    def start(cls, home: Path, become: Become | None = None) -> Self:
        """Start it without waiting for the servers; `become` changes its user first."""
        root = str(Path(trading_pipeline.__file__).parents[1])
        command = [sys.executable, "-c", _HOLD, str(home), root]
        pipe = subprocess.PIPE
        return cls(
            subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, preexec_fn=become)  # noqa: PLW1509
        )

    @property
    def urls(self) -> ServerUrls:
        """Wait for the servers and return their addresses."""
        if self._urls is None:
            line = self.process.stdout.readline()
            assert line, self.process.stderr.read()
            database_url, redis_url = json.loads(line)
            self._urls = ServerUrls(database_url=database_url, redis_url=redis_url)
        return self._urls

    @property
    def error(self) -> str:
        """Wait for it to end and return what it said on standard error."""
        return self.process.communicate(timeout=30)[1]

    def kill(self) -> None:
        """End it at once, with SIGKILL."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Let it end by itself."""
        if self.process.returncode is None:
            self.process.communicate(timeout=30)


@dataclass(frozen=True)
class World:
    """What a test does with one home."""

    home: Path
    held: ExitStack

    def hold(self, become: Become | None = None) -> Holder:
        """Start another holder, which ends with the test at the latest."""
        holder = Holder.start(self.home, become)
        self.held.callback(holder.close)
        return holder

    def status(self) -> EmbeddedStatus:
        """Return what runs, which must be something."""
        status = embedded_status(self.home)
        assert status is not None
        return status

    def state(self) -> EmbeddedStatus:
        """Return what the state file of another user says."""
        return EmbeddedStatus.read(self.home / "embedded" / "state.json")

    def write(self, urls: ServerUrls) -> None:
        """Store a row and a key."""
        with psycopg.connect(urls.database_url) as connection:
            connection.execute("create table mark as select 42 as value")
        with redis.Redis.from_url(urls.redis_url) as client:
            client.set("mark", 42)

    def read(self, urls: ServerUrls) -> tuple[int, int]:
        """Return the row and the key."""
        with psycopg.connect(urls.database_url) as connection:
            row = connection.execute("select value from mark").fetchone()
        with redis.Redis.from_url(urls.redis_url) as client:
            return row[0], int(client.get("mark"))

    def ended(self, *pids: int) -> bool:
        """Wait until none of the processes runs any more, and tell whether that came in time."""
        deadline = time.monotonic() + 10
        while (running := any(map(started_at, pids))) and time.monotonic() < deadline:
            time.sleep(0.02)
        return not running

    def ends(self, status: EmbeddedStatus) -> bool:
        """Wait until no process of a status runs any more, and tell whether that came in time."""
        return self.ended(status.supervisor_pid, status.postgres_pid, status.redis_pid)


@pytest.fixture(scope="session")
def used_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home that has been used once and stands still, for copying: that is faster than a first start."""
    home = tmp_path_factory.mktemp("used") / "home"
    with embedded_servers(home):
        pass
    stop_embedded(home)
    return home


@pytest.fixture
def new_world(tmp_path: Path) -> Iterator[World]:
    """Yield a home that has never been used; whatever runs there is stopped after the test."""
    with ExitStack() as held:
        yield World(home=tmp_path / "home", held=held)
    stop_embedded(tmp_path / "home")
    shutil.rmtree(tmp_path / "home", ignore_errors=True)  # pytest keeps its folders, and a cluster is large


@pytest.fixture
def world(new_world: World, used_home: Path) -> World:
    """Return a home that has been used before."""
    subprocess.run(["cp", "-a", used_home, new_world.home], check=True)  # noqa: S607 - keeps the owners
    return new_world


@pytest.fixture
def open_world() -> Iterator[World]:
    """Yield a home whose parents anyone may pass through, unlike the temporary folders of pytest."""
    root = Path(tempfile.mkdtemp(prefix="tp-"))
    root.chmod(0o755)
    with ExitStack() as held:
        yield World(home=root / "home", held=held)
    shutil.rmtree(root)
