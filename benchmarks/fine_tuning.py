"""A skim with few passing events: from scratch, or from a backbone that knows other skims.

    python -m smartbkg_tf.produce event_type=mixed n_events=710000 skim=all seed=101 output=tables
    python benchmarks/fine_tuning.py --tables 'tables/*.h5' --folder fine_tuning

One network learns several skims at once; its backbone begins networks for a skim that it has
never seen, of which there are `n` passing events and three failing ones for each. The same
networks are trained from scratch, on the same events. All are measured on the same natural
sample of test events. Nothing is shared: files are divided between pre-training and the new
skim, and within the files of the new skim the hash of an event's key divides training,
validation and test events, as `train` does. Draws of different seeds share no event either.

Validation events are a fifth of the training events, in the same mixture: who has few passing
events has few to watch. Both arms watch the same ones. Everything that is finished stays in the
folder; a killed benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import glob
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from resampling import SortedScores, area_under_roc, resamples

from smartbkg_tf.dataset.build import build_dataset
from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.dataset.split import split_events
from smartbkg_tf.evaluation.metrics import auc
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.events.table import EventTable, concatenate
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.files import read_json, write_json
from smartbkg_tf.runtime.quiet import load_tensorflow
from smartbkg_tf.settings.preprocessing import PreprocessSettings
from smartbkg_tf.settings.training import TrainSettings

#: Failing events for each passing one, of the new skim.
FAILING = 3
#: Share of the files that pre-training takes.
SHARE_OF_FILES = 0.42
#: Passing events: (seeds, most epochs, batch size). About as many steps for each size.
SIZES = {200: (3, 40, 32), 1000: (3, 20, 64), 5000: (2, 12, 128)}
#: What differs between the arms.
ARMS: dict[str, tuple[str, ...]] = {
    "scratch": (),
    "layerwise": ("training.fine_tuning.backbone=layerwise",),
    "frozen": ("training.fine_tuning.backbone=frozen",),
    "frozen_branches": ("training.fine_tuning.backbone=frozen_branches",),
    "free": ("training.fine_tuning.backbone=free",),
}
#: What all networks share.
COMMON = ("model=treenet", "data.balance=null", "training.progress=false")


def tables_of(files: Sequence[str]) -> Iterator[EventTable]:
    for _, table in iterate_events([Path(file) for file in files]):
        yield table


def chosen(table: EventTable, rows: Any) -> EventTable:
    return table.take(np.asarray(rows, dtype=np.int64))


def build(folder: Path, table: EventTable) -> Path:
    """Write events as a table and preprocess them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_hdf5(folder / "tables.h5", table)
    overrides = [f"input='{folder / 'tables.h5'}'", f"output='{folder / 'dataset'}'"]
    settings = compose_settings("preprocess", PreprocessSettings, [*overrides, "overwrite=true"])
    return build_dataset(settings)


def once(path: Path, make: Callable[[], Any]) -> Path:
    if not (path / "dataset" / "dataset.json").is_file():
        make()
    return path / "dataset"


def pretraining_data(folder: Path, files: Sequence[str], skims: Sequence[str], limit: int) -> None:
    """Take events that pass any of the skims but the commonest, and as many others."""
    parts, n = [], 0
    random = np.random.default_rng(0)
    for table in tables_of(files):
        some = np.any([table.labels[name] == 1 for name in skims[:-1]], axis=0)
        others = random.permutation(np.flatnonzero(~some))[: int(some.sum())]
        parts.append(chosen(table, np.sort([*np.flatnonzero(some), *others])))
        n += len(parts[-1])
        if n >= limit:
            break
    build(folder, concatenate(parts))


def new_skim_data(
    folder: Path, files: Sequence[str], skim: str, sizes: Iterable[int], n_test: int
) -> None:
    """Draw training and validation events without overlap, and one natural test sample."""
    pools: dict[tuple[str, int], list[EventTable]] = {}
    test: list[EventTable] = []
    random = np.random.default_rng(1)
    for table in tables_of(files):
        label = table.labels[skim]
        for part, rows in split_events(table.keys).items():
            if part == "test":
                if sum(map(len, test)) < n_test:
                    test.append(chosen(table, rows))
                continue
            for value in (0, 1):
                of_class = rows[label[rows] == value]
                if value == 0:  # A quarter is still more than three for each passing one.
                    of_class = of_class[random.random(len(of_class)) < 0.25]
                pools.setdefault((part, value), []).append(chosen(table, of_class))
    natural = concatenate(test)
    whole = {key: concatenate(parts) for key, parts in pools.items()}
    # `train` wants events of both classes in the test part, too; nothing looks at them.
    rest = [np.flatnonzero(natural.labels[skim] == value)[:20] for value in (0, 1)]
    begin = dict.fromkeys(whole, 0)
    for size in sizes:
        for seed in range(1, SIZES[size][0] + 1):
            drawn = [chosen(natural, np.sort(np.concatenate(rest)))]
            for part, value in whole:
                n = (size if part == "train" else size // 5) * (1 if value else FAILING)
                first, pool = begin[part, value], whole[part, value]
                if first + n > len(pool):
                    raise SystemExit(f"{part} events run out: more tables are needed")
                drawn.append(chosen(pool, np.arange(first, first + n)))
                begin[part, value] += n
            build(folder / f"{size}-{seed}", concatenate(drawn))
    # The last one: where it is, the others are.
    build(folder / "test", chosen(natural, np.arange(n_test)))


def train(run: Path, data: Path, overrides: Sequence[str]) -> float:
    """Train one network, unless it is there; give the CPU seconds of this process."""
    from smartbkg_tf.training.fit import fit

    begin = time.process_time()
    path = [f"run_dir='{run}'", f"data.path='{data}'"]
    fit(compose_settings("train", TrainSettings, [*COMMON, *path, *overrides]), open_dataset(data))
    return time.process_time() - begin


def scores_of(run: Path, data: Path, skim: str) -> tuple[Any, Any]:
    """Score the test sample with the best epoch; always in the same order of events."""
    import tensorflow as tf

    from smartbkg_tf.dataset import stream
    from smartbkg_tf.models.loading import load_model

    dataset = open_dataset(data, [skim])
    model = load_model(run / "model.keras")
    names = [tensor.name for tensor in model.inputs]
    score = tf.function(lambda arrays: model(arrays, training=False), reduce_retracing=True)
    scores, labels = [], []
    for inputs, targets in stream.evaluation_stream(
        dataset, np.arange(len(dataset)), batch_size=512, inputs=names, length_buckets=8
    ):
        scores.append(score(inputs).numpy()[:, 0])
        labels.append(targets.numpy()[:, 0])
    return np.concatenate(scores), np.concatenate(labels)


def one_run(
    folder: Path, skim: str, backbone: Path, size: int, seed: int, arm: str, more: Sequence[str]
) -> None:
    """Train one network for the new skim and keep its scores."""
    name = f"{size}-{seed}"
    run = folder / "runs" / f"{name}-{arm}"
    if (run / "scores.npz").is_file():
        return
    _, epochs, batch = SIZES[size]
    overrides = [
        f"data.skims=[{skim}]",
        f"training.seed={seed}",
        f"training.epochs={epochs}",
        f"training.batch_size={batch}",
        "training.early_stopping=5",
        *ARMS[arm],
        *more,
    ]
    if arm != "scratch":
        overrides.append(f"training.init_from='{backbone}'")
    cpu = train(run, folder / "new" / name / "dataset", overrides)
    scores, labels = scores_of(run, folder / "new" / "test" / "dataset", skim)
    with (run / "history.csv").open(encoding="utf-8") as file:
        epochs_run = sum(1 for _ in csv.DictReader(file))
    write_json(
        run / "result.json",
        {"auc": auc(scores, labels), "cpu_seconds": round(cpu, 1), "epochs": epochs_run},
    )
    np.savez(run / "scores.npz", scores=scores, labels=labels)
    print(f"{run.name}: AUC {auc(scores, labels):.4f}", flush=True)


def table(folder: Path) -> None:
    """Print AUC and paired differences, with the errors of both kinds."""
    print(
        "| passing | arm | seeds | AUC | spread of seeds | minus scratch | test events "
        "| seeds | epochs |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for size in SIZES:
        areas: dict[str, dict[int, float]] = {}
        copies: dict[str, dict[int, Any]] = {}
        epochs: dict[str, list[int]] = {}
        for arm in sorted({p.name.split("-", 2)[2] for p in folder.glob(f"runs/{size}-*-*")}):
            for seed in range(1, SIZES[size][0] + 1):
                run = folder / "runs" / f"{size}-{seed}-{arm}"
                if not (run / "scores.npz").is_file():
                    continue
                with np.load(run / "scores.npz") as kept:
                    s, y = kept["scores"], kept["labels"]
                areas.setdefault(arm, {})[seed] = auc(s, y)
                # The same resamples of the test events for every network: pairs.
                ordered = SortedScores(s, y)
                copies.setdefault(arm, {})[seed] = np.array(
                    [area_under_roc(*ordered.cumulative(c)) for c in resamples(y, 100, seed=5)]
                )
                epochs.setdefault(arm, []).append(read_json(run / "result.json")["epochs"])
        for arm in sorted(areas, key=lambda name: (name != "scratch", name)):
            values = np.array(list(areas[arm].values()))
            both = [seed for seed in areas[arm] if seed in areas.get("scratch", {})]
            cells = ["", "", ""]
            if arm != "scratch" and both:
                gains = np.array([areas[arm][i] - areas["scratch"][i] for i in both])
                resampled = np.mean([copies[arm][i] - copies["scratch"][i] for i in both], axis=0)
                spread = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.nan
                cells = [f"{gains.mean():+.4f}", f"{resampled.std(ddof=1):.4f}", f"{spread:.4f}"]
            spread = values.std(ddof=1) if len(values) > 1 else np.nan
            print(
                f"| {size} | {arm} | {len(values)} | {values.mean():.4f} | {spread:.4f} | "
                f"{' | '.join(cells)} | {np.mean(epochs[arm]):.0f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", required=True, help="glob of training tables with all skims")
    parser.add_argument("--folder", type=Path, required=True, help="data, runs and scores")
    parser.add_argument("--skim", default="fei_semileptonic", help="the new one")
    parser.add_argument(
        "--others",
        default="fei_hadronic_b0,fei_hadronic_bplus,tau_thrust,btox_gamma,low_multiplicity",
        help="those of the backbone, the commonest last",
    )
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="passing events")
    parser.add_argument("--arms", default="scratch,layerwise,frozen_branches,frozen")
    parser.add_argument("--pretraining-events", type=int, default=55_000)
    parser.add_argument("--pretraining-epochs", type=int, default=4)
    parser.add_argument("--test-events", type=int, default=30_000)
    parser.add_argument("--only", choices=("data", "backbone", "table"), help="stop after it")
    parser.add_argument("--tag", default="", help="name of runs with other settings")
    parser.add_argument("more", nargs="*", help="settings of the runs, such as KEY=VALUE")
    given = parser.parse_args()
    folder, skims = given.folder.absolute(), given.others.split(",")
    sizes = [int(size) for size in given.sizes.split(",")]
    if given.skim in skims:
        raise SystemExit(f"--others names {given.skim}, which the backbone must not know")
    if given.only == "table":
        table(folder)
        return
    files = sorted(glob.glob(given.tables))
    cut = int(len(files) * SHARE_OF_FILES)
    first = once(
        folder / "others",
        lambda: pretraining_data(folder / "others", files[:cut], skims, given.pretraining_events),
    )
    once(
        folder / "new" / "test",
        lambda: new_skim_data(folder / "new", files[cut:], given.skim, SIZES, given.test_events),
    )
    if given.only == "data":
        return
    load_tensorflow()
    backbone = folder / "backbone"
    if given.arms != "scratch" and not (folder / "backbone.json").is_file():
        epochs = f"training.epochs={given.pretraining_epochs}"
        options = [f"data.skims=[{','.join(skims)}]", epochs, "training/schedule=cosine"]
        options.append("training.schedule.minimum=1e-5")
        cpu = train(backbone, first, options)
        write_json(folder / "backbone.json", {"cpu_seconds": round(cpu, 1)})
        print(f"backbone: {cpu / 60:.1f} CPU-minutes", flush=True)
    if given.only == "backbone":
        return
    for size in sizes:
        for seed in range(1, SIZES[size][0] + 1):
            for arm in given.arms.split(","):
                if given.tag:
                    ARMS[arm + given.tag] = ARMS[arm]
                one_run(folder, given.skim, backbone, size, seed, arm + given.tag, given.more)
    table(folder)


if __name__ == "__main__":
    main()
