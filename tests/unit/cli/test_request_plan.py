"""A command line becomes a checked configuration; every slip is refused with what was probably meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from nimble_lightning.cli.arguments import parse
from nimble_lightning.cli.request_plan import RequestPlan, make_plan
from nimble_lightning.cli.schema.check_config import fill_defaults
from nimble_lightning.errors import RequestError

Write = Callable[[str, str], Path]

pytestmark = pytest.mark.usefixtures("trainer_file")


def plan(*words: str) -> RequestPlan:
    return make_plan(parse(["trainer=my_trainer.py", *words]))


def refusal(*words: str) -> str:
    with pytest.raises(RequestError) as error:
        plan(*words)
    return str(error.value)


def value(key: str, *words: str) -> Any:
    return OmegaConf.select(plan(*words).config, key)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("params.lr=abc", "params.lr: expected float, got 'abc'\nlr: float = 0.001  (my_trainer.py:6)"),
        ("params.lrr=1", "There is no params.lrr; did you mean params.lr?"),
        ("params.zebra=1", "takes hidden, lr, act"),
        ("params.hidden=1.5", "params.hidden: expected int"),
        ("params.act=rleu", "expected one of 'relu', 'gelu', got 'rleu'; did you mean 'relu'?"),
        ("lightning.max_epoch=3", "did you mean lightning.max_epochs?"),
        (
            "lightning.max_epochs=abc",
            "a number of epochs, which may be a fraction such as 1.5, or -1 for no end",
        ),
        (
            "lightning.max_epochs=-3",
            "lightning.max_epochs: expected a number of epochs, which may be a fraction",
        ),
        ("lightning.limit_val_batches=1.5", "a share of them from 0.0 to 1.0"),
        ("lightning.gradient_clip_algorithm=nrom", "did you mean 'norm'?"),
        ("lightning.accumulate_grad_batches=0", "a whole number of at least 1"),
        ("lightning.precision=bf17", "did you mean 'bf16'?"),
        ("lightning.accelerator=gpuu", "did you mean 'gpu'?"),
        ("lightning.callbacks=x", "callbacks.NAME"),
        ("+lightning.max_epoch=3", "did you mean lightning.max_epochs?"),
        ("optim.lrr=3", "did you mean optim.lr?"),
        ("+optim.lrr=3", "did you mean optim.lr?"),
        ("optim=sdg", "did you mean optim=sgd?"),
        ("optm=sgd", "did you mean optim=sgd?"),
        ("strategy=fdsp", "did you mean strategy=fsdp?"),
        ("logger=[jsonl,csvv]", "did you mean logger=csv?"),
        ("data.batchsize=3", "did you mean data.batch_size?"),
        ("data.batch_size=0", "at least 1"),
        ("data.micro_batch_size=x", "'auto'"),
        ("+data.zebra=1", "There is no data.zebra"),
        ("callback.auto_retry=null", "did you mean callbacks.auto_retry?"),
        ("callbacks.early_stoping.patience=1", "did you mean callbacks.early_stopping?"),
        ("callbacks.early_stoping=true", "did you mean callbacks.early_stopping?"),
        ("+callbacks.early_stoping=true", "did you mean callbacks.early_stopping?"),
        ("callbacks.early_stoping=null", "did you mean callbacks.early_stopping?"),
        ("callbacks.zebra=true", "One of your own says what it is: +callbacks.zebra._target_=package.Class"),
        ("callbacks.ema=3", "callbacks.ema=3: expected true, null or settings"),
        ("logger.zebra=1", "wandb\nOne of your own says what it is: +logger.zebra._target_=package.Class"),
        ("lr=3", "did you mean params.lr?"),
        ("max_epochs=3", "did you mean lightning.max_epochs?"),
        ("seed=abc", "seed: expected a whole number"),
        ("mode=maxx", "did you mean 'max'?"),
        ("log.level=LOUD", "log.level: expected one of 'DEBUG'"),
        ("zebra=1", "+zebra=1"),
        ("sweep_id=s", "Name it run_id=s, or add -m"),
        ("datamodule=my_trainer.py", "holds no LightningDataModule"),
        ("params.lr=1,2", "asks for several runs; add -m"),
        ("params.lr=${oc.env:NIMBLE_TEST_NOT_SET}", "Environment variable 'NIMBLE_TEST_NOT_SET' not found"),
        ("experiment=nope", "experiment has no nope"),
        ("recipe=smollm2_135m/sfd", "recipe has no smollm2_135m/sfd; did you mean recipe=smollm2_135m/sft?"),
    ],
)
def test_a_slip_is_refused_with_what_was_meant(word: str, said: str) -> None:
    message = refusal(word)
    assert said in message
    assert ("+" in message) == ("+" in said or "callbacks.NAME" in message)


@pytest.mark.parametrize(
    ("word", "key", "expected"),
    [
        ("params.lr=1", "params.lr", 1.0),
        ("params.lr=1e-4", "params.lr", 1e-4),
        ("params.lr='1e-4'", "params.lr", 1e-4),
        ("lightning.limit_train_batches=3", "lightning.limit_train_batches", 3),
        ("lightning.max_steps=1e3", "lightning.max_steps", 1000),
        ("lightning.max_epochs=-1", "lightning.max_epochs", -1),
        ("lightning.limit_val_batches=0.5", "lightning.limit_val_batches", 0.5),
        ("callbacks.progress=null", "callbacks.progress", None),
        ("callbacks.progress=false", "callbacks.progress", None),
        ("callbacks.ema=null", "callbacks.ema", None),
        ("callbacks.ema=true", "callbacks.ema.decay", 0.999),
        ("callbacks.ema.decay=0.9", "callbacks.ema.decay", 0.9),
        ("logger.csv=true", "logger.csv._target_", "nimble_lightning.loggers.CSVLogger"),
        ("logger.wandb.project=mine", "logger.wandb.project", "mine"),
        ("strategy=ddp", "lightning.strategy", "ddp"),
        ("model.compile.mode=max-autotune", "model.compile.mode", "max-autotune"),
        ("+callbacks.mine._target_=lightning.pytorch.callbacks.Timer", "callbacks.mine._target_", None),
        ("+zebra=1", "zebra", 1),
        ("run_id=7", "run_id", "7"),
        ("resume=some/path.ckpt", "resume", "some/path.ckpt"),
    ],
)
def test_what_exists_is_set_without_a_plus(word: str, key: str, expected: Any) -> None:
    found = value(key, word)
    if "_target_=" not in word:
        assert found == expected
        assert type(found) is type(expected)
    else:
        assert found == word.rpartition("=")[2]


def test_a_member_that_is_off_needs_what_its_class_needs() -> None:
    said = refusal("callbacks.early_stopping=true", "callbacks.early_stopping.patience=${monitor}")
    assert said == (
        "callbacks.early_stopping.patience takes its value from monitor, which is not set\nAdd monitor=..."
    )
    assert value("callbacks.early_stopping.patience", "callbacks.early_stopping=true") == 3


def test_hydra_gets_overrides_that_lead_to_the_same_configuration() -> None:
    words = [
        "params.lr=1",
        "callbacks.ema.decay=0.9",
        "optim=sgd",
        "lightning.max_steps=5",
        "callbacks.progress=null",
    ]
    once = plan(*words)
    assert "++params.lr=1" in once.overrides
    again = make_plan(parse(once.overrides))
    assert again.config == once.config


def test_the_trainers_defaults_stand_beside_what_is_given(write_trainer: Callable[..., Path]) -> None:
    write_trainer("a=1, b=(1, 2), c=None, d=F")
    made = plan("params.a=5")
    fill_defaults(made.config, made.sources[0].signatures)
    # A tuple would come back as a list, and what F is only running the file can tell: both stay with Python.
    assert dict(made.config.params) == {"a": 5, "c": None}


OWN_OPTIMIZER = """
class Base(NimbleTrainer):
    def configure_optimizers(self): ...
class T(Base):
    def pre_process(self, *, lr: float = 1): ...
    def train(self, batch): ...
"""
WHOLE = """
class T(NimbleTrainer):
    def pre_process(self, **kwargs): ...
    def train(self, **kwargs):
        def loss(x):
            return x
        {end}
"""


def test_what_would_change_nothing_is_refused_before_anything_runs(write: Write, tmp_path: Path) -> None:
    write("my_trainer.py", OWN_OPTIMIZER)
    assert "optim would change nothing: T.configure_optimizers decides" in refusal("optim=sgd")
    assert "schedule.warmup would change nothing" in refusal("schedule.warmup=3", "schedule=cosine")
    assert "optim.lr would" in refusal("-m", "optim.lr=1,2")
    assert plan("data.batch_size=3").asked == ["trainer", "data.batch_size"]
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\noptim: {lr: 0.5}\n")
    assert "optim.lr would change nothing" in refusal("--config-dir", str(tmp_path), "experiment=mine")
    write("my_trainer.py", OWN_OPTIMIZER.replace("configure_optimizers", "configure"))
    assert value("optim.lr", "optim.lr=3") == 3


def test_a_train_that_trains_by_itself_obeys_no_settings_of_a_fit(write: Write) -> None:
    write("my_trainer.py", WHOLE.format(end="fit()"))
    for word in (
        "lightning.max_epochs=1",
        "data.batch_size=2",
        "optim=sgd",
        "logger=csv",
        "callbacks.ema=true",
    ):
        assert f"{word.partition('=')[0]} would change nothing: T.train(**kwargs)" in refusal(word)
    assert value("lightning.devices", "lightning.devices=2", "lightning.accelerator=cpu") == 2
    # A LightningModule may come back, which is then fitted.
    write("my_trainer.py", WHOLE.format(end="return self.net"))
    assert value("lightning.max_epochs", "lightning.max_epochs=1", "data.batch_size=2") == 1
    assert "optim would change nothing" in refusal("optim=sgd")


def test_a_required_parameter_is_asked_for(write_trainer: Callable[..., Path]) -> None:
    write_trainer("*, size: int")
    assert "params.size is missing" in refusal()
    assert "params.size=VALUE" in refusal()
    assert value("params.size", "params.size=3") == 3


def test_a_pre_process_with_kwargs_takes_any_parameter(write_trainer: Callable[..., Path]) -> None:
    write_trainer("**kw")
    assert value("params.anything", "params.anything=[1,2]") == [1, 2]


def test_a_model_and_its_data_share_the_parameters(write: Write) -> None:
    write(
        "net.py",
        "class Net(LightningModule):\n    def __init__(self, lr: float = 0.1, size: int = 8): ...\n"
        "class Data(LightningDataModule):\n    def __init__(self, size: int = 4, path: str = 'x'): ...\n",
    )
    made = make_plan(parse(["trainer=net.py", "params.path=y"]))
    fill_defaults(made.config, made.sources[0].signatures)
    # They disagree about `size`, so each keeps its own.
    assert dict(made.config.params) == {"lr": 0.1, "path": "y"}
    assert "did you mean params.path" in str(
        pytest.raises(RequestError, make_plan, parse(["trainer=net.py", "params.pth=1"])).value
    )


def test_a_model_without_data_is_refused_unless_it_loads_its_own(write: Write) -> None:
    write("net.py", "class Net(LightningModule): ...\n")
    write("data.py", "class Data(LightningDataModule): ...\n")
    with pytest.raises(RequestError, match="LightningModule without data"):
        make_plan(parse(["trainer=net.py"]))
    assert make_plan(parse(["trainer=net.py", "datamodule=data.py"])).sources[0].data is not None
    write("net.py", "class Net(LightningModule):\n    def train_dataloader(self): ...\n")
    assert make_plan(parse(["trainer=net.py"])).sources[0].data is None


def test_each_member_of_a_sweep_is_checked_before_the_first_runs(write_trainer: Callable[..., Path]) -> None:
    write_trainer("*, lr: int = 1", "other.py")
    assert "got 'x'" in refusal("-m", "params.lr=1,2,x")
    assert "got 'y'" in refusal("-m", "data.batch_size=1,y")
    assert "got 2.5" in str(
        pytest.raises(
            RequestError, make_plan, parse(["-m", "trainer=my_trainer.py,other.py", "params.lr=1,2.5"])
        ).value
    )
    assert "did you mean optim=sgd" in refusal("-m", "optim=sdg,adamw")
    made = plan("-m", "params.lr=1,2", "optim=adamw,sgd", "seed=range(3)")
    assert made.config.params.lr == 1.0
    assert "++params.lr=1,2" in made.overrides


def test_files_of_ones_own_are_checked_like_the_command_line(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "good.yaml").write_text("# @package _global_\nparams: {lr: 1e-2}\nlightning: {max_epochs: 2}\n")
    (folder / "bad.yaml").write_text("# @package _global_\nparams: {lrr: 1}\n")
    (folder / "worse.yaml").write_text("# @package _global_\noptim: {lrr: 1}\n")
    where = ["--config-dir", str(tmp_path)]
    assert value("params.lr", *where, "experiment=good") == 0.01
    assert value("lightning.max_epochs", *where, "experiment=good", "lightning.max_epochs=5") == 5
    assert "did you mean params.lr" in refusal(*where, "experiment=bad")
    assert "did you mean optim.lr" in refusal(*where, "experiment=worse")
    assert "did you mean experiment=good" in refusal(*where, "experiment=goood")


def test_a_file_turns_callbacks_on_as_the_command_line_does(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "callbacks").mkdir()
    (tmp_path / "callbacks/mine.yaml").write_text("# @package callbacks\nmine: {_target_: my.module.Mine}\n")
    for name, content in (
        ("good", "callbacks: {ema: true, usage_report: {pue: 1.5}}"),
        ("typo", "callbacks: {emma: true}"),
        ("root", "moniter: accuracy"),
        ("used", "width: 3\nparams: {hidden: '${width}'}"),
    ):
        (tmp_path / f"experiment/{name}.yaml").write_text(f"# @package _global_\n{content}\n")
    where = ["--config-dir", str(tmp_path)]
    assert value("callbacks.ema.decay", *where, "experiment=good") == 0.999
    assert value("callbacks.usage_report", *where, "experiment=good").measure_flops is True
    assert value("callbacks.mine._target_", *where, "callbacks.mine=true") == "my.module.Mine"
    assert value("params.hidden", *where, "experiment=used") == 3
    assert "did you mean callbacks.ema" in refusal(*where, "experiment=typo")
    assert "There is no moniter; did you mean monitor?" in refusal(*where, "experiment=root")


def test_a_sweep_turns_a_callback_on_and_off() -> None:
    made = plan("-m", "callbacks.ema=true,false")
    assert made.overrides[-1] == "callbacks.ema=true,false"
    assert "did you mean callbacks.ema" in refusal("-m", "callbacks.emma=true,false")


def test_a_secret_in_the_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIMBLE_TEST_SECRET", "hush")
    said = refusal("params.lr=${oc.env:NIMBLE_TEST_SECRET}")
    assert "hush" not in said
    assert "${oc.env:NIMBLE_TEST_SECRET}" in said


def test_a_reference_stays_one_when_its_value_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIMBLE_TEST_LR", "0.5")
    made = plan("params.lr=${oc.env:NIMBLE_TEST_LR}")
    assert OmegaConf.to_container(made.config)["params"] == {"lr": "${oc.env:NIMBLE_TEST_LR}"}  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("signature.key", "signature=ed25519 and signature=oms have"),
        ("validator.margin", "validator=baseline has"),
    ],
)
def test_a_key_of_a_choice_that_was_not_made_names_the_choice(key: str, choices: str) -> None:
    with pytest.raises(RequestError, match=f"no {key} as it is; {choices} it"):
        make_plan(parse([f"{key}=1"]))


def test_data_and_model_that_are_no_settings_are_parameters(tmp_path: Path) -> None:
    Path("chat.py").write_text(
        "from nimble_lightning import NimbleTrainer\n"
        "class Chat(NimbleTrainer):\n"
        "    def pre_process(self, *, data, model: str = 'a'): ...\n"
        "    def train(self, batch): ...\n"
    )
    found = make_plan(
        parse(["trainer=chat.py", "data=a/b.jsonl", "data.batch_size=3", "model=x/y-1.5"])
    ).config
    assert OmegaConf.to_container(found.params) == {"data": "a/b.jsonl", "model": "x/y-1.5"}
    assert (found.data.batch_size, found.model.compile) == (3, False)
    found = make_plan(parse(["trainer=chat.py", "data=[{path: a.jsonl, weight: 2}, {path: b}]"])).config
    assert found.params.data == [{"path": "a.jsonl", "weight": 2}, {"path": "b"}]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.yaml").write_text("batch_size: 7\n")
    where = ("--config-dir", str(tmp_path))
    assert (
        make_plan(parse([*where, "trainer=chat.py", "+data=mine", "params.data=1"])).config.data.batch_size
        == 7
    )
