"""What is given out: the wheel and the sdist hold what they need and nothing else, and the wheel works elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LARGEST = 3 * 2**20  # bytes of a wheel or an sdist

pytestmark = pytest.mark.slow


def run(*command: str | Path, folder: Path) -> str:
    """A command's standard output, in another folder than the sources' and without them on Python's path."""
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(part) for part in command], cwd=folder, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, folder: Path, *targets: str) -> None:
    options = [part for target in targets for part in ("-t", target)]
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, *options, folder=source)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder, "wheel", "sdist")
    return folder


def package_files(root: Path) -> set[str]:
    """The files of the package in a source tree, without what Python and editors leave there."""
    files = {path for path in (root / "src" / "kdda").rglob("*") if path.is_file()}
    return {path.relative_to(root / "src").as_posix() for path in files if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == package_files(ROOT)
    assert wheel.stat().st_size <= LARGEST


def test_the_sdist_holds_what_builds_tests_and_documents_the_package(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    assert sdist.stat().st_size <= LARGEST
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    top = {path.name for path in source.iterdir()}
    assert {"src", "tests", "docs", "Makefile", "requirements.lock", "noxfile.py", "CHANGELOG.md", "LICENSE"} <= top
    assert not {".ci", ".venv", "runs", "data", "dist"} & top
    assert package_files(source) == package_files(ROOT)


def test_the_wheel_works_where_the_sources_are_not(built: Path, tmp_path: Path) -> None:
    """Its dependencies are this environment's: no network is needed, and the editable installation is not seen."""
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "clean room", with_pip=False)
    python = tmp_path / "clean room" / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        wheel,
        folder=tmp_path,
    )
    (packages,) = (tmp_path / "clean room" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    place = Path(run(python, "-c", "import kdda; print(kdda.__file__)", folder=tmp_path).strip())
    assert place.is_relative_to(packages)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert run(python.with_name("kdda"), "--version", folder=tmp_path) == f"kdda {version}\n"
    listed = run(python.with_name("kdda"), "recipes", folder=tmp_path)
    assert re.search(r"^mini-nli +\S", listed, re.M) and re.search(r"^paper/qa-base +\S", listed, re.M)
    tried = run(python.with_name("kdda"), "try", "--seeds", "1", folder=tmp_path)
    assert "student-kdda − student" in tried and "What to type next" in tried


def test_the_image_serves_with_options_that_exist() -> None:
    """No container is made here: the commands, folders and files that the Dockerfile names are there."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    for copied in re.findall(r"^COPY (.+) \S+$", lines, re.M):
        for name in copied.split():
            assert (ROOT / name).exists() and f"!{name}\n" in ignored
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra in re.search(r"/build\[([\w,]+)\]", lines)[1].split(","):  # type: ignore[index]
        assert extra in extras
    help_of_serve = run(Path(sys.executable).with_name("kdda"), "serve", "--help", folder=ROOT)
    for option in re.findall(r'"(--[\w-]+)"', lines):
        if option in lines.split("ENTRYPOINT")[1]:
            assert option in help_of_serve


def test_a_commit_is_checked_by_the_commands_of_continuous_integration() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for repository in config["repos"]:
        for hook in repository["hooks"]:
            assert re.search(rf"^{hook['entry'].removeprefix('make ')}:", makefile, re.M)
    assert re.search(r"^test: lint$", makefile, re.M)
