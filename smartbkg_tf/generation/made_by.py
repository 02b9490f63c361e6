"""What decides about tables apart from settings and input: versions and code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smartbkg_tf.runtime.code_digest import code_digests
from smartbkg_tf.runtime.versions import versions
from smartbkg_tf.settings.generation import ProduceSettings

#: Software on which the events depend; the last three are physics input.
_MAKERS = ("smartbkg_tf", "pythia8mc", "decaylanguage", "particle")

_PACKAGES = ("smartbkg_tf.generation", "smartbkg_tf.events")


def made_by(
    settings: ProduceSettings, *, modules: Sequence[str] = (), packages: Sequence[str] = ()
) -> dict[str, Any]:
    """Tell versions and code by which tables are made: package -> version, module -> digest.

    The source and the skims may be a user's own. `modules` and `packages` are code that matters
    besides, as in `code_digests`.
    """
    chosen = [type(part).__module__ for part in (settings.source, *settings.skim.values())]
    code = code_digests(
        ["smartbkg_tf.generation.chunks", *chosen, *modules], [*_PACKAGES, *packages]
    )
    return {"versions": versions(_MAKERS), "code": code}
