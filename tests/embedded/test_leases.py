"""Any number of processes hold one pair of servers, and the last one to end, however it ends, stops them."""

import os
import time
from pathlib import Path

import psycopg
import pytest
import redis

from trading_pipeline.embedded import embedded_servers, embedded_status, stop_embedded
from trading_pipeline.errors import ConfigError, ServerUnavailable


def test_data_survives_a_restart(world) -> None:
    """What was written is there when the servers start again, at the same addresses."""
    with embedded_servers(world.home) as first:
        world.write(first)
        status = world.status()
    assert world.ends(status)
    with embedded_servers(world.home) as second:
        assert (42, 42) == world.read(second)
    assert first == second


def test_processes_share_one_pair_until_the_last_lets_go(world) -> None:
    """A second process gets the same servers, and they outlive the process that started them."""
    first = world.hold()
    status = first.urls and world.status()
    second = world.hold()
    assert first.urls == second.urls
    first.close()
    time.sleep(1)
    assert status == embedded_status(world.home)
    second.close()
    assert world.ends(status)
    assert embedded_status(world.home) is None


def test_killed_holder_stops_the_servers(world) -> None:
    """The kernel gives the lease back, so nothing is left running after SIGKILL."""
    holder = world.hold()
    status = holder.urls and world.status()
    holder.kill()
    assert world.ends(status)


def test_simultaneous_holders_start_one_pair(new_world) -> None:
    """Three processes that arrive at once on a new home agree on one pair of servers."""
    holders = [new_world.hold() for _ in range(3)]
    urls = [holder.urls for holder in holders]
    assert [urls[0]] * 3 == urls
    starts = (new_world.home / "embedded" / "postgres.log").read_text().count("starting PostgreSQL")
    assert starts == 1


def test_arrival_while_the_servers_stop_starts_them_anew(world) -> None:
    """A holder that arrives at any moment of the stop gets servers that answer."""
    for pause in (0.0, 0.4, 0.5, 0.51, 0.52, 0.54, 0.56, 0.6, 0.7):
        with embedded_servers(world.home) as urls, psycopg.connect(urls.database_url) as connection:
            assert (1,) == connection.execute("select 1").fetchone()
        with redis.Redis.from_url(urls.redis_url) as client:
            assert client.ping()
        time.sleep(pause)


def test_stop_ends_held_servers(world) -> None:
    """An operator's stop does not wait for holders, and says whether there was anything to stop."""
    assert not stop_embedded(world.home)
    world.hold().urls  # noqa: B018 - waits for the servers
    status = world.status()
    assert stop_embedded(world.home)
    assert world.ends(status)
    assert not stop_embedded(world.home)


def test_failed_start_tells_the_end_of_the_log(world) -> None:
    """Data of another PostgreSQL version stop the start, with PostgreSQL's own words in the message."""
    (world.home / "embedded/postgres/cluster/PG_VERSION").write_text("9.6\n")
    complaint = r"(?s)postgres did not start.*initialized by PostgreSQL version 9\.6"
    with pytest.raises(ServerUnavailable, match=complaint), embedded_servers(world.home):
        pass
    assert embedded_status(world.home) is None


def test_home_that_cannot_be_created_is_a_configuration_error(tmp_path: Path) -> None:
    """The message names the folder and the variable to change."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="PIPELINE_HOME"), embedded_servers(tmp_path / "file" / "home"):
        pass


@pytest.mark.parametrize("use", [lambda home: embedded_servers(home).__enter__(), embedded_status, stop_embedded])
def test_home_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use) -> None:
    """Two users never mix their servers; the message names both."""
    (tmp_path / "embedded").mkdir()
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ConfigError, match=f"belongs to user {owner}"):
        use(tmp_path)


def test_addresses_do_not_show_passwords(world) -> None:
    """Printing the addresses by accident reveals nothing, and the files are the owner's alone."""
    with embedded_servers(world.home) as urls:
        assert repr(urls) == "ServerUrls()"
        files = [path for path in (world.home / "embedded").iterdir() if path.is_file()]
        assert {path.name: "0o100600" for path in files} == {path.name: oct(path.stat().st_mode) for path in files}
