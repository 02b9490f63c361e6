"""Arrays of the original project train as they are; what does not fit is told by name."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.dataset.build import build_dataset
from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.dataset.verify import verify_dataset
from smartbkg_tf.encoding.encode import encode
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.events.vocabulary import default_vocabulary
from tests.datasets import preprocess_settings, write_dataset
from tests.samples import make_events


def arrays(n: int, seed: int = 0, length: int = 100, tokens: int = 150) -> dict[str, np.ndarray]:
    """Arrays as the original wrote them: float64, 13 features, tokens from 1, 0 padding."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, length + 1, n)
    there = np.arange(length) < sizes[:, None]
    pdg = np.where(there, random.integers(1, 540, (n, length)), 0).astype(np.float64)
    words = np.arange(tokens) < random.integers(1, tokens + 1, n)[:, None]
    return {
        "particle_input": random.random((n, length, 13)) * there[:, :, None],
        "pdg_input": pdg,
        "mother_pdg_input": np.where(there, random.integers(1, 540, (n, length)), 0.0),
        "decay_input": np.where(words, random.integers(1, 542, (n, tokens)), 0),
        "y_output": (random.random(n) < 0.4).astype(np.int64),
    }


def save_npy(folder: Path, name: str, values: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for array, data in values.items():
        np.save(folder / f"{name}_{array}.npy", data)


def save_maps(folder: Path, values: dict[str, np.ndarray], suffix: str = ".memmap") -> None:
    """Joint memory maps with pickled metadata, as `create_memmaps` left them."""
    folder.mkdir(parents=True, exist_ok=True)
    for array, data in values.items():
        file = folder / f"{array}{suffix}"
        out = np.memmap(file, mode="w+", shape=data.shape, dtype=data.dtype)
        out[:] = data
        out.flush()
        for kind, value in (("shape", data.shape), ("dtype", str(data.dtype))):
            Path(f"{file}.{kind}").write_bytes(pickle.dumps(value))


def take_over(folder: Path, output: Path, **options: Any) -> Dataset:
    return open_dataset(build_dataset(preprocess_settings(str(folder), output, **options)))


def assert_as_they_were(dataset: Dataset, values: dict[str, np.ndarray]) -> None:
    rows = np.arange(len(dataset))
    batch = dataset.batch(rows, [n for n in values if n != "y_output"])
    place = {row.tobytes(): i for i, row in enumerate(values["decay_input"].astype(np.int32))}
    order = [place[row.tobytes()] for row in batch["decay_input"]]
    assert sorted(order) == rows.tolist()
    for name in ("pdg_input", "mother_pdg_input", "decay_input"):
        np.testing.assert_array_equal(batch[name], values[name][order], err_msg=name)
    expected = values["particle_input"][order].astype(np.float32)
    np.testing.assert_array_equal(batch["particle_input"], expected)
    np.testing.assert_array_equal(dataset.labels[:, 0], values["y_output"][order])


@pytest.mark.parametrize("suffix", [".memmap", ".mmap", ""])
def test_memory_maps_with_pickled_shapes(tmp_path: Path, suffix: str) -> None:
    values = arrays(50)
    save_maps(tmp_path / "maps", values, suffix)
    dataset = take_over(tmp_path / "maps", tmp_path / "dataset", chunk_events=7)
    assert_as_they_were(dataset, values)
    assert dataset.feature_names[:3] == ("energy", "prodTime", "x")
    assert dataset.feature_names[8:] == tuple(f"charge_{c}" for c in range(-2, 3))
    assert dataset.vocabulary_size == int(max(values["pdg_input"].max(),
        values["mother_pdg_input"].max(), values["decay_input"].max())) + 1  # fmt: skip
    verify_dataset(dataset.path)


def test_npy_files_of_several_inputs(tmp_path: Path) -> None:
    first, second = arrays(30, seed=1), arrays(20, seed=2)
    save_npy(tmp_path / "npy", "mixed_1", first)
    save_npy(tmp_path / "npy", "mixed_2", second)
    values = {name: np.concatenate([first[name], second[name]]) for name in first}
    dataset = take_over(tmp_path / "npy", tmp_path / "dataset")
    assert_as_they_were(dataset, values)
    assert sorted(dataset.keys["run"].tolist()) == [0] * 30 + [1] * 20


@pytest.mark.parametrize(
    ("there", "possible"),
    [
        (("decay_input", "y_output"), {"decay_input"}),
        (
            ("particle_input", "pdg_input", "mother_pdg_input", "y_output"),
            {"particle_input", "pdg_input", "mother_pdg_input"},
        ),
    ],
)
def test_parts_of_the_arrays(tmp_path: Path, there: tuple[str, ...], possible: set[str]) -> None:
    values = arrays(20)
    save_npy(tmp_path / "npy", "a", {name: values[name] for name in there})
    dataset = take_over(tmp_path / "npy", tmp_path / "dataset")
    assert set(dataset.information["inputs"]) == possible | {"event_type_input"}
    assert set(dataset.batch([3], sorted(possible))) == possible
    with pytest.raises(InputError, match="the dataset has no"):
        dataset.batch([0], "combined")
    with pytest.raises(InputError, match="has no mother_index_input"):
        dataset.batch([0], ["mother_index_input"])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_network_trains_on_them(tmp_path: Path) -> None:
    """`data.path=FOLDER` is enough; values reach the first layer unchanged."""
    from smartbkg_tf.training.data import prepare_dataset
    from smartbkg_tf.training.fit import fit
    from tests.training.samples import tiny_settings

    values = arrays(300, length=20, tokens=30)
    values["particle_input"] *= 40  # outside of the limits that clip physical features
    save_maps(tmp_path / "maps", values)
    settings = tiny_settings(
        tmp_path / "maps", tmp_path / "run", f"data.demo.cache={tmp_path / 'cache'}",
        "training.epochs=1",
    )  # fmt: skip
    path = prepare_dataset(settings)
    assert prepare_dataset(settings) == path  # kept
    dataset = open_dataset(path)
    run = fit(settings, dataset)
    assert run.model.is_file()
    from smartbkg_tf.models.normalisation import ParticleNormalisation

    layer = ParticleNormalisation(
        dataset.feature_names, dataset.information["normalisation"]["features"]
    )
    x = dataset.batch([0, 1], ["particle_input"])["particle_input"]
    np.testing.assert_array_equal(np.asarray(layer(x)), x)


def test_new_events_cannot_be_encoded_so(tmp_path: Path) -> None:
    save_npy(tmp_path / "npy", "a", arrays(10))
    dataset = take_over(tmp_path / "npy", tmp_path / "dataset")
    with pytest.raises(InputError, match="no new event can be encoded"):
        encode(make_events(2), dataset.encoding, default_vocabulary())


def test_events_that_cannot_be_used(tmp_path: Path) -> None:
    values = arrays(20)
    values["particle_input"][3, 0, 1] = np.nan
    values["pdg_input"][5] = 0
    save_npy(tmp_path / "npy", "a", values)
    with pytest.raises(InputError) as found:
        take_over(tmp_path / "npy", tmp_path / "dataset")
    assert "1 event with NaN" in str(found.value)
    assert "1 event with no particles" in str(found.value)
    dataset = take_over(tmp_path / "npy", tmp_path / "dataset", mode="lenient")
    assert len(dataset) == 18
    assert dataset.information["dropped"] == {"not_finite": 1, "no_particles": 1}


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch /tmp/executed-by-smartbkg",))


def cut(folder: Path) -> None:
    with open(folder / "pdg_input.memmap", "r+b") as stream:
        stream.truncate(100)


def malicious(folder: Path) -> None:
    (folder / "pdg_input.memmap.shape").write_bytes(pickle.dumps(Malicious()))


def shorter(folder: Path) -> None:
    values = arrays(19)
    save_maps(folder, {"decay_input": values["decay_input"]})


def negative(folder: Path) -> None:
    values = arrays(20)["decay_input"]
    values[2, 0] = -4
    save_maps(folder, {"decay_input": values})


def objects(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    save_npy(folder, "a", arrays(5))
    np.save(folder / "a_decay_input.npy", np.array([[1, 2], [3]], dtype=object), allow_pickle=True)


def mixed(folder: Path) -> None:
    save_npy(folder, "other", {k: v for k, v in arrays(5).items() if k != "decay_input"})


def no_labels(folder: Path) -> None:
    (folder / "y_output.memmap").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "pdg_input.memmap.*100 bytes"),
        (malicious, "a pickle can run any code"),
        (shorter, "numbers of events differ .*decay_input.memmap: 19"),
        (negative, "holds -4, which is not a token"),
        (objects, "a_decay_input.npy.*not a NumPy array"),
        (mixed, "not all sets have the same arrays"),
        (no_labels, "is not whole"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, damage: Any, message: str) -> None:
    save_maps(tmp_path / "maps", arrays(20))
    damage(tmp_path / "maps")
    with pytest.raises(InputError, match=message):
        take_over(tmp_path / "maps", tmp_path / "dataset")
    assert not Path("/tmp/executed-by-smartbkg").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["maps"]


def test_they_are_not_mixed_with_tables(tmp_path: Path) -> None:
    save_npy(tmp_path / "npy", "a", arrays(10))
    write_dataset(tmp_path / "made", make_events(10))
    both = [str(tmp_path / "npy"), str(tmp_path / "made/tables/events_0.h5")]
    with pytest.raises(InputError, match="cannot be mixed"):
        build_dataset(preprocess_settings(both, tmp_path / "dataset"))
    with pytest.raises(ConfigurationError, match="recognised by themselves"):
        write_dataset(tmp_path / "other", make_events(10), features="legacy")
