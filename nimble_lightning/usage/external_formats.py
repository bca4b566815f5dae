"""An account in the words of others: a row of CodeCarbon's emissions.csv, and a model card's metadata."""

from __future__ import annotations

import csv
import io
import os
import platform
import time
from collections.abc import Mapping
from typing import Any

from nimble_lightning.usage import host_energy
from nimble_lightning.usage.figures import value_of

COLUMNS = (
    "timestamp",
    "project_name",
    "run_id",
    "experiment_id",
    "duration",
    "emissions",
    "emissions_rate",
    "cpu_power",
    "gpu_power",
    "ram_power",
    "cpu_energy",
    "gpu_energy",
    "ram_energy",
    "energy_consumed",
    "water_consumed",
    "country_name",
    "country_iso_code",
    "region",
    "cloud_provider",
    "cloud_region",
    "os",
    "python_version",
    "codecarbon_version",
    "cpu_count",
    "cpu_model",
    "gpu_count",
    "gpu_model",
    "longitude",
    "latitude",
    "ram_total_size",
    "tracking_mode",
    "cpu_utilization_percent",
    "gpu_utilization_percent",
    "ram_utilization_percent",
    "ram_used_gb",
    "on_cloud",
    "pue",
    "wue",
)


def emissions_csv(usage: Mapping[str, Any]) -> str:
    """Heading and row, in CodeCarbon's columns and units (kg, kWh, s, W); what is unknown is left empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerow({name: value for name, value in _row(usage).items() if value is not None})
    return buffer.getvalue()


def co2_eq_emissions(usage: Mapping[str, Any]) -> dict[str, Any] | None:
    """The `co2_eq_emissions` of a model card, in grams; None where the emissions are not known."""
    kilograms = value_of(usage["co2e_kg"])
    if kilograms is None:
        return None
    grid = usage["grid"] or {}
    found = {
        "emissions": round(kilograms * 1000, 6),
        "source": f"nimble_lightning; {grid.get('note', '')}".rstrip("; "),
        "training_type": "unknown",
        "geographical_location": grid.get("country") or None,
        "hardware_used": ", ".join(f"{device['count']} x {device['name']}" for device in usage["devices"]),
    }
    return {name: value for name, value in found.items() if value is not None}


def _row(usage: Mapping[str, Any]) -> dict[str, Any]:
    seconds = usage["wall_seconds"]
    energy = {part: value_of(usage["energy_kwh"][part]) for part in ("cpu", "gpu", "ram", "total")}
    emissions = value_of(usage["co2e_kg"])
    gpus = [device for device in usage["devices"] if device["name"] != "cpu"]
    grid = usage["grid"] or {}
    return {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(usage["ended"])),
        "project_name": usage["name"],
        "run_id": usage["run_id"],
        "duration": seconds,
        "emissions": emissions,
        "emissions_rate": _rate(emissions, seconds),
        **{f"{part}_power": _watts(energy[part], seconds) for part in ("cpu", "gpu", "ram")},
        **{f"{part}_energy": energy[part] for part in ("cpu", "gpu", "ram")},
        "energy_consumed": energy["total"],
        "country_name": grid.get("country") or None,
        "country_iso_code": grid.get("code") or None,
        "os": platform.platform(),
        "python_version": platform.python_version(),
        "cpu_count": os.cpu_count(),
        "cpu_model": host_energy.processor() or None,
        "gpu_count": sum(device["count"] for device in gpus),
        "gpu_model": ", ".join(f"{device['count']} x {device['name']}" for device in gpus) or None,
        "ram_total_size": round(host_energy.memory_total() / 2**30, 3),
        "tracking_mode": "process",
        "pue": usage["pue"],
    }


def _rate(amount: float | None, seconds: float) -> float | None:
    return amount / seconds if amount is not None and seconds else None


def _watts(kwh: float | None, seconds: float) -> float | None:
    return kwh * 3.6e6 / seconds if kwh is not None and seconds else None
