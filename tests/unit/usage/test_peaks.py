from __future__ import annotations

import csv
from importlib.resources import files

import pytest

from nimble_lightning.usage.peaks import number_of, peak_of


@pytest.mark.parametrize(
    ("device", "tera"),
    [
        ("NVIDIA H200", 989.5),
        ("NVIDIA H200 NVL", 835.5),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA GH200 480GB", 989.5),
        ("NVIDIA B200", 2250),
        ("NVIDIA GB200", 2500),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40", 181.05),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 5090", 209.5),
        ("NVIDIA RTX 6000 Ada Generation", 364.2),
        ("NVIDIA RTX A6000", 154.8),
        ("AMD Instinct MI300X", 1307.4),
    ],
)
def test_a_device_is_known_by_its_drivers_name(device: str, tera: float) -> None:
    peak, source = peak_of(device, "bf16")
    assert peak == pytest.approx(tera * 1e12)
    assert source


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        "NVIDIA A10G",
        "NVIDIA H2000",
        "Quadro RTX 4000",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA A100X",
        "NVIDIA GeForce RTX 4080 SUPER",
        "NVIDIA L4000",
    ],
)
def test_what_only_looks_like_a_known_device_is_unknown(device: str) -> None:
    peak, why = peak_of(device, "bf16")
    assert peak is None
    assert "peak_flops" in why


def test_a_number_a_device_cannot_multiply_is_unknown() -> None:
    assert peak_of("Tesla V100-SXM2-32GB", "bf16")[0] is None
    assert peak_of("Tesla V100-SXM2-32GB", "fp16")[0] == pytest.approx(125e12)
    assert peak_of("Tesla T4", "")[0] is None


def test_precisions_are_told_by_what_multiplies() -> None:
    names = ("bf16-mixed", "bf16-true", "16-mixed", "32-true", "64-true", "transformer-engine")
    assert [number_of(name, tf32=False) for name in names] == ["bf16", "bf16", "fp16", "fp32", "", ""]
    assert number_of("32-true", tf32=True) == "tf32"


def test_every_row_has_a_source_and_dense_figures_that_make_sense() -> None:
    with files("nimble_lightning.usage").joinpath("peaks.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["name"] for row in rows}) == len(rows)
    for row in rows:
        assert row["source"], row
        half = float(row["bf16"] or row["fp16"])
        assert half > float(row["fp32"]), row
        assert not row["tf32"] or float(row["tf32"]) <= half * 0.56, row
