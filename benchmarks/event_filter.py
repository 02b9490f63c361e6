"""One event at a time: `EventFilter` against the bare ONNX Runtime call and `keras.Model.predict`.

    python benchmarks/event_filter.py [--particles 42] [--rounds 300] [--models resnet ...]

Networks of default size are exported untrained (their speed is that of trained ones). One event
of the given length is decided about, in turns with the bare call of ONNX Runtime on the same
arrays and with `predict` on the same encoded event, all on one thread. Printed are medians of
paired ratios.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import paired, ratio, report, sample, seconds, write_dataset

#: Model and inputs, with the largest time of the filter in bare calls of ONNX Runtime.
MODELS = (
    ("resnet", "combined"),
    ("resnet", "particles"),
    ("transformer", "particles"),
    ("treenet", "particles"),
)
MOST, LEAST_AGAINST_PREDICT = 1.5, 60.0

_ONE_THREAD = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


def make_run(folder: Path, dataset_path: Path, model: str, inputs: str) -> Path:
    """Make the run directory of an untrained network and its export; give the .onnx file."""
    import shutil

    import keras

    from smartbkg_tf.dataset.dataset import open_dataset
    from smartbkg_tf.filtering.export import export
    from smartbkg_tf.models.loading import save_model
    from smartbkg_tf.models.registry import build
    from smartbkg_tf.runtime.command import compose_settings
    from smartbkg_tf.runtime.files import write_json
    from smartbkg_tf.runtime.run_directory import RunDirectory
    from smartbkg_tf.settings.filtering import ExportSettings
    from smartbkg_tf.settings.plugins import plain
    from smartbkg_tf.settings.training import TrainSettings
    from smartbkg_tf.training.run_folder import write_yaml

    dataset = open_dataset(dataset_path)
    settings = compose_settings(
        "train",
        TrainSettings,
        [f"model={model}", f"model.inputs={inputs}", f"data.path={dataset_path}"],
    )
    keras.utils.set_random_seed(0)
    network = build(settings.model, dataset.information)
    run = RunDirectory(folder / f"{model}_{inputs}")
    run.path.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        save_model(network.model, run.model)
    write_yaml(run.config, plain(settings))
    write_yaml(run.metadata, {})
    shutil.copyfile(dataset_path / "dataset.json", run.dataset)
    rule = {"a": 0.5, "b": 1.0, "maximum_weight": 20.0}
    write_json(run.filter, dict.fromkeys(dataset.label_names, rule))
    return export(ExportSettings(run=str(run.path), output=str(folder / f"onnx_{run.path.name}")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, default=42)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--models", nargs="*", choices=sorted({name for name, _ in MODELS}))
    options = parser.parse_args()
    os.environ |= dict.fromkeys(_ONE_THREAD, "1")  # before TensorFlow is imported

    from smartbkg_tf.encoding.encode import encode, pad
    from smartbkg_tf.events.vocabulary import default_vocabulary
    from smartbkg_tf.filtering.event_filter import EventFilter
    from smartbkg_tf.filtering.scorers import load_run_model, open_session
    from smartbkg_tf.runtime.run_directory import RunDirectory

    table = sample(2000)
    lengths = np.diff(table.offsets)
    nearest = int(np.argmin(np.abs(lengths - options.particles)))
    # As it comes from a generator: particles, and no text of the decay.
    event = replace(table.take(np.array([nearest])), decay_strings=None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset_path = write_dataset(folder, table)
        for model, inputs in MODELS:
            if options.models and model not in options.models:
                continue
            path = make_run(folder, dataset_path, model, inputs)
            decide = EventFilter(path)
            session = open_session(path)
            keras_model = load_run_model(RunDirectory(folder / f"{model}_{inputs}"))
            names = [tensor.name for tensor in session.get_inputs()]
            encoded = encode(event, decide.encoding, default_vocabulary())
            size = [len(encoded.columns[c]) for c in ("pdg_input", "decay_input")]
            batch: Any = pad(encoded, None, names, *size)
            calls = {
                "filter": lambda decide=decide: decide(event),
                "bare": lambda session=session, batch=batch: session.run(None, batch),
                "predict": lambda model=keras_model, batch=batch: model.predict(batch, verbose=0),
            }
            for call in calls.values():
                for _ in range(5):
                    call()
            found = paired(
                options.rounds,
                **{k: lambda c=c: seconds(c) for k, c in calls.items() if k != "predict"},
            )
            slow = paired(
                max(10, options.rounds // 10),
                **{k: lambda c=c: seconds(c) for k, c in calls.items() if k != "bare"},
            )
            title = f"{model}, {inputs}, {lengths[nearest]} particles:"
            value = ratio(found["filter"], found["bare"])
            verdict = "met" if value <= MOST else "NOT MET"
            bare = 1e3 * float(np.median(found["bare"]))
            print(
                f"{title} EventFilter / bare ONNX Runtime call {value:.2f} (at most {MOST}: "
                f"{verdict}; the call alone took {bare:.2f} ms here)",
                flush=True,
            )
            report(
                f"{title} predict / EventFilter",
                ratio(slow["predict"], slow["filter"]),
                LEAST_AGAINST_PREDICT,
            )


if __name__ == "__main__":
    main()
