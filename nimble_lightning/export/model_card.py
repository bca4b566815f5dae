"""The model card: what the model is, how good, how it was made, what it cost, how to check all that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from nimble_lightning.usage.figures import value_of

CARD = "README.md"


def card(
    about: Mapping[str, Any], run: Mapping[str, Any], usage: Mapping[str, Any], config: Mapping[str, Any]
) -> str:
    """The card of an exported folder, front matter and all.

    Args:
        about: Its export.json.
        run: The run's run.json.
        usage: The run's usage.json; empty where there is none.
        config: The run's configuration, references unresolved.
    """
    sections = [_head(about), _metrics(run), _use(about), _training(about, run, config), _cost(usage)]
    sections.append(_verify(about))
    text = yaml.safe_dump(front_matter(about, usage), sort_keys=False, allow_unicode=True)
    return (
        f"---\n{text}---\n\n" + "\n\n".join("\n".join(lines) for lines in map(list, sections) if lines) + "\n"
    )


def front_matter(about: Mapping[str, Any], usage: Mapping[str, Any]) -> dict[str, Any]:
    """What the Hub reads: emissions are in grams there."""
    library = "peft" if is_adapter(about) else "transformers" if is_hugging_face(about) else "pytorch"
    matter: dict[str, Any] = {
        "library_name": library,
        "tags": ["nimble_lightning", "pytorch-lightning"],
    }
    kilograms = value_of(usage.get("co2e_kg"))
    if kilograms is not None:
        devices = [str(d.get("name")) for d in usage.get("devices") or [] if isinstance(d, Mapping)]
        matter["co2_eq_emissions"] = {
            "emissions": kilograms * 1000,
            "source": f"nimble_lightning, {kind_of(usage.get('co2e_kg'))}",
            "training_type": "training",
            **({"hardware_used": ", ".join(devices)} if devices else {}),
        }
    return matter


def kind_of(value: Any) -> str:
    """How a figure came about: "measured", "estimated" or "assumed"."""
    return str(value.get("kind", "estimated")) if isinstance(value, Mapping) else "estimated"


def is_hugging_face(about: Mapping[str, Any]) -> bool:
    """Whether an export is a folder for `from_pretrained`."""
    return "config.json" in about.get("files", {})


def is_adapter(about: Mapping[str, Any]) -> bool:
    """Whether an export is an adapter of PEFT."""
    return "adapter_config.json" in about.get("files", {})


def _head(about: Mapping[str, Any]) -> Iterator[str]:
    told, model = about.get("run", {}), about.get("model", {})
    part = "" if model.get("name") in (None, "model") else f": {model['name']}"
    yield f"# {told.get('name', 'model')}{part}"
    yield ""
    yield f"`{model.get('class')}`, trained by `{model.get('trainer')}` in run `{told.get('id')}`."


def _metrics(run: Mapping[str, Any]) -> Iterator[str]:
    metrics = run.get("metrics") or {}
    if not metrics:
        return
    yield "## Metrics"
    yield ""
    yield "| metric | value |"
    yield "|---|---:|"
    for name, value in metrics.items():
        yield f"| {_cell(name)} | {value:.6g} |"
    verdict = run.get("verdict")
    if isinstance(verdict, Mapping) and verdict.get("summary"):
        yield ""
        yield f"Verdict: {verdict['summary']}."


def _use(about: Mapping[str, Any]) -> Iterator[str]:
    yield "## Use"
    model, files = about.get("model", {}), about.get("files", {})
    if is_adapter(about):
        yield from _code(
            "from peft import AutoPeftModelForCausalLM",
            "",
            'model = AutoPeftModelForCausalLM.from_pretrained("this repository")',
        )
    elif is_hugging_face(about):
        name = str(model.get("class")).rpartition(".")[2]
        yield from _code(
            f"from transformers import {name}", "", f'model = {name}.from_pretrained("this repository")'
        )
    elif "model.safetensors" in files:
        yield from _code(*_rebuild(about))
    if "model.onnx" in files:
        yield from _code("import onnxruntime", "", 'session = onnxruntime.InferenceSession("model.onnx")')
    if "model.pt2" in files:
        yield from _code("import torch", "", 'model = torch.export.load("model.pt2").module()')


def _rebuild(about: Mapping[str, Any]) -> Iterator[str]:
    model = about.get("model", {})
    place, _, name = str(model.get("trainer")).rpartition(":")
    module = (place or str(model.get("trainer"))).removesuffix(".py")
    params = ", ".join(f"{key}={value!r}" for key, value in (about.get("params") or {}).items())
    yield f"from {module} import {name or 'YourTrainer'}  # the trainer's file, beside this"
    yield "from safetensors.torch import load_model"
    yield ""
    yield f"trainer = {name or 'YourTrainer'}()"
    yield f"trainer.pre_process({params})"
    yield f'load_model(trainer.{model.get("name")}, "model.safetensors")'


def _code(*lines: str) -> Iterator[str]:
    yield from ("", "```python", *lines, "```")


def _training(about: Mapping[str, Any], run: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    model, data = about.get("model", {}), config.get("data") or {}
    yield "## Data and training"
    yield ""
    digest = f" (sha256 `{model['trainer_sha256']}`)" if model.get("trainer_sha256") else ""
    yield f"- The data is made by `pre_process` of `{model.get('trainer')}`{digest}."
    params = about.get("params") or {}
    if params:
        yield "- Parameters: " + ", ".join(f"`{name}={value}`" for name, value in params.items())
    if data.get("batch_size"):
        yield f"- Batch size {data['batch_size']} a device, seed {config.get('seed')}"
    attempts = run.get("attempts") or []
    if attempts:
        yield f"- Steps: {attempts[-1].get('last_step')}, in {len(attempts)} start{'s' * (len(attempts) > 1)}"
    versions = about.get("versions") or {}
    if versions:
        yield "- " + ", ".join(f"{name} {version}" for name, version in versions.items())


def _cost(usage: Mapping[str, Any]) -> Iterator[str]:
    rows = {
        "device hours": _scaled(usage.get("device_seconds"), 1 / 3600),
        "energy, kWh": _shown((usage.get("energy_kwh") or {}).get("total")),
        "CO2e, kg": _shown(usage.get("co2e_kg")),
    }
    known = {name: value for name, value in rows.items() if value}
    if not known:
        return
    yield "## What it took"
    yield ""
    yield "| | |"
    yield "|---|---:|"
    for name, value in known.items():
        yield f"| {name} | {value} |"


def _shown(value: Any) -> str:
    number = value_of(value)
    note = f" ({value['kind']})" if isinstance(value, Mapping) and value.get("kind") else ""
    return "" if number is None else f"{number:.4g}{note}"


def _scaled(value: Any, factor: float) -> str:
    number = value_of(value)
    return "" if number is None else f"{number * factor:.4g}"


def _verify(about: Mapping[str, Any]) -> Iterator[str]:
    yield "## How to verify"
    yield ""
    for name, check in (about.get("checks") or {}).items():
        yield f"- {name}: {check['how']}, largest difference {check['max_difference']:.2g}"
    yield "- `sha256sum` of each file has to be what `export.json` says:"
    yield ""
    for name, entry in (about.get("files") or {}).items():
        yield f"      {entry['sha256']}  {name}"
    yield ""
    yield (
        "The run's folder, if its statement was signed, is checked with "
        "`nimble-cli verify RUN_FOLDER --key PUBLIC_KEY`: the digests above are among its subjects."
    )


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
