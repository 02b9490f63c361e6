"""Step 5: measure and compare trained models on events that they have never seen."""

from __future__ import annotations

from smartbkg_tf.runtime.command import command
from smartbkg_tf.settings.evaluation import EvaluateSettings


def run(settings: EvaluateSettings) -> None:
    """Evaluate models.

    Parameters
    ----------
    settings : EvaluateSettings
        What to evaluate.
    """
    from smartbkg_tf.evaluation.evaluate import evaluate

    evaluate(settings)


main = command("evaluate", EvaluateSettings, run, lists=("runs",))

if __name__ == "__main__":
    main()
