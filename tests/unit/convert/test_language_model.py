"""YAMLs of TRL, Oumi and LLaMA-Factory as command lines for our language-model trainers."""

from __future__ import annotations

from pathlib import Path

import pytest
from converted_settings import composed, left_out, printed

from nimble_lightning.commands import main

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
