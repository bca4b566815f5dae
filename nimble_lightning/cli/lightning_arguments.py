"""The types of the settings in conf/config.yaml. What groups take, their classes' own signatures say."""

from __future__ import annotations

from collections.abc import Mapping

# Section ("" is the top) -> setting -> type, in the words of Python plus Positive and Natural.
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "": {
        "trainer": "str | None",
        "datamodule": "str | None",
        "params": "dict",
        "seed": "Natural",
        "run_id": "str | None",
        "sweep_id": "str | None",
        "trial": "dict | None",
        "asked": "list[str] | None",
        "resume": "Literal['auto', 'never'] | Path",
        "output_dir": "Path",
        "name": "str | None",
        "monitor": "str | None",
        "mode": "Literal['min', 'max', None]",
        "data": "dict",
        "model": "dict",
        "clip": "dict",
        "checkpoints": "dict",
        "export": "list[Literal['safetensors', 'torch', 'onnx']] | None",
        "report": "bool | Positive",
        "show": "dict",
        "log": "dict",
        "lightning": "dict",
    },
    "data": {
        "batch_size": "Positive",
        "micro_batch_size": "Literal['auto'] | Positive",
        "eval_batch_size": "Positive | None",
        "num_workers": "Natural",
        "shuffle": "bool",
        "drop_last": "bool",
        "pin_memory": "Literal['auto'] | bool",
    },
    "model": {
        "compile": "bool | dict",
        "gradient_checkpointing": "bool | list[str]",
    },
    "clip": {"norm": "float | None", "value": "float | None"},
    "checkpoints": {"asynchronous": "bool"},
    "launch": {
        "name": "str",
        "jobs": "Literal['auto'] | Positive",
        "nnodes": "Positive | str | None",
        "rdzv_endpoint": "str | None",
        "join_timeout": "Positive | str",
        "local_addr": "str | None",
        "wait": "Literal['auto'] | bool",
        "partition": "str | None",
        "account": "str | None",
        "qos": "str | None",
        "nodes": "Positive | str",
        "gpus_per_node": "Positive | str | None",
        "cpus_per_task": "Positive | None",
        "mem": "Positive | str | None",
        "time": "Positive | str | None",
        "sbatch": "dict | None",
        "setup": "list[str]",
        "requeue": "bool",
        "margin": "Natural",
        "address": "str | None",
        "cpus": "float",
        "gpus": "float",
    },
    "show": {"keep": "Natural"},
    "log": {
        "level": "Literal['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL']",
        "replica_level": "Literal['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL']",
        "per_node": "bool",
        "terminal": "bool",
        "every_n_steps": "Positive",
        "grad_norm": "bool",
    },
}

# Arguments of lightning.Trainer that have another place here.
ELSEWHERE: Mapping[str, str] = {
    "callbacks": "set callbacks.NAME.ARGUMENT, or add your own: +callbacks.mine._target_=package.Class",
    "logger": "choose logger=csv, logger=[jsonl,tensorboard] or logger=none",
    "default_root_dir": "the run's folder is output_dir/name/run_id",
}

# Narrower than lightning.Trainer's own annotations, which name a class anybody may derive from.
NARROWER: Mapping[str, str] = {
    "accelerator": "Literal['auto', 'cpu', 'cuda', 'gpu', 'mps', 'tpu'] | dict",
    "strategy": "str | dict",
    "max_epochs": "Unlimited | None",
    "max_steps": "Unlimited",
    "min_epochs": "Natural | None",
    "min_steps": "Natural | None",
    "num_nodes": "Positive",
    "limit_train_batches": "Batches | None",
    "limit_val_batches": "Batches | None",
    "limit_test_batches": "Batches | None",
    "limit_predict_batches": "Batches | None",
    "overfit_batches": "Batches",
    "check_val_every_n_epoch": "Positive | None",
    "num_sanity_val_steps": "Unlimited | None",
    "log_every_n_steps": "Natural | None",
    "accumulate_grad_batches": "Positive",
    "gradient_clip_algorithm": "Literal['norm', 'value', None]",
    "reload_dataloaders_every_n_epochs": "Natural",
}
