"""Arguments of lightning.Trainer: those that have another place here, and those narrower than it says."""

from __future__ import annotations

from collections.abc import Mapping

ELSEWHERE: Mapping[str, str] = {
    "callbacks": "set callbacks.NAME.ARGUMENT, or add your own: +callbacks.mine._target_=package.Class",
    "logger": "choose logger=csv, logger=[jsonl,tensorboard] or logger=none",
    "default_root_dir": "the run's folder is output_dir/name/run_id",
    "model_registry": "callbacks=[default,hub_push] callbacks.hub_push.repo=OWNER/NAME uploads the model",
}

# Its own annotations name classes that anybody may derive from.
NARROWER: Mapping[str, str] = {
    "accelerator": "Literal['auto', 'cpu', 'cuda', 'gpu', 'mps', 'tpu'] | dict",
    "strategy": "str | dict",
    "max_epochs": "Epochs | None",
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
