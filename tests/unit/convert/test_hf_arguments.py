"""TrainingArguments as command lines of ours, each of which our own command line takes."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from converted_settings import composed, printed

from nimble_lightning.commands import main
from nimble_lightning.convert.asked_fields import DEFAULTS


def all_arguments(**given: Any) -> str:
    """What `args.to_json_string()` gives."""
    transformers = pytest.importorskip("transformers")
    text: str = transformers.TrainingArguments("out", report_to="none", **given).to_json_string()
    return text


def test_arguments_at_their_defaults_train_as_transformers_does(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(all_arguments(), capsys)
    config = composed(text)
    assert (config["seed"], config["clip"]["norm"]) == (42, 1.0)
    assert (config["optim"]["lr"], config["optim"]["weight_decay"]) == (5e-5, 0.0)
    assert config["schedule"]["_target_"].endswith("hf_schedule.hf")
    assert config["schedule"]["name"] == "linear"
    assert config["data"]["batch_size"] == 8
    assert config["lightning"]["max_epochs"] == 3
    assert config["lightning"]["limit_val_batches"] == 0
    for line in (
        "max_grad_norm 1.0: clip.norm=1.0 (ours: none)",
        "learning_rate 5e-05: optim.lr=5e-05 (ours: self.lr, or 1e-3)",
        "lr_scheduler_type linear: schedule=hf (ours: constant)",
        "per_device_train_batch_size 8: data.batch_size=8 (ours: 32)",
        "seed 42: seed=42 (ours: 0)",
        "weight_decay 0.0: optim.weight_decay=0.0 (ours: 0.01)",
        "eval_strategy no: lightning.limit_val_batches=0 (ours: each epoch",
    ):
        assert f"\n#   {line}" in text
    assert text.partition("Not carried over")[2].strip().count("\n") == 1, "nothing but the trainer's file"


def test_every_default_is_that_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")

    def default(field: Any) -> Any:
        value = field.default if field.default is not MISSING else field.default_factory()
        return getattr(value, "value", value)

    theirs = {field.name: default(field) for field in fields(transformers.TrainingArguments)}
    assert {name: value for name, value in theirs.items() if value} == DEFAULTS


def test_a_step_takes_the_same_samples_in_the_same_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(
        all_arguments(
            per_device_train_batch_size=4,
            gradient_accumulation_steps=8,
            max_steps=300,
            warmup_steps=30,
            lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": 0.1},
            bf16=True,
            use_cpu=True,
            eval_strategy="steps",
            eval_steps=50,
            metric_for_best_model="eval_accuracy",
            greater_is_better=True,
            load_best_model_at_end=True,
            save_steps=100,
            save_total_limit=3,
            logging_steps=10,
            adam_beta2=0.95,
            label_smoothing_factor=0.1,
            torch_compile=True,
            activation_checkpointing=True,
            push_to_hub=True,
            hub_model_id="me/mine",
        ),
        capsys,
    )
    config = composed(text)
    assert (config["data"]["batch_size"], config["data"]["micro_batch_size"]) == (32, 4)
    assert config["lightning"]["max_steps"] == 300
    assert config["lightning"]["max_epochs"] is None
    assert config["lightning"]["val_check_interval"] == 50
    assert config["lightning"]["check_val_every_n_epoch"] is None
    assert config["lightning"]["precision"] == "bf16-mixed"
    assert config["schedule"]["name"] == "cosine_with_min_lr"
    assert (config["schedule"]["warmup"], config["schedule"]["min_lr_rate"]) == (30, 0.1)
    assert (config["monitor"], config["mode"]) == ("accuracy", "max")
    assert config["callbacks"]["auto_retry"]["save_every_n_steps"] == 100
    assert config["callbacks"]["hub_push"]["repo"] == "me/mine"
    assert config["callbacks"]["hub_push"]["strategy"] == "every_save"
    assert config["checkpoints"]["keep"] == 3
    assert config["log"]["every_n_steps"] == 10
    assert config["optim"]["betas"] == [0.9, 0.95]
    assert config["model"] == {
        "compile": True,
        "gradient_checkpointing": True,
        "label_smoothing": 0.1,
    }


def test_what_is_not_carried_over_is_named_each_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(
        """
        learning_rte: 1e-4
        optim: adafactor
        eval_strategy: epoch
        neftune_noise_alpha: 5
        save_strategy: "no"
        fp16_full_eval: true
        optim_args: rank=8
        run_name: my run/3
        """,
        capsys,
    )
    composed(text)
    lines = text.partition("Not carried over")[2]
    for name in ("optim", "neftune_noise_alpha", "save_strategy", "fp16_full_eval", "optim_args", "run_name"):
        assert f"\n#   {name} " in lines
    assert "learning_rte 0.0001: TrainingArguments of transformers has no such field" in lines
    assert "; did you mean learning_rate?" in lines


def test_the_names_of_before_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    config = composed(
        printed(
            """
            evaluation_strategy: epoch
            warmup_ratio: 0.1
            group_by_length: true
            no_cuda: true
            ddp_bucket_cap_mb: 50
            overwrite_output_dir: true
            """,
            capsys,
        )
    )
    assert "limit_val_batches" not in config["lightning"]
    assert config["schedule"]["warmup"] == 0.1
    assert config["data"]["group_by_length"] is True
    assert config["lightning"]["accelerator"] == "cpu"
    assert config["lightning"]["strategy"]["bucket_cap_mb"] == 50


def test_nothing_in_the_file_is_resolved_called_or_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(
        r"""
        output_dir: "${oc.env:HOME}"
        lr_scheduler_kwargs: {_target_: os.system, a: {_target_: os.system}}
        hub_token: hf_secret
        optim: "x\ntouch stolen; touch stolen"
        learning_rate: "$(touch stolen)"
        """,
        capsys,
    )
    assert "hf_secret" not in text
    assert not any("${" in word or "_target_" in word for word in shlex.split(text, comments=True))
    script = text.replace("python -m nimble_lightning", "true")
    subprocess.run(["sh", "-c", script], check=True)
    assert not Path("stolen").exists()


def test_a_program_gets_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed("learning_rate: 1e-4\nfoo: 1", capsys, "--json"))
    assert found["command"][:4] == ["python", "-m", "nimble_lightning", "trainer=my_trainer.py"]
    assert "optim.lr=0.0001" in found["command"]
    assert {"field": "seed", "value": 42, "typed": "seed=42", "ours": "0"} in found["defaults"]
    assert [each["field"] for each in found["left_out"]] == ["trainer", "foo"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x02pickle", "torch.load('file', weights_only=False); print(args.to_json_string())"),
        (b"PK\x03\x04zip", "reading one runs code"),
        (b'{"log_history": [], "global_step": 5}', "how a run went"),
        (b"[1, 2]", "expected settings by name"),
        (b"a: [", "neither JSON nor YAML"),
        (b"{" * 10**5, "neither JSON nor YAML"),
        (b"colour: red", "Expected fields of TrainingArguments"),
    ],
)
def test_what_is_no_such_file_is_refused_in_words(
    content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_bytes(content)
    assert main.main(["convert", "file"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert main.main(["convert", "nowhere"]) == 2
    assert "nowhere: No such file" in capsys.readouterr().err


def test_torch_is_not_imported_for_it() -> None:
    Path("settings.json").write_text('{"learning_rate": 1e-4}')
    code = (
        "import sys; from nimble_lightning.commands.main import main\n"
        "code = main(['convert', 'settings.json'])\n"
        "sys.exit(code or bool({'torch', 'transformers', 'lightning'} & {*sys.modules}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
