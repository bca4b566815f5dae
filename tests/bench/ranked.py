"""One rank of a fit with long steps and few weights: `python -m tests.bench.ranked REQUEST`."""

from __future__ import annotations

import os
import time
from typing import Any

from tests.bench.child import answer_with

# A fifth of a second a step: what ranks tell each other is then little beside what they compute.
BATCH, TOKENS, WIDTH, WARM_UP = 16, 256, 256, 5


def main(request: dict[str, Any]) -> dict[str, float]:
    """Milliseconds a step after the first ones, by the wall and of this process alone."""
    os.environ.update(request["environment"])
    import lightning as L
    import torch
    from torch import nn

    from nimble_lightning import NimbleTrainer, adapt
    from nimble_lightning.settings import DataSettings, RunSettings

    torch.set_num_threads(1)
    torch.manual_seed(0)
    steps, ranks = int(request["steps"]), int(request["ranks"])

    class Deep(NimbleTrainer):
        def pre_process(self) -> None:
            self.train_data = (torch.randn(BATCH * ranks * (WARM_UP + steps), TOKENS, WIDTH),)
            layers = [part for _ in range(6) for part in (nn.Linear(WIDTH, WIDTH), nn.GELU())]
            self.model = nn.Sequential(*layers)

        def train(self, batch: Any) -> torch.Tensor:
            return self.model(batch[0]).square().mean()  # type: ignore[no-any-return]

    class Clock(L.Callback):
        took = 0.0, 0.0

        def on_train_batch_end(self, *of_step: Any) -> None:
            now = time.perf_counter(), time.process_time()
            if of_step[-1] == WARM_UP - 1:
                self._began = now
            elif of_step[-1] == WARM_UP + steps - 1:
                self.took = now[0] - self._began[0], now[1] - self._began[1]

    clock = Clock()
    module, data = adapt(Deep(), settings=RunSettings(data=DataSettings(batch_size=BATCH)))
    trainer = L.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        max_epochs=1,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, datamodule=data)
    return {"ms": 1000 * clock.took[0] / steps, "cpu_ms": 1000 * clock.took[1] / steps}


if __name__ == "__main__":
    answer_with(main)
