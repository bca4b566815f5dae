"""What is installed is complete, whichever way it was built; nothing is fetched for it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROBE = """
import pathlib, nimble_lightning, nimble_lightning.conf
from importlib.resources import files
assert nimble_lightning.__version__
print(pathlib.Path(nimble_lightning.__file__).parent)
print(sorted(str(p.name) for p in files("nimble_lightning.conf").iterdir() if p.name != "__pycache__"))
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files git knows or would take, apart from the checkout so that building leaves nothing in it."""
    copy = tmp_path_factory.mktemp("source")
    for name in run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source, cwd=out)
    return next(out.glob("*.whl"))


def shipped() -> set[str]:
    """Every module of the package and every file of the configuration, as a wheel names them."""
    modules = {
        f"nimble_lightning/{p.relative_to(ROOT / 'nimble_lightning')}"
        for p in ROOT.glob("nimble_lightning/**/*.py")
    }
    yamls = {f"nimble_lightning/conf/{p.relative_to(ROOT / 'conf')}" for p in ROOT.glob("conf/**/*.yaml")}
    return modules | yamls | {"nimble_lightning/py.typed", "nimble_lightning/conf/__init__.py"}


def test_the_wheel_holds_every_module_and_every_setting(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert shipped() <= inside, shipped() - inside
    assert not [name for name in inside if name.startswith(("tests/", "conf/", "examples/"))]


def test_the_installed_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    install(tmp_path / "venv", wheel)
    where, conf = run(python_of(tmp_path / "venv"), "-c", PROBE, cwd=tmp_path).splitlines()
    assert Path(where).is_relative_to(tmp_path)
    assert "config.yaml" in conf
    assert "_target_" not in run(
        python_of(tmp_path / "venv"), "-m", "nimble_lightning", "--help", cwd=tmp_path
    )


def test_the_editable_install_works_from_another_folder(source: Path, tmp_path: Path) -> None:
    install(tmp_path / "venv", "-e", source)
    (source / "conf" / "seen_at_once.yaml").write_text("a: 1\n")
    where, conf = run(python_of(tmp_path / "venv"), "-c", PROBE, cwd=tmp_path).splitlines()
    assert Path(where) == source / "nimble_lightning"
    assert "seen_at_once.yaml" in conf
    (source / "conf" / "seen_at_once.yaml").unlink()


def test_the_source_distribution_makes_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    run(
        sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path, source, cwd=tmp_path
    )
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        tmp_path,
        unpacked,
        cwd=tmp_path,
    )
    again = next(tmp_path.glob("*.whl"))
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_every_dependency_is_pinned_to_a_version_it_allows() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = [
        Requirement(line)
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line[:1] not in "#"
    ]
    pinned = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    assert pinned["torch"] == "2.13.0", "no build suffix: CPU and CUDA wheels both have to fit"
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), text


def install(where: Path, *what: str | Path) -> None:
    """An environment that sees this one's libraries, so that nothing has to be fetched."""
    venv.create(where, with_pip=False)
    site = next((where / "lib").glob("python*/site-packages"))
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries) + "\n")
    flags = ("--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed", "--quiet")
    run(sys.executable, "-m", "pip", "--python", python_of(where), "install", *flags, *what, cwd=where)


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"
