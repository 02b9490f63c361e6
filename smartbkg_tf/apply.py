"""Step 4: score events with a trained model, and decide which of them are simulated."""

from __future__ import annotations

from smartbkg_tf.runtime.command import command
from smartbkg_tf.settings.filtering import ApplySettings


def run(settings: ApplySettings) -> None:
    """Apply a model.

    Parameters
    ----------
    settings : ApplySettings
        What to apply to what.
    """
    from smartbkg_tf.filtering.apply import apply

    apply(settings)


main = command("apply", ApplySettings, run)

if __name__ == "__main__":
    main()
