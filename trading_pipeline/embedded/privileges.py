"""The user that servers run as: never root, which PostgreSQL refuses; root lends `nobody` no more than it needs."""

import ctypes
import os
import pwd
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trading_pipeline.errors import ConfigError

_PR_SET_PDEATHSIG, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2
_NO_SETUID_FIXUP = 1 << 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user, and the capabilities that root must lend it to reach folders closed to others."""

    uid: int
    gid: int
    capabilities: tuple[int, ...] = ()


def choose_account(folder: Path, programs: Sequence[Path]) -> Account:
    """Return the user to run servers as, which can reach its data `folder` and start each of the programs.

    It is the present user, unless that is root: then the owner of the folder, or `nobody` for a folder of root's,
    which is handed over to it.

    Raises:
        ConfigError: root cannot find or become such a user, or it cannot reach the files.
    """
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid())
    owner = folder.stat()
    uid, gid = (owner.st_uid, owner.st_gid) if owner.st_uid else _nobody()
    for capabilities in ((), (_CAP_DAC_READ_SEARCH,), (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE)):
        account = Account(uid=uid, gid=gid, capabilities=capabilities)
        if _can_own(folder, uid, gid) and all(_can_run(program, folder, account) for program in programs):
            return account
    reach = ", ".join(map(str, [folder, *programs]))
    raise ConfigError(
        f"PostgreSQL does not run as root, and user {uid} cannot reach {reach}, nor may root lend it the capability "
        "to: let others pass through their parent folders (chmod o+x), or run as a plain user, "
        "or set DATABASE_URL and REDIS_URL",
        uid=uid,
        folder=str(folder),
    )


def become(account: Account, folder: Path, *, parent: int, death_signal: int) -> None:
    """Turn this process, just forked, into one of the account in its folder that gets the signal when its parent dies.

    Raises:
        OSError: the kernel refused, or the parent is gone already.
    """
    if os.geteuid() != account.uid:
        if account.capabilities:
            # Capabilities then outlive the change of user and count in access(2), with which initdb looks for postgres.
            _check(_LIBC.prctl(_PR_SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0))
        os.setgroups([])
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        if account.capabilities:
            _keep(account.capabilities)
    os.chdir(folder)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # The kernel forgets this signal at a change of user, so it comes last, and the parent may have died before it.
    _check(_LIBC.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0))
    if os.getppid() != parent:
        raise ProcessLookupError(f"parent {parent} is gone")


def _nobody() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise ConfigError(
            "PostgreSQL does not run as root and there is no user nobody: create it, run as a plain user, "
            "or set DATABASE_URL and REDIS_URL"
        ) from error
    return entry.pw_uid, entry.pw_gid


def _can_own(folder: Path, uid: int, gid: int) -> bool:
    try:
        os.chown(folder, uid, gid)
    except OSError:
        return False
    return True


def _can_run(program: Path, folder: Path, account: Account) -> bool:
    change = partial(become, account, folder, parent=os.getpid(), death_signal=signal.SIGKILL)
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed program
            [program, "--version"], preexec_fn=change, capture_output=True, check=False, env={}
        )
    except (PermissionError, subprocess.SubprocessError):
        return False
    return answer.returncode == 0


def _keep(capabilities: tuple[int, ...]) -> None:
    mask = sum(1 << capability for capability in capabilities)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    effective_permitted_inheritable = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    _check(_LIBC.capset(header, effective_permitted_inheritable))
    for capability in capabilities:
        _check(_LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
