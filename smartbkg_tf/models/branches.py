"""Branches: from a part of the event to one vector. One class each, fields are its settings.

Nothing here imports Keras before `build` is called: the classes serve configuration and ``--help``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.settings.base import Field, settings
from smartbkg_tf.settings.plugins import Plugin

if TYPE_CHECKING:
    from smartbkg_tf.models.inputs import ModelInputs

#: What stands between the layers.
Activation = Literal["leaky_relu", "relu", "silu", "gelu"]

PositiveInt = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


def sizes(*values: int) -> Any:
    """Declare a list of sizes with its default."""
    return Field(default_factory=lambda: list(values), min_length=1)


@settings
class Branch(Plugin):
    """A part of a network that turns a part of the event into one vector.

    Inherit `ParticleBranch`, `DecayBranch` or `smartbkg_tf.models.head_inputs.HeadInput`, declare
    sizes as annotated fields, and write `build`.

    Attributes
    ----------
    name : str
        Short name, for tables and names of models; that of the class by default.
    reads : tuple of str
        The arrays that it needs, of `smartbkg_tf.models.inputs.INPUTS`.
    """

    name: ClassVar[str] = ""
    reads: ClassVar[tuple[str, ...]] = ()

    @property
    def label(self) -> str:
        """The short name."""
        return self.name or type(self).__name__

    def build(self, event: ModelInputs) -> Any:
        """Build the branch; import Keras here.

        Parameters
        ----------
        event : smartbkg_tf.models.inputs.ModelInputs
            Inputs of the network, and what is made of them: `particles`, `mothers`, `codes`, ...

        Returns
        -------
        KerasTensor [batch, channels]
            What the head reads.
        """
        raise ConfigurationError(
            f"{type(self).__name__} does not write build(self, event)",
            next_step=f"see the examples in {type(self).__mro__[1].__module__} and docs/models.md",
        )

    def must_divide(self, what: str, divisor: int, number: int) -> None:
        """Refuse a size that does not divide another."""
        if number % divisor:
            raise ConfigurationError(f"{self.label}: {what}={divisor} does not divide {number}")


@settings
class ParticleBranch(Branch):
    """Base of branches that read the particles.

    Parameters
    ----------
    embedding : int, default 8
        Dimensions of the embedding of a PDG code.
    share_embedding : bool, default True
        One embedding for a particle and its mother, or two.
    activation : {"leaky_relu", "relu", "silu", "gelu"}
        Behind the layers.

    Examples
    --------
    A file ``my_module.py`` in the current folder::

        from smartbkg_tf.models.branches import ParticleBranch
        from smartbkg_tf.settings.base import Field, settings

        @settings
        class MyBranch(ParticleBranch):
            "One dense layer for every particle, and their mean."

            width: int = Field(default=64, gt=0)

            def build(self, event):
                import keras

                x, mask = event.particles(embedding=self.embedding)
                x = keras.layers.Dense(self.width, activation="relu", name="mine")(x)
                return event.average(x, mask)

    trains with::

        python -m smartbkg_tf.train model=resnet model.inputs=particles \
            model.particles._target_=my_module.MyBranch model.particles.width=3
    """

    reads: ClassVar[tuple[str, ...]] = ("particle_input", "pdg_input", "mother_pdg_input")

    embedding: PositiveInt = 8
    share_embedding: bool = True
    activation: Activation = "leaky_relu"

    @property
    def embeddings(self) -> dict[str, Any]:
        """The arguments of `ModelInputs.particles` and `ModelInputs.packed_particles`."""
        return {"embedding": self.embedding, "share_embedding": self.share_embedding}


@settings
class DecayBranch(Branch):
    """Base of branches that read the decay string.

    Parameters
    ----------
    embedding : int, default 8
        Dimensions of the embedding of a token.
    activation : {"leaky_relu", "relu", "silu", "gelu"}
        Behind the layers.
    """

    reads: ClassVar[tuple[str, ...]] = ("decay_input",)

    embedding: PositiveInt = 8
    activation: Activation = "leaky_relu"
