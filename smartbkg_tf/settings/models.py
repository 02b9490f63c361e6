"""Settings of the networks: ``conf/model`` chooses branches and sizes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import field_validator

from smartbkg_tf.settings.base import Field, settings
from smartbkg_tf.settings.plugins import plugin

#: Which parts of an event a network reads.
Inputs = Literal["combined", "particles", "decay"]


@settings
class ForestSettings:
    """Boosted trees on generic quantities of the event, fitted by scikit-learn before the training.

    Parameters
    ----------
    trees : int, default 500
        Most trees of a skim; validation events choose how many of them are used.
    leaves : int, default 16
        Most leaves of a tree.
    learning_rate : float, default 0.05
        Of the boosting.
    min_samples : int, default 20
        Fewest training events in a leaf.
    regularisation : float, default 10.0
        L2 penalty on the values of leaves.
    share : float, default 0.3
        Share of the quantities among which each split chooses.
    max_events : int, default 200000
        Most training events that are read for the fit.
    answers : str, optional
        A trained network whose logits the trees read beside the quantities: its run directory, or
        ``preset:belle2`` for the one that comes with the package. It does not learn.
    """

    trees: int = Field(default=500, gt=0)
    leaves: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=0.05, gt=0)
    min_samples: int = Field(default=20, gt=0)
    regularisation: float = Field(default=10.0, ge=0)
    share: float = Field(default=0.3, gt=0, le=1)
    max_events: int = Field(default=200_000, gt=0)
    answers: str | None = Field(default=None, min_length=1)


@settings
class HeadSettings:
    """What stands between the branches and the output, sizes as in the original.

    Parameters
    ----------
    units : list of int, default [256, 128]
        Widths of the dense layers.
    dropout : float, default 0.4
        Share of the first layer's outputs dropped in training.
    activation : {"leaky_relu", "relu", "silu", "gelu"}
        After every dense layer.
    inputs : dict of str to HeadInput
        What it reads beside the branches, by any name: classes of
        `smartbkg_tf.models.head_inputs`, chosen by ``model/head/inputs=[summaries,...]``.
    forest : ForestSettings, optional
        Boosted trees whose logits are averaged with the network's; ``model.head.forest={}`` takes
        the defaults.
    """

    units: list[Annotated[int, Field(gt=0)]] = Field(default_factory=lambda: [256, 128])
    dropout: float = Field(default=0.4, ge=0, lt=1)
    activation: Literal["leaky_relu", "relu", "silu", "gelu"] = "leaky_relu"
    inputs: dict[str, Annotated[Any, plugin("smartbkg_tf.models.head_inputs.HeadInput")]] = Field(
        default_factory=dict
    )
    forest: ForestSettings | None = None


@settings
class ModelSettings:
    """A network: its class, and the parts that it is made of.

    Parameters
    ----------
    target : str
        Import path of the class, ``module.Class``; the key ``_target_`` in a configuration.
    name : str, default ""
        Short name, for folders and tables; a custom class goes by its own.
    inputs : {"combined", "particles", "decay"}
        Which branches there are: both, the particle list, or the decay string.
    event_type : bool, default False
        Tell the network the type of the event: mixed, charged, uubar, ...
    particles : ParticleBranch, or None
        The branch of the particles, chosen by ``model/particles=NAME`` or ``_target_``.
    decay : DecayBranch, or None
        The branch of the decay string, chosen by ``model/decay=NAME`` or ``_target_``.
    head : HeadSettings
        What stands between the branches and the output.
    parameters : dict of str to object
        Further arguments of the constructor of the class.
    """

    target: str = Field(alias="_target_", min_length=1)
    name: str = ""
    inputs: Inputs = "combined"
    event_type: bool = False
    particles: Annotated[Any, plugin("smartbkg_tf.models.built_in.ParticleBranch")] | None = None
    decay: Annotated[Any, plugin("smartbkg_tf.models.built_in.DecayBranch")] | None = None
    head: HeadSettings = Field(default_factory=HeadSettings)
    parameters: dict[str, Any] = Field(default_factory=dict)

    @field_validator("target")
    @classmethod
    def _is_a_path(cls, target: str) -> str:
        parts = target.split(".")
        if len(parts) < 2 or not all(part.isidentifier() for part in parts):
            raise ValueError(
                f"'{target}' is not an import path; write module.Class, e.g. my_module.MyNet"
            )
        return target
