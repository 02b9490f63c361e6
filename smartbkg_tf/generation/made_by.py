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
    """Tell versions and code by which the tables of these settings are made.

    Parameters
    ----------
    settings : ProduceSettings
        With the skims, whose classes may be a user's own.
    modules, packages : sequence of str
        Code that matters besides that of the tables, as in `code_digests`.

    Returns
    -------
    dict
        ``{"versions": {package: version}, "code": {module: digest}}``.
    """
    skims = [str(values["_target_"]).rpartition(".")[0] for values in settings.skim.values()]
    code = code_digests(
        ["smartbkg_tf.generation.chunks", *skims, *modules], [*_PACKAGES, *packages]
    )
    return {"versions": versions(_MAKERS), "code": code}
