"""``python -m smartbkg_tf.train``: a dataset directory -> a run directory.

Without ``data.path`` a small sample is produced and preprocessed first, and kept for the
next time.
"""

from __future__ import annotations

import shutil

from smartbkg_tf.runtime.command import Command
from smartbkg_tf.settings.training import TrainSettings


def run(settings: TrainSettings) -> None:
    """Prepare the data, train, predict and evaluate."""
    from smartbkg_tf.runtime.files import write_json
    from smartbkg_tf.runtime.progress import say
    from smartbkg_tf.runtime.quiet import load_tensorflow
    from smartbkg_tf.training.data import prepare_dataset
    from smartbkg_tf.training.devices import check_devices
    from smartbkg_tf.training.provenance import require_commit
    from smartbkg_tf.training.run_folder import check_run_folder, training_lock

    check_run_folder(settings)
    if settings.strict_repro:
        require_commit()
    check_devices(settings.training)
    load_tensorflow()
    from smartbkg_tf.models.registry import check_model

    # Everything that needs no data is checked before the long steps.
    check_model(settings.model)
    path = prepare_dataset(settings)

    from smartbkg_tf.dataset.dataset import open_dataset
    from smartbkg_tf.evaluation.evaluate import evaluate_run
    from smartbkg_tf.filtering.apply import predict_split
    from smartbkg_tf.training.fit import fit

    dataset = open_dataset(path, settings.data.skims)
    run = fit(settings, dataset)
    with training_lock(run):
        say("predicting the test events")
        predict_split(run, dataset, split="test", filter_fit=settings.filter)
        metrics = evaluate_run(run)
        auc, error = float(metrics["auc"]), float(metrics["auc_error"])
        write_json(run.done, {"auc": auc, "auc_error": error})
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    skim = dataset.label_names[0]
    say(f"AUC of {skim} on test events: {auc:.4f} +- {error:.4f}")
    say(str(run.path))


main = Command("train", TrainSettings, run, lists=("data.skims",))

if __name__ == "__main__":
    main()
