"""Two gloo processes, or more, that live as long as a test module, so that a case on ranks costs milliseconds
instead of an import."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class TwoRanks:
    """Runs one function on all ranks and returns their answers; an exception on a rank is raised here with
    its text."""

    def __init__(self, size: int = 2) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["lightning", "nimble_lightning.adapters"])
        port = _free_port()
        pipes = [context.Pipe() for _ in range(size)]
        self._ends = [ours for ours, _ in pipes]
        # No daemons, for those may not have processes that load data.
        self._processes = [
            context.Process(target=_serve, args=(rank, size, port, theirs))
            for rank, (_, theirs) in enumerate(pipes)
        ]
        for process in self._processes:
            process.start()

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        for end in self._ends:
            end.send((function, arguments))
        answers = []
        for end in self._ends:
            if not end.poll(120):
                self.close()
                raise TimeoutError(f"{function.__name__} did not end on all ranks")
            answers.append(end.recv())
        for rank, (fine, answer) in enumerate(answers):
            if not fine:
                raise RuntimeError(f"rank {rank}:\n{answer}")
        return [answer for _, answer in answers]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def _serve(rank: int, size: int, port: int, requests: Connection) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(size),
        LOCAL_WORLD_SIZE=str(size),
        GROUP_RANK="0",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        TORCHELASTIC_RUN_ID="test",
        OMP_NUM_THREADS="1",
    )
    # Loading processes start as they do anywhere, not by another fork server.
    multiprocessing.set_start_method(None, force=True)
    import torch

    torch.set_num_threads(1)
    while True:
        function, arguments = requests.recv()
        try:
            requests.send((True, function(rank, *arguments)))
        except BaseException:
            requests.send((False, traceback.format_exc()))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
