"""Somebody else's launcher is known by its variables; workers of ours are never taken for its processes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.external.detect import around, found
from nimble_lightning.ops.process_environment import IN_WORKER

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
}
HYDRA = {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"}
SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}
BY_HAND = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "first",
    "MASTER_PORT": "29500",
}
ALL = {"torchrun": TORCHRUN, "mpirun": OPEN_MPI, "hydra": HYDRA, "srun": SRUN, "by hand": BY_HAND}


@pytest.mark.parametrize("variables", ALL.values(), ids=ALL)
def test_each_launcher_tells_the_ranks_it_means(variables: dict[str, str]) -> None:
    ranks = found(variables)
    assert ranks is not None
    assert (ranks.rank, ranks.size, ranks.local_rank, ranks.local_size) == (5, 8, 1, 4)
    assert ranks.machines == 2
    assert not ranks.first


@pytest.mark.parametrize("variables", ALL.values(), ids=ALL)
def test_a_worker_of_ours_is_nobody_elses(variables: dict[str, str]) -> None:
    assert found({**variables, IN_WORKER: "1"}) is None


@given(
    st.dictionaries(st.sampled_from(sorted({n for v in ALL.values() for n in v})), st.just("1"), max_size=4)
)
def test_what_is_no_full_set_of_variables_is_no_launcher(variables: dict[str, str]) -> None:
    complete = [v for v in ALL.values() if set(v) <= set(variables)]
    try:
        ranks = found(variables)
    except RequestError:
        # Rank 1 of 1: somebody has counted wrong.
        return
    assert ranks is None or complete


@given(size=st.integers(1, 64), local=st.integers(1, 8), name=st.sampled_from(["mpirun", "hydra", "by hand"]))
def test_every_rank_of_every_size_is_itself_and_one_alone_is_no_group(
    size: int, local: int, name: str
) -> None:
    size *= local
    rank_, size_, local_rank_, local_size_ = list(ALL[name])[:4]
    for rank in {0, size - 1}:
        counted = {
            rank_: rank,
            size_: size,
            local_rank_: rank % local,
            local_size_: local,
        }
        ranks = found({**ALL[name], **{key: str(value) for key, value in counted.items()}})
        if size == 1:
            assert ranks is None
            continue
        assert ranks is not None
        assert (ranks.rank, ranks.size, ranks.machines) == (rank, size, size // local)


def test_torchrun_with_one_process_is_torchrun() -> None:
    one = {**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    assert found(one) is not None


def test_one_process_a_machine_needs_no_local_rank() -> None:
    pods = {name: value for name, value in BY_HAND.items() if not name.startswith("LOCAL")}
    ranks = found(pods)
    assert ranks is not None
    assert (ranks.local_rank, ranks.local_size, ranks.machines) == (0, 1, 8)


def test_one_task_a_machine_under_slurm_supervises_its_own_workers() -> None:
    assert found({**SRUN, "SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "1(x8)"}) is None


def test_a_batch_script_of_slurm_is_one_process_whatever_its_job_has() -> None:
    assert found({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}) is None


def test_torchrun_inside_of_mpirun_inside_of_srun_counts() -> None:
    inner = found({**SRUN, **OPEN_MPI, **TORCHRUN, "RANK": "0", "LOCAL_RANK": "0"})
    assert inner is not None
    assert (inner.launcher.name, inner.rank) == ("torchrun", 0)


@pytest.mark.parametrize(
    "wrong",
    [{"RANK": "8"}, {"LOCAL_WORLD_SIZE": "3"}, {"LOCAL_WORLD_SIZE": "0"}, {"WORLD_SIZE": "many"}],
    ids=str,
)
def test_what_cannot_be_counted_is_refused_by_the_launchers_name(wrong: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="torchrun.* Expected"):
        found({**TORCHRUN, **wrong})


def test_machines_with_different_numbers_of_tasks_are_refused() -> None:
    with pytest.raises(RequestError, match="SLURM_STEP_TASKS_PER_NODE=2,1"):
        found({**SRUN, "SLURM_STEP_TASKS_PER_NODE": "2,1"})


def test_a_launcher_is_noticed_by_a_run_that_would_start_workers_here_and_refused_by_one_in_a_single_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert around("local") is not None
    assert around("multinode") is None, "that one supervises the workers of its machine"
    with pytest.raises(RequestError, match="Leave launch= out"):
        around("inline")


def test_a_launcher_that_is_asked_for_and_not_there_is_refused_with_the_way_to_have_one() -> None:
    with pytest.raises(RequestError, match="torchrun --nproc-per-node 2 -m nimble_lightning"):
        around("torchrun")
