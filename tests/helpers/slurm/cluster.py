"""A Slurm of one machine and two nodes, from Debian's packages, in a folder of its own; it leaves no trace.

By hand: `python tests/helpers/slurm/cluster.py` brings one up and says how to use it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

NEEDED = ("munged", "slurmctld", "slurmd", "srun", "sbatch")
# `high` takes the nodes from the others: from `low` at once, from `graced` after so many seconds.
GRACE_SECONDS = 20
CONF = """
ClusterName=rig
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
CredType=cred/munge
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool.%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=15
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 State=UNKNOWN
PartitionName=low Nodes=n[1-2] Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=graced Nodes=n[1-2] PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
PartitionName=high Nodes=n[1-2] PriorityTier=10 PreemptMode=OFF
"""


def why_not() -> str | None:
    """What keeps a Slurm from running here."""
    if os.getuid() != 0:
        return "only root can start a Slurm"
    missing = [name for name in NEEDED if shutil.which(name, path=_path()) is None]
    return f"not installed: {', '.join(missing)} (apt-get install slurm-wlm munge)" if missing else None


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """Bring the cluster up for the length of the block; gives the variables by which its commands find it."""
    place = Path(tempfile.mkdtemp(prefix="slurm-"))
    # munge lets everybody reach its socket.
    place.chmod(0o755)
    (place / "state").mkdir()
    conf = place / "slurm.conf"
    conf.write_text(CONF.format(host=socket.gethostname(), place=place, ports=_free(3), grace=GRACE_SECONDS))
    environment = {"SLURM_CONF": str(conf), "PATH": _path()}
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for words in _commands(place):
            daemons.append(_start(words, place, environment))
            if words[0] == "munged":
                _wait(lambda: (place / "munge.socket").exists(), place)
        _wait(lambda: _idle(environment) == 2, place)
        yield environment
    finally:
        _end(daemons, conf)
        shutil.rmtree(place, ignore_errors=True)


def _commands(place: Path) -> list[list[str]]:
    key = place / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}
    options = [f"--{option}={place}/munge.{name}" for option, name in files.items()]
    return [
        ["munged", "--foreground", "--force", *options],
        ["slurmctld", "-D"],
        ["slurmd", "-D", "-N", "n1"],
        ["slurmd", "-D", "-N", "n2"],
    ]


def _start(words: list[str], place: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    log = place / f"{'.'.join([words[0], *words[3:4]]) if words[0] == 'slurmd' else words[0]}.log"
    with open(log, "wb") as file:
        return subprocess.Popen(
            words, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
        )


def _idle(environment: dict[str, str]) -> int:
    done = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--partition=low", "--format=%T"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    return done.stdout.split().count("idle")


def _wait(what, place: Path, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            said = "".join(log.read_text(errors="replace")[-2000:] for log in place.glob("*.log"))
            raise RuntimeError(f"the cluster does not come up:\n{said}")
        time.sleep(0.05)


def _end(daemons: list[subprocess.Popen[bytes]], conf: Path) -> None:
    """End the daemons and all that they started: what runs a job has left its daemon and would stay."""
    for process in reversed(daemons):
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()
    left = [process for process in psutil.process_iter() if _conf_of(process) == str(conf)]
    # They overwrite their own variables.
    left += [parent for process in left if (parent := _parent(process)) and parent.name() == "slurmstepd"]
    for process in left:
        with suppress(psutil.Error):
            process.kill()


def _conf_of(process: psutil.Process) -> str | None:
    with suppress(psutil.Error):
        return process.environ().get("SLURM_CONF")
    return None


def _parent(process: psutil.Process) -> psutil.Process | None:
    with suppress(psutil.Error):
        return process.parent()
    return None


def _free(count: int) -> list[int]:
    """Ports that nobody has now."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports


def _path() -> str:
    """Debian has its daemons where a user's path does not lead."""
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


if __name__ == "__main__":
    if reason := why_not():
        raise SystemExit(reason)
    with running() as found:
        print(f"export SLURM_CONF={found['SLURM_CONF']}    # Ctrl-C here takes it down", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
