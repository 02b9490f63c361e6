"""Write a trained model in a form that runs without TensorFlow."""

from __future__ import annotations

from smartbkg_tf.runtime.command import Command
from smartbkg_tf.settings.filtering import ExportSettings


def run(settings: ExportSettings) -> None:
    """Export a model."""
    from smartbkg_tf.filtering.export import export

    export(settings)


main = Command("export", ExportSettings, run)

if __name__ == "__main__":
    main()
