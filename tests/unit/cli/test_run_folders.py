"""Where a run goes is settled, and tried, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nimble_lightning.cli.arguments import parse
from nimble_lightning.cli.output_folder import check_writable, place
from nimble_lightning.cli.request_plan import make_plan
from nimble_lightning.errors import RequestError

pytestmark = pytest.mark.usefixtures("trainer_file")


def placed(*words: str) -> list[str]:
    request = parse(["trainer=my_trainer.py", *words])
    return place(make_plan(request), request)


def test_a_run_gets_a_new_id_and_its_trainers_name() -> None:
    first, second = placed(), placed()
    assert first != second
    assert first[1] == "++name='my_trainer'"


def test_an_id_that_is_given_is_kept() -> None:
    assert placed("run_id=mine", "name=other") == ["++run_id='mine'", "++name='other'"]


def test_a_sweep_is_one_folder_with_its_jobs_inside() -> None:
    assert placed("-m", "seed=1,2", "run_id=mine") == [
        f"hydra.sweep.dir='{Path.cwd()}/outputs/my_trainer/mine'"
    ]
    assert placed("-m", "seed=1,2", "hydra.sweep.dir=elsewhere") == []


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "a b", "-x"])
def test_an_id_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="cannot be the name of a folder"):
        placed(f"run_id='{name}'")


def test_a_folder_is_tried_without_leaving_anything(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place_ in (Path("/proc/nimble"), tmp_path / "file" / "below"):
        with pytest.raises(RequestError, match="Choose another: output_dir=FOLDER"):
            check_writable(place_)
