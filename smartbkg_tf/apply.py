r"""Score events with a trained model, and decide which of them are simulated.

python -m smartbkg_tf.apply run=RUN_DIR input='data/*.h5' output=predictions.parquet workers=4
python -m smartbkg_tf.apply run=model.onnx input=events.root output=p.parquet \
        method=threshold threshold=0.0 events_output=kept.csv
"""

from __future__ import annotations

from smartbkg_tf.runtime.command import Command
from smartbkg_tf.settings.filtering import ApplySettings


def run(settings: ApplySettings) -> None:
    """Apply a model."""
    from smartbkg_tf.filtering.apply import apply
    from smartbkg_tf.runtime.threads import one_thread

    one_thread()  # as every worker
    apply(settings)


main = Command("apply", ApplySettings, run, lists=("input",), aliases={"model": "run"})

if __name__ == "__main__":
    main()
