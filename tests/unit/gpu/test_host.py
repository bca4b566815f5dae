"""What the kernel tells of the machine; here in files that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

from nimble_lightning.gpu.host import Host

MEMINFO = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\nHugePages_Total:   0\n"


def machine(folder: Path, **files: str) -> Host:
    for name, text in {"stat": "cpu  10 0 10 80 0 0 0 0 5 0\ncpu0 1\n", "meminfo": MEMINFO, **files}.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Host(folder, proc=folder, groups=folder / "groups")


def test_the_share_of_all_cores_is_that_since_the_look_before(tmp_path: Path) -> None:
    host = machine(tmp_path)
    assert host.read()["cpu"] is None, "there is nothing yet to compare with"
    (tmp_path / "stat").write_text("cpu  30 0 20 100 50 0 0 0 999 0\n")
    assert host.read()["cpu"] == 30.0


def test_memory_that_could_be_had_is_not_used(tmp_path: Path) -> None:
    facts = machine(tmp_path).read()
    assert (facts["ram_used"], facts["ram_total"]) == (600 * 1024, 1000 * 1024)


def test_a_containers_limit_counts_where_it_is_lower(tmp_path: Path) -> None:
    limited = {
        "groups/memory.max": "500000\n",
        "groups/memory.current": "300000\n",
        "groups/memory.stat": "anon 1\ninactive_file 100000\n",
    }
    facts = machine(tmp_path, **limited).read()
    assert (facts["ram_used"], facts["ram_total"]) == (200000, 500000)
    (tmp_path / "groups" / "memory.max").write_text("max\n")
    assert machine(tmp_path).read()["ram_total"] == 1000 * 1024


def test_an_older_kernels_limit_counts_as_well(tmp_path: Path) -> None:
    old = {
        "groups/memory/memory.limit_in_bytes": "500000\n",
        "groups/memory/memory.usage_in_bytes": "300000\n",
        "groups/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 50000\n",
    }
    assert machine(tmp_path, **old).read()["ram_used"] == 250000
    (tmp_path / "groups" / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert machine(tmp_path).read()["ram_used"] == 600 * 1024, "no limit is written as a very high one"


def test_what_the_kernel_does_not_tell_is_unknown(tmp_path: Path) -> None:
    nothing = Host(tmp_path / "nowhere", proc=tmp_path, groups=tmp_path)
    nothing.read()
    facts = nothing.read()
    assert {key for key, value in facts.items() if value is None} == facts.keys() - {"process_cpu"}


def test_this_machine_answers_every_question(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.read()
    facts = host.read()
    assert facts["process_cpu"] is not None
    assert 0 < facts["process_rss"] <= facts["ram_total"]
    assert 0 < facts["ram_used"] <= facts["ram_total"]
    assert facts["disk_free"] > 0
