"""What a redesign must not change: memory maps, scores, sampling decisions.

The digests and numbers below were taken before the redesign of the rooms. Inputs are built from
numbers that float arithmetic cannot round differently on another processor.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.dataset.build import build_dataset
from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.filtering.rules import SamplingRule, decide, random_numbers
from smartbkg_tf.models.registry import build
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.training import TrainSettings
from tests.datasets import preprocess_settings
from tests.events.test_belle_public import write_blocks
from tests.mdst_twin import write_mdst_twin
from tests.samples import make_events

GOLDEN = json.loads((Path(__file__).parent / "invariants.json").read_text())


def exact(n_events: int, seed: int, skims: tuple[str, ...]) -> EventTable:
    """Make events whose numbers are multiples of 1/1024: no processor rounds them differently."""
    table = make_events(n_events, seed=seed, skims=skims)
    particles = {
        name: values if np.issubdtype(values.dtype, np.integer) else np.round(values * 1024) / 1024
        for name, values in table.particles.items()
    }
    rest = np.arange(n_events) % 7 / 8
    return replace(table, particles=particles, observables={"mbc": rest + 5.0, "thrust": rest})


def digests(dataset: Path) -> dict[str, str]:
    """Digest every file of the maps, metadata included."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(dataset.glob("*.memmap*"))
    }


def hdf5(folder: Path) -> str:
    folder.mkdir()
    write_hdf5(folder / "a.h5", exact(90, 1, ("skim_a", "skim_b")))
    write_hdf5(folder / "b.h5", exact(60, 2, ("skim_a", "skim_b")))
    return str(folder / "*.h5")


def mdst(folder: Path) -> str:
    folder.mkdir()
    write_mdst_twin(folder / "twin.root", 40, seed=3, continuum=True)
    return str(folder / "twin.root")


def public(folder: Path) -> str:
    folder.mkdir()
    written = write_blocks(folder / "numpy.npz", exact(50, 4, ("label",)))
    # The keys of events come from the file's bytes, and which NumPy writes depends on Python.
    path = folder / "public.npz"
    with zipfile.ZipFile(written) as archive, zipfile.ZipFile(path, "w") as again:
        for name in archive.namelist():
            again.writestr(zipfile.ZipInfo(name), archive.read(name))
    return str(path)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("features", ["original", "smartbackground"])
@pytest.mark.parametrize("source", [hdf5, mdst, public])
def test_maps_keep_every_byte(source: Any, features: str, workers: int, tmp_path: Path) -> None:
    settings = preprocess_settings(
        source(tmp_path / "input"),
        tmp_path / "dataset",
        features=features,
        chunk_events=32,
        workers=workers,
        mode="lenient",
    )
    found = digests(build_dataset(settings))
    assert found == GOLDEN["maps"][f"{source.__name__}-{features}"]


def in_order(weights: list[Any], blocks: list[str]) -> list[Any]:
    """Put weights into the order of the blocks that their names begin with.

    Blocks were layers when the scores were taken, and their weights came one block after the other.
    """
    if not blocks:
        return weights

    def block(weight: Any) -> int:
        path = weight.path.replace("/", "_")
        return blocks.index(max((b for b in blocks if path.startswith(f"{b}_")), key=len))

    return sorted(weights, key=block)


def fill(model: Any, blocks: list[str]) -> None:
    """Give every weight a value that depends on its shape, and on which of that shape it is."""
    seen: Counter[tuple[int, ...]] = Counter()
    for weight in in_order(model.weights, blocks):
        shape = tuple(weight.shape)
        if weight.dtype not in ("float32", "float64"):
            continue
        if not weight.trainable and "moving" not in weight.name:
            continue  # constants of the data, seeds
        text = f"{shape}{seen[shape]}".encode()
        seen[shape] += 1
        seed = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
        numbers = np.random.default_rng(seed).integers(-512, 513, shape) / 512
        if "variance" in weight.name or "gamma" in weight.name:
            weight.assign(1.0 + 0.5 * numbers)
        else:
            fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 16.0
            weight.assign(numbers * np.sqrt(3.0 / max(fan_in, 1.0)))


#: Small sizes where the published ones take long to build.
SMALL = {
    "resnet_preact": ["model.particles.blocks=2"],
    "resnet50": [
        "model.particles.stages=[{blocks: 2, filters: 16, kernel_sizes: [1, 3, 1], pool: true}]"
    ],
    "resnet34": ["model.particles.stages=[{blocks: 2, filters: 16, kernel_sizes: [3, 3]}]"],
}

MODELS = (
    *("resnet", "resnet_preact", "resnet34", "resnet50", "resnext", "conv1x1", "conv1x1_resnet"),
    *("vanilla_cnn", "attention", "feed_forward", "wide_cnn", "cnn_lstm", "gcn", "gatgap"),
    *("transformer", "treenet"),
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("invariants")
    return build_dataset(
        preprocess_settings(
            hdf5(folder / "input"), folder / "dataset", max_particles=48, max_tokens=64
        )
    )


def compose(name: str) -> TrainSettings:
    return compose_settings("train", TrainSettings, [f"model={name}", *SMALL.get(name, [])])


def scores(name: str, path: Path) -> list[list[float]]:
    dataset = open_dataset(path)
    network = build(compose(name).model, dataset.information)
    fill(network.model, GOLDEN["blocks"].get(name, "").split())
    arrays = dataset.batch(np.arange(6), network.input_names)
    values: list[list[float]] = np.asarray(network.model(arrays, training=False)).tolist()
    return values


@pytest.mark.parametrize("name", MODELS)
def test_scores_of_every_network(name: str, sample: Path) -> None:
    expected = np.array(GOLDEN["scores"][name])
    assert np.ptp(expected) > 1e-3  # weights that let differences through
    np.testing.assert_allclose(
        scores(name, sample), expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max()
    )


def test_sampling_decisions() -> None:
    """Same key, same seed, same decision, in every release."""
    number = np.arange(1000)
    keys = {
        "experiment": number % 3,
        "run": number // 7,
        "event": number * 11,
        "production": number % 2,
    }
    uniform = random_numbers(keys, seed=5)
    assert uniform[:4].tolist() == GOLDEN["sampling"]["uniform"]
    decision = decide(
        SamplingRule(a=0.5, b=1.0, maximum_weight=50.0).probability(number / 100 - 7.0), uniform
    )
    assert int(decision.kept.sum()) == GOLDEN["sampling"]["kept"]
    packed = hashlib.sha256(np.packbits(decision.kept).tobytes()).hexdigest()[:16]
    assert packed == GOLDEN["sampling"]["digest"]
    assert float(decision.weight.sum()) == pytest.approx(GOLDEN["sampling"]["weights"], rel=1e-12)
