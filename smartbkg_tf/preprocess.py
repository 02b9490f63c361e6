"""Step 2: training tables or mDST files become a dataset directory of memory maps.

Examples
--------
::

    python -m smartbkg_tf.preprocess input='tables/*.h5' output=dataset
    python -m smartbkg_tf.preprocess input=a.h5 output=dataset mode=lenient workers=4
    python -m smartbkg_tf.preprocess verify=true output=dataset
"""

from __future__ import annotations

from smartbkg_tf.runtime.command import Command
from smartbkg_tf.settings.preprocessing import PreprocessSettings


def run(settings: PreprocessSettings) -> None:
    """Build a dataset directory, or check one."""
    if settings.verify:
        from smartbkg_tf.dataset.verify import verify_dataset

        verify_dataset(settings.output)
        return
    from smartbkg_tf.dataset.build import build_dataset

    build_dataset(settings)


main = Command("preprocess", PreprocessSettings, run, lists=("input",))

if __name__ == "__main__":
    main()
