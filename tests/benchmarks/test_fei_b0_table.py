"""The table: rules from validation events, paired errors, rows of several seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.fei_b0.average import mean_logit
from benchmarks.fei_b0.rows import (
    TEST,
    VALIDATION,
    Row,
    Scores,
    folder_of,
    read_row,
    read_scores,
    write_row,
    write_scores,
)
from benchmarks.fei_b0.table import (
    FIGURES,
    as_json,
    decide_on,
    difference,
    find_models,
    markdown,
    measure,
    put_into,
    reference_of,
    shares_of,
    write_table,
)
from benchmarks.resampling import resamples
from smartbkg_tf.errors import InputError
from smartbkg_tf.settings.costs import CostSettings


def sample(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.normal(size=n)
    label = (random.random(n) < 1 / (1 + np.exp(2.0 - 2.0 * truth))).astype(np.int8)
    keys = {
        "experiment": np.full(n, 1003),
        "run": np.full(n, seed),
        "event": random.permutation(n),
        "production": np.full(n, 10),
    }
    return keys, label, truth


def add_model(
    runs: Path, name: str, seed: int, noise: float, kind: str = "network", shift: int = 0
) -> None:
    folder = folder_of(runs, name, seed)
    folder.mkdir(parents=True)
    random = np.random.default_rng([seed, len(name)])
    for file, n, number in ((VALIDATION, 4000, 1), (TEST, 1500, 2 + shift)):
        keys, label, truth = sample(n, number)
        order = random.permutation(n)  # models write events in orders of their own
        scores = 2.0 * truth + noise * random.normal(size=n)
        shuffled = {column: values[order] for column, values in keys.items()}
        write_scores(folder / file, shuffled, label[order], scores[order])
    write_row(
        folder,
        Row(
            name=name,
            seed=seed,
            kind=kind,
            inputs="particles",
            knows_skim=name == "oracle",
            parameters=1234,
            events_per_second=None if kind == "trees" else 500.0,
            cpu_minutes=41.0 if name == "slow" else 10.0,
            passes=3,
            validation_auc=0.9,
        ),
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in (1, 2):
        add_model(tmp_path, "net", seed, 0.5)
    add_model(tmp_path, "trees_a", 1, 1.0, "trees")
    add_model(tmp_path, "trees_b", 1, 2.0, "trees")
    add_model(tmp_path, "oracle", 1, 0.0, "trees")
    add_model(tmp_path, "slow", 1, 3.0)
    return tmp_path


def test_rows_and_scores_come_back(runs: Path) -> None:
    row = read_row(folder_of(runs, "net", 2))
    assert (row.name, row.seed, row.knows_skim) == ("net", 2, False)
    first = read_scores(folder_of(runs, "net", 1) / TEST)
    other = read_scores(folder_of(runs, "trees_b", 1) / TEST)
    assert first.same_events(other)
    assert first.keys[:, 2].tolist() == list(range(1500))
    assert not first.same_events(read_scores(folder_of(runs, "net", 1) / VALIDATION))


def test_figures_are_those_of_a_direct_calculation(runs: Path) -> None:
    models = find_models(runs)
    results = measure(models, number=20)
    model = models["trees_a"][0]
    score, passes = model.test.score, model.test.label == 1
    area, sampling, threshold = results["trees_a"].values[0]
    assert area == pytest.approx(roc_auc_score(passes, score))
    working = decide_on(model.validation)
    p = working.rule.probability(score)
    assert sampling == pytest.approx(1.01 / ((0.011 + p.mean()) * np.mean(1 / p[passes])))
    kept = score >= working.threshold
    expected = CostSettings().threshold_speedup(kept.mean(), kept[passes].mean())
    assert threshold == pytest.approx(expected)
    efficiency = np.mean(model.validation.score[model.validation.label == 1] >= working.threshold)
    assert 0.95 <= efficiency < 0.96


def test_the_bootstrap_is_paired(runs: Path) -> None:
    models = find_models(runs)
    results = measure(models, number=60, seed=5)
    label = models["net"][0].test.label
    net, trees = [], []
    for copies in resamples(label, 60, 5):
        rows = np.repeat(np.arange(len(label)), copies.astype(int))
        areas = [roc_auc_score(label[rows], m.test.score[rows]) for m in models["net"]]
        net.append(np.mean(areas))
        trees.append(roc_auc_score(label[rows], models["trees_a"][0].test.score[rows]))
    found = difference(results["net"], results["trees_a"])["auc"]
    assert found.error == pytest.approx(np.std(np.subtract(net, trees), ddof=1))
    estimates = results["net"].estimates["auc"]
    assert estimates.error == pytest.approx(np.std(net, ddof=1))
    # Both err on the same events: the difference is surer than either.
    assert found.error < estimates.error


def _reruns(runs: Path, path: Path, number: int = 40) -> np.ndarray:
    """Draw labels of the test events again, with their true probabilities."""
    keys, label, truth = sample(1500, 2)
    passes = np.random.default_rng(8).random((1500, number)) < 1 / (
        1 + np.exp(2.0 - 2.0 * truth[:, None])
    )
    stacked = np.stack(list(keys.values()), axis=1)
    np.savez(path, keys=stacked, label=label, passes=passes)
    share: np.ndarray = passes[np.argsort(keys["event"])].mean(axis=1)
    return share


def test_labels_drawn_again_tell_the_same_with_less_chance(runs: Path, tmp_path: Path) -> None:
    expected = _reruns(runs, tmp_path / "reruns.npz")
    models = find_models(runs)
    test = models["net"][0].test
    share = shares_of(tmp_path / "reruns.npz", test)
    np.testing.assert_allclose(share, expected)
    results = measure(models, share=share, number=80, seed=5)
    # Every rerun by itself, with scikit-learn.
    with np.load(tmp_path / "reruns.npz") as kept:
        order = np.argsort(kept["keys"][:, 2])
        passes = kept["passes"][order]
    weights = np.concatenate([share, 1.0 - share])
    area = roc_auc_score(np.repeat([1, 0], 1500), np.tile(test.score, 2), sample_weight=weights)
    found = results["net"].values[0]
    assert found[3] == pytest.approx(area)
    single = np.mean([roc_auc_score(column, test.score) for column in passes.T])
    assert found[3] == pytest.approx(single, abs=0.002)
    p = decide_on(models["net"][0].validation).rule.probability(test.score)
    speedup = 1.01 / ((0.011 + p.mean()) * (share @ (1 / p) / share.sum()))
    assert found[4] == pytest.approx(speedup)
    kept = test.score >= decide_on(models["net"][0].validation).threshold
    expected = CostSettings().threshold_speedup(kept.mean(), share[kept].sum() / share.sum())
    assert found[5] == pytest.approx(expected)
    # The difference is that of the single labels, known better.
    one, many = (difference(results["net"], results["trees_a"])[n] for n in ("auc", "redrawn_auc"))
    assert many.error < 0.6 * one.error
    assert abs(many.value - one.value) < 4.0 * one.error
    text = markdown(results, None)
    assert "redrawn AUC - best trees" in text
    assert len({line.count("|") for line in text.splitlines()}) == 1
    assert "redrawn_auc" in as_json("net", results["net"], ("trees_a", results["trees_a"]))


def test_reruns_of_other_events_are_refused(runs: Path, tmp_path: Path) -> None:
    test = find_models(runs)["net"][0].test
    with pytest.raises(InputError, match="do not exist"):
        shares_of(tmp_path / "none.npz", test)
    keys, label, _ = sample(1500, 3)
    np.savez(
        tmp_path / "other.npz",
        keys=np.stack(list(keys.values()), axis=1),
        label=label,
        passes=np.zeros((1500, 2), bool),
    )
    with pytest.raises(InputError, match="other events or labels"):
        shares_of(tmp_path / "other.npz", test)
    _reruns(runs, tmp_path / "labels.npz")
    with np.load(tmp_path / "labels.npz") as kept:
        arrays = dict(kept)
    arrays["label"][7] ^= 1
    np.savez(tmp_path / "labels.npz", **arrays)
    with pytest.raises(InputError, match="other events or labels"):
        shares_of(tmp_path / "labels.npz", test)
    _reruns(runs, tmp_path / "one.npz")
    with np.load(tmp_path / "one.npz") as kept:
        arrays = dict(kept)
    np.savez(tmp_path / "one.npz", **arrays | {"passes": np.zeros((1500, 3), bool)})
    with pytest.raises(InputError, match="nothing to tell apart"):
        shares_of(tmp_path / "one.npz", test)
    whole = (tmp_path / "labels.npz").read_bytes()
    for n_bytes in (0, 100, len(whole) // 2, len(whole) - 5):
        (tmp_path / "cut.npz").write_bytes(whole[:n_bytes])
        with pytest.raises(InputError, match="no whole file of reruns"):
            shares_of(tmp_path / "cut.npz", test)
    np.savez(tmp_path / "lacks.npz", keys=arrays["keys"], label=arrays["label"])
    with pytest.raises(InputError, match="no whole file of reruns"):
        shares_of(tmp_path / "lacks.npz", test)


def test_rows_are_compared_with_the_best_trees_that_know_as_much(runs: Path) -> None:
    results = measure(find_models(runs), number=5)
    assert next(iter(results)) == "oracle"
    assert reference_of(results, knows_skim=False) == "trees_a"
    assert reference_of(results, knows_skim=True) == "oracle"
    assert reference_of({"net": results["net"]}, knows_skim=False) is None


def test_the_table_says_all(runs: Path, tmp_path: Path) -> None:
    results = measure(find_models(runs), number=5)
    text = write_table(results, None, tmp_path / "out")
    assert text == (tmp_path / "out" / "table.md").read_text()
    assert {p.stem for p in (tmp_path / "out").glob("*.json")} == set(results)
    lines = {line.split("`")[1]: line for line in text.splitlines() if "`" in line}
    assert "spread" in lines["net"]
    assert "reference" in lines["trees_a"]
    assert "reference" in lines["oracle"]
    assert "reference" not in lines["trees_b"]
    assert "over budget" in lines["slow"]
    assert "| yes |" in lines["oracle"]
    assert len({line.count("|") for line in markdown(results, None).splitlines()}) == 1
    values = as_json("net", results["net"], ("trees_a", results["trees_a"]))
    assert values["difference"]["to"] == "trees_a"
    assert [seed["seed"] for seed in values["seeds"]] == [1, 2]
    assert set(values["seed_spread"]) == set(FIGURES)


def test_the_figure_shows_every_row(runs: Path, tmp_path: Path) -> None:
    from benchmarks.fei_b0.plot import draw

    _reruns(runs, tmp_path / "reruns.npz")
    models = find_models(runs)
    share = shares_of(tmp_path / "reruns.npz", models["net"][0].test)
    for name, given in (("own", None), ("redrawn", share)):
        write_table(measure(models, share=given, number=5), None, tmp_path / name)
        draw(runs, tmp_path / name, ["net", "trees_a"], tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert (tmp_path / "own.png").read_bytes() != (tmp_path / "redrawn.png").read_bytes()


def test_models_of_other_events_are_refused(runs: Path) -> None:
    add_model(runs, "foreign", 1, 1.0, shift=5)
    with pytest.raises(InputError, match="other test events"):
        find_models(runs)


def test_the_table_is_put_into_a_document(tmp_path: Path) -> None:
    document = tmp_path / "models.md"
    document.write_text("a\n<!-- quality table -->\nold\n<!-- end of quality table -->\nb\n")
    for text in ("| new |\n", "| newer |\n"):
        put_into(document, text)
    assert document.read_text() == (
        "a\n<!-- quality table -->\n| newer |\n<!-- end of quality table -->\nb\n"
    )
    document.write_text("nothing")
    with pytest.raises(InputError, match="lacks the lines"):
        put_into(document, "| new |\n")


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no"):
        find_models(tmp_path)


def test_averages_weigh_calibrated_logits() -> None:
    keys = np.zeros((3, 4), dtype=np.int64)
    label = np.array([0, 1, 0], dtype=np.int8)
    first = Scores(keys, label, np.array([1.0, 2.0, 3.0]))
    second = Scores(keys, label, np.array([0.0, 0.0, 6.0]))
    found = mean_logit([first, second], [(2.0, 1.0), (0.5, -1.0)])
    assert found.tolist() == [1.0, 2.0, 4.5]
    other = Scores(keys, np.array([1, 1, 0], dtype=np.int8), second.score)
    with pytest.raises(InputError, match="different events"):
        mean_logit([first, other], [(1.0, 0.0), (1.0, 0.0)])
