"""Step 5: measure and compare trained models on events that they have never seen."""

from __future__ import annotations

from smartbkg_tf.runtime.command import Command
from smartbkg_tf.settings.evaluation import EvaluateSettings


def run(settings: EvaluateSettings) -> None:
    """Evaluate models."""
    from smartbkg_tf.evaluation.evaluate import evaluate

    evaluate(settings)


main = Command("evaluate", EvaluateSettings, run, lists=("runs", "observables"))

if __name__ == "__main__":
    main()
