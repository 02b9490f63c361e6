r"""Step 1: events from the built-in source or from mDST files become training tables.

Examples
--------
::

    python -m smartbkg_tf.produce event_type=mixed n_events=10000 workers=2 output=tables
    python -m smartbkg_tf.produce event_type=all n_events=20000 skim=all output=tables
    python -m smartbkg_tf.produce source=mdst input='mdst/*.root' skim_files='skim/*.root' \
        event_type=mixed output=tables
"""

from __future__ import annotations

from smartbkg_tf.runtime.command import Command
from smartbkg_tf.settings.generation import ProduceSettings


def run(settings: ProduceSettings) -> None:
    """Produce training tables."""
    from smartbkg_tf.generation.production import produce

    produce(settings)


main = Command("produce", ProduceSettings, run, lists=("input", "skim_files", "event_type"))

if __name__ == "__main__":
    main()
