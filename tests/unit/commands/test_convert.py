"""Settings of other programs as command lines of ours, each of which our own command line takes."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from omegaconf import OmegaConf

from nimble_lightning.cli.arguments import parse
from nimble_lightning.cli.request_plan import make_plan
from nimble_lightning.commands import main
from nimble_lightning.convert.asked_fields import DEFAULTS

TRAINER = """
from nimble_lightning import NimbleTrainer

class MyTrainer(NimbleTrainer):
    def pre_process(self): ...
    def train(self, batch): ...
"""


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_trainer.py").write_text(TRAINER)


def printed(content: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    Path("settings.yaml").write_text(dedent(content))
    assert main.main(["convert", "settings.yaml", *words]) == 0
    return capsys.readouterr().out


def composed(text: str) -> dict[str, Any]:
    """What our command line makes of a printed script, comments left out."""
    python, m, package, *words = shlex.split(text.replace("\\\n", " "), comments=True)
    assert [python, m, package] == ["python", "-m", "nimble_lightning"]
    found = OmegaConf.to_container(make_plan(parse(words)).config, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


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


OUMI = """
model:
  model_name: HuggingFaceTB/SmolLM2-135M-Instruct
  model_max_length: 2048
  torch_dtype_str: bfloat16
  attn_implementation: sdpa
  load_pretrained_weights: True
  trust_remote_code: True
data:
  train:
    datasets:
      - dataset_name: yahma/alpaca-cleaned
    target_col: prompt
training:
  trainer_type: TRL_SFT
  use_peft: True
  save_steps: 100
  num_train_epochs: 3
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 4
  enable_gradient_checkpointing: False
  gradient_checkpointing_kwargs:
    use_reentrant: False
  ddp_find_unused_parameters: False
  optimizer: adamw_torch
  learning_rate: 2.0e-05
  compile: False
  dataloader_num_workers: auto
  dataloader_prefetch_factor: 32
  logging_steps: 100
  log_model_summary: False
  empty_device_cache_steps: 50
  output_dir: output/smollm135m.fft
  include_performance_metrics: True
  enable_wandb: True
peft:
  lora_r: 16
  lora_alpha: 32
  lora_target_modules: [q_proj, v_proj]
"""

TRL_SFT = """
model_name_or_path: Qwen/Qwen2.5-0.5B
dataset_name: trl-lib/Capybara
learning_rate: 2.0e-4
num_train_epochs: 1
packing: true
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
eval_strategy: steps
eval_steps: 100
use_peft: true
lora_r: 32
lora_alpha: 16
max_length: 4096
assistant_only_loss: true
output_dir: Qwen2-0.5B-SFT
push_to_hub: false
warmup_ratio: 0.03
"""

TRL_DPO = """
model_name_or_path: Qwen/Qwen2-0.5B-Instruct
dataset_name: pairs.jsonl
beta: 0.2
loss_type: ipo
max_prompt_length: 512
precompute_ref_log_probs: true
per_device_train_batch_size: 4
"""

LLAMA_FACTORY = """
### model
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
trust_remote_code: true
### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
### dataset
dataset: identity,alpaca_en_demo
template: llama3
cutoff_len: 2048
max_samples: 1000
overwrite_cache: true
preprocessing_num_workers: 16
### output
output_dir: saves/llama3-8b/lora/sft
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
### train
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
### eval
val_size: 0.1
per_device_eval_batch_size: 1
eval_strategy: steps
eval_steps: 500
"""


def left_out(text: str) -> set[str]:
    lines = text.partition("Not carried over")[2].splitlines()[1:]
    return {line.strip("# ").partition(" ")[0].strip(":") for line in lines}


def test_a_yaml_of_oumi(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(OUMI, capsys)
    config = composed(text)
    assert config["trainer"] == "nimble_lightning.llm:SFT"
    assert config["params"] == {
        "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "data": "alpaca-cleaned.jsonl",
        "longest": 2048,
        "over_length": "cut",
        "packing": False,
        "learn": "everything",
        "rank": 16,
        "alpha": 32,
        "dropout": 0.0,
        "targets": ["q_proj", "v_proj"],
        "eval_share": 0,
    }
    assert (config["data"]["batch_size"], config["data"]["micro_batch_size"]) == (16, 4)
    assert (config["seed"], config["data"]["seed"]) == (42, 42)
    assert config["lightning"]["precision"] == "bf16-true"
    assert config["callbacks"]["auto_retry"]["save_every_n_steps"] == 100
    assert left_out(text) == {
        *("data.train.datasets", "data.train.target_col", "model.trust_remote_code"),
        "dataloader_num_workers",
        *("dataloader_prefetch_factor", "torch_empty_cache_steps", "model.torch_dtype_str"),
    }
    assert "load_dataset(" in text


def test_a_yaml_of_trl(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(TRL_SFT, capsys)
    config = composed(text)
    params = config["params"]
    assert (params["longest"], params["packing"], params["learn"]) == (4096, True, "answers")
    assert (params["rank"], params["alpha"], params["dropout"]) == (32, 16, 0.05)
    assert params["eval_data"] == "Capybara-test.jsonl"
    assert config["lightning"]["precision"] == "bf16-mixed", "as TRL has it"
    assert config["model"]["gradient_checkpointing"] is True
    assert config["lightning"]["val_check_interval"] == 100
    assert config["schedule"]["warmup"] == 0.03
    assert "lora_dropout" not in left_out(text)
    assert "task" in left_out(text)


def test_a_yaml_of_trl_for_preferences(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(TRL_DPO, capsys)
    config = composed(text)
    assert config["trainer"] == "nimble_lightning.llm:DPO"
    assert config["params"] == {
        "model": "Qwen/Qwen2-0.5B-Instruct",
        "data": "pairs.jsonl",
        "longest": 1024,
        "beta": 0.2,
        "loss": "ipo",
        "eval_share": 0,
    }
    assert config["optim"]["lr"] == 1e-6
    assert "learning_rate 1e-06: optim.lr=1e-06" in text
    assert {"per_device_train_batch_size", "max_prompt_length"} <= left_out(text)
    text = printed("model_name_or_path: a/b\ndataset_name: p.jsonl", capsys, "--task", "dpo")
    assert composed(text)["trainer"] == "nimble_lightning.llm:DPO"


def test_a_yaml_of_llama_factory(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data").mkdir()
    Path("data/dataset_info.json").write_text('{"identity": {"file_name": "identity.json"}}')
    text = printed(LLAMA_FACTORY, capsys)
    config = composed(text)
    params = config["params"]
    assert params["data"] == ["data/identity.json", "data/alpaca_en_demo.json"]
    assert (params["rank"], params["alpha"], params["eval_share"]) == (8, 16, 0.1)
    assert "learn" not in params, "answers, as here"
    assert config["schedule"]["name"] == "cosine"
    assert config["lightning"]["precision"] == "bf16-mixed"
    assert config["lightning"]["max_epochs"] == 3
    assert left_out(text) == {
        *("dataset", "template", "trust_remote_code", "max_samples", "ddp_timeout", "bf16"),
        "load_best_model_at_end",
    }
    text = printed(LLAMA_FACTORY.replace("sft", "dpo") + "pref_loss: orpo\nlora_rnk: 4", capsys)
    assert composed(text)["params"]["loss"] == "orpo"
    assert "did you mean lora_rank?" in text


def test_yamls_for_ratings_and_rewards(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("model_name_or_path: a/b\ndataset_name: p.jsonl\ndesirable_weight: 1.5", capsys)
    config = composed(text)
    assert config["trainer"] == "nimble_lightning.llm:KTO"
    assert (config["params"]["desirable_weight"], config["params"].get("undesirable_weight")) == (1.5, 1.0)
    assert (config["optim"]["lr"], config["data"]["shuffle"]) == (1e-6, False)
    assert "train_sampling_strategy sequential: data.shuffle=false (ours: true)" in text
    yaml = "model_name_or_path: a/b\ndataset_name: p.jsonl\nuse_peft: true\nuse_dora: true"
    config = composed(printed(yaml, capsys, "--task", "reward"))
    assert config["params"]["dora"] is True
    assert (config["trainer"], config["optim"]["lr"]) == ("nimble_lightning.llm:RewardModel", 1e-4)
    text = printed(OUMI.replace("TRL_SFT", "TRL_KTO"), capsys)
    assert composed(text)["trainer"] == "nimble_lightning.llm:KTO"
    text = printed(LLAMA_FACTORY.replace("sft", "kto") + "kto_chosen_weight: 2.0\npref_beta: 0.2", capsys)
    params = composed(text)["params"]
    assert (params["beta"], params["desirable_weight"], params["undesirable_weight"]) == (0.2, 2.0, 1.0)
    text = printed(LLAMA_FACTORY.replace("sft", "rm"), capsys)
    assert composed(text)["trainer"] == "nimble_lightning.llm:RewardModel"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("stage: ppo", "ppo has no trainer here; there are sft, dpo, kto, rm"),
        ("finetuning_type: freeze", "freeze is not there; there are lora and full"),
        (OUMI.replace("TRL_SFT", "TRL_GRPO"), "TRL_GRPO has no trainer here"),
    ],
)
def test_a_training_that_there_is_not_is_refused(
    content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("settings.yaml").write_text(content)
    assert main.main(["convert", "settings.yaml"]) == 2
    assert said in capsys.readouterr().err
    assert main.main(["convert", "settings.yaml", "--task", "sft"]) == 2
    assert "--task is for a YAML of TRL" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (
            OUMI.replace("load_pretrained_weights: True", "load_pretrained_weights: false"),
            "model.load_pretrained_weights",
        ),
        (f"{TRL_SFT}\ndataset_text_field: body\n", "dataset_text_field"),
        (f"{TRL_SFT}\neval_packing: false\n", "eval_packing"),
    ],
)
def test_a_field_that_would_change_the_model_or_what_it_reads_is_named(
    text: str, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert field in left_out(printed(text, capsys))


MODULE = """
import lightning as L
class Model(L.LightningModule):
    def __init__(self, net, optimizer=None, width: int = 1): ...
class Data(L.LightningDataModule):
    def __init__(self, batch_size: int = 1, width: int = 1): ...
"""
LIGHTNING_CLI = """
seed_everything: 7
trainer:
  max_epochs: 3
  devices: null
  strategy: {class_path: lightning.pytorch.strategies.DDPStrategy, init_args: {static_graph: true}}
  default_root_dir: here
  callbacks:
    - {class_path: lightning.pytorch.callbacks.LearningRateMonitor, init_args: {logging_interval: step}}
    - class_path: lightning.pytorch.callbacks.RichProgressBar
  logger: {class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: logs}}
model:
  class_path: project.Model
  init_args:
    width: 2
    net: {class_path: torch.nn.Sequential, dict_kwargs: {}}
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.05}}
data: {class_path: project.Data, init_args: {batch_size: 16, width: 3}}
ckpt_path: last.ckpt
"""


def test_a_yaml_of_a_lightning_cli(capsys: pytest.CaptureFixture[str]) -> None:
    Path("project.py").write_text(MODULE)
    text = printed(LIGHTNING_CLI, capsys)
    config = composed(text)
    assert config["trainer"] == "project:Model"
    assert config["datamodule"] == "project:Data"
    assert config["params"] == {
        "width": 2,
        "net": {"_target_": "torch.nn.Sequential"},
        "optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.05},
        "batch_size": 16,
    }
    monitor = {"_target_": "lightning.pytorch.callbacks.LearningRateMonitor", "logging_interval": "step"}
    assert config["callbacks"]["learning_rate_monitor"] == monitor
    assert set(config["logger"]) == {"jsonl", "csv"}
    assert (config["seed"], config["lightning"]["max_epochs"]) == (7, 3)
    assert config["lightning"]["strategy"]["static_graph"] is True
    assert left_out(text) == {
        *("callbacks.rich_progress_bar", "trainer.default_root_dir", "data.width", "ckpt_path")
    }
    assert "# It runs torch.optim.SGD" in text


def test_a_subcommand_of_a_lightning_cli_and_limits_of_lightnings_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("my_module.py").write_text(MODULE.replace("net, ", "").replace("class Data", "class my_data"))
    text = printed("fit:\n  seed_everything: true\n  trainer: {}\n  model: {width: 4}\n", capsys)
    assert "params.width=4" in text
    assert "trainer.max_epochs none: lightning.max_epochs=1000 (ours: 10)" in text
    assert left_out(text) == {"model", "seed_everything"}


def test_what_a_project_with_hydra_has_composed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("project.py").write_text(MODULE)
    text = printed(
        """
        task_name: train
        model:
          _target_: project.Model
          net: {_target_: torch.nn.Linear, in_features: 2, out_features: 1}
          optimizer: {_target_: torch.optim.Adam, _partial_: true, lr: 0.001}
        data: {_target_: project.Data, batch_size: 4}
        callbacks:
          early: {_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val_loss}
          nothing: null
        trainer: {_target_: lightning.pytorch.trainer.Trainer, max_steps: 10, precision: "${other}"}
        seed: 12345
        """,
        capsys,
    )
    config = composed(text)
    assert config["params"]["net"] == {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 1}
    assert config["params"]["optimizer"]["_partial_"] is True
    assert config["callbacks"]["early"]["monitor"] == "val_loss"
    assert (config["lightning"]["max_steps"], config["seed"]) == (10, 12345)
    assert left_out(text) == {"trainer.precision"}, "a reference that nobody has resolved"
