"""Whatever is killed, the next start finds the data intact."""

import os
import signal
import socket

import psycopg
import pytest

from trading_pipeline.embedded import embedded_servers, stop_embedded


@pytest.mark.parametrize("victim", ["supervisor_pid", "postgres_pid", "redis_pid"])
def test_next_start_recovers_from_a_kill(world, victim: str) -> None:
    """Nothing of the old set is left after SIGKILL to one process, and row and key are there at the next start."""
    with embedded_servers(world.home) as urls:
        world.write(urls)
        status = world.status()
        os.kill(getattr(status, victim), signal.SIGKILL)
        assert world.ended(getattr(status, victim))
        with embedded_servers(world.home) as again:
            assert world.ends(status)
            assert status.supervisor_pid != world.status().supervisor_pid
            assert urls == again
            assert (42, 42) == world.read(again)


def test_kill_of_everything_at_once_is_recovered(world) -> None:
    """After a loss of the whole machine stale pid files and states are in the way of nothing."""
    with embedded_servers(world.home) as urls:
        world.write(urls)
        status = world.status()
        for pid in (status.supervisor_pid, status.postgres_pid, status.redis_pid):
            os.kill(pid, signal.SIGKILL)
        assert world.ends(status)
        pid_file = world.home / "embedded/postgres/cluster/postmaster.pid"
        _, *rest = pid_file.read_text().splitlines(keepends=True)
        pid_file.write_text("".join([f"{os.getpid()}\n", *rest]))
        with embedded_servers(world.home) as again:
            assert (42, 42) == world.read(again)


def test_torn_end_of_the_append_only_file_is_cut_off(world) -> None:
    """A write that the crash cut in half does not keep Redis from starting."""
    with embedded_servers(world.home) as urls:
        world.write(urls)
    stop_embedded(world.home)
    with (world.home / "embedded/redis/appendonly.aof").open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nma")
    with embedded_servers(world.home) as again:
        assert (42, 42) == world.read(again)


def test_taken_ports_are_replaced(world) -> None:
    """When other programs took the ports of last time, the servers use others."""
    with embedded_servers(world.home):
        status = world.status()
    assert world.ends(status)
    with socket.socket() as one, socket.socket() as two:
        for taken, port in ((one, status.postgres_port), (two, status.redis_port)):
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen()
        with embedded_servers(world.home) as urls:
            again = world.status()
            assert not {status.postgres_port, status.redis_port} & {again.postgres_port, again.redis_port}
            psycopg.connect(urls.database_url).close()


def test_half_made_cluster_is_made_anew(new_world) -> None:
    """A first start that was killed leaves a draft that the next one replaces."""
    draft = new_world.home / "embedded" / "postgres" / "cluster.new"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    with embedded_servers(new_world.home) as urls:
        psycopg.connect(urls.database_url).close()
    assert not draft.exists()


def test_servers_are_in_groups_of_their_own(world) -> None:
    """An interrupt from the terminal reaches neither the supervisor nor the servers."""
    with embedded_servers(world.home):
        status = world.status()
        groups = {os.getpgid(pid) for pid in (status.supervisor_pid, status.postgres_pid, status.redis_pid)}
        assert len(groups | {os.getpgrp()}) == 4
        assert os.getsid(0) != os.getsid(status.postgres_pid)
