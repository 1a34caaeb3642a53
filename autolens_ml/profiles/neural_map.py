"""What neural profiles of light and of mass share: a decoder, and latents as free parameters."""

from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import autofit as af
import numpy as np
from autogalaxy import exc

from autolens_ml.exceptions import NetworkError
from autolens_ml.profiles.decoder import Decoder, decoder_from

__all__ = ["FREE_LATENTS", "NeuralMap", "latent_priors"]

# Latents of a network whose number is not known, which is that of those that ship.
_N_LATENTS = 16


def latent_priors(n: int) -> af.TuplePrior:
    """Free latents: `n` independent priors, N(0, 1) where no configuration says otherwise.

    Their names, ``latents_00`` on, have two digits: autofit sorts the members of a tuple by name.
    """
    names = [f"latents_{i:02d}" for i in range(n)]
    return af.TuplePrior(
        **{name: af.Prior.for_class_and_attribute_name(NeuralMap, name) for name in names}
    )


class _FreeLatents:
    """The default of a constructor: the origin for an instance, priors for an `af.Model`.

    autofit takes the `default` of a default, and asks anew for every model.
    """

    @property
    def default(self) -> af.TuplePrior:
        return latent_priors(_N_LATENTS)

    def __repr__(self) -> str:
        return "zeros"


FREE_LATENTS: Any = _FreeLatents()


class NeuralMap:
    """A map that a stored decoder makes of latents; a base beside that of PyAutoLens.

    Attributes
    ----------
    network : str
        Name or path of the network.
    latents : tuple
        The latents, as many as the network has.
    sha256 : str
        Of the network's weights.
    """

    _quantity: ClassVar[str]

    @classmethod
    def model(cls, network: str | Path, **arguments: Any) -> af.Model:
        """A model component with the latents of a network free, bound to its present weights.

        ``af.Model(cls, network=...)`` makes the same of a network with 16 latents, but takes
        whatever weights are there when it is used.

        Parameters
        ----------
        network
            Name of a shipped network, or a path of a stored one.
        arguments
            Other arguments of the profile, as `af.Model` takes them.

        Raises
        ------
        NetworkError
            If there is no such network, or it is of something else.
        """
        decoder = decoder_from(str(network), cls._quantity)
        model = af.Model(cls, network=str(network), sha256=decoder.sha256, **arguments)
        if "latents" not in arguments:
            # Made last, they come last among the parameters.
            model.latents = latent_priors(decoder.latent_dim)
        return model

    def _set_network(self, network: str | Path, latents: Any, sha256: str | None) -> None:
        """Set the attributes.

        Raises
        ------
        NetworkError
            If there is no such network, it is of something else, or of other weights.
        ModelParameterException
            If the network has another number of latents.
        """
        if not isinstance(network, str | Path):
            raise NetworkError(
                f"network must be the name of a shipped network or a path, not {network!r}"
            )
        self.network = str(network)
        decoder = decoder_from(self.network, self._quantity, sha256)
        self.sha256 = decoder.sha256
        n = decoder.latent_dim
        self.latents = (0.0,) * n if latents is FREE_LATENTS else tuple(latents)
        if len(self.latents) != n:
            name = type(self).__name__
            raise exc.ModelParameterException(
                f"latents must be {n} numbers, as the network {self.network!r} has latents; got "
                f"{len(self.latents)}. Make the component by {name}.model({self.network!r})"
            )

    @property
    def decoder(self) -> Decoder:
        """The decoder of the network.

        Raises
        ------
        NetworkError
            If the network is not that of `sha256` any more.
        """
        return decoder_from(self.network, self._quantity, self.sha256)

    def _map(self, xp: ModuleType = np) -> Any:
        """The decoded map, shape (size, size)."""
        return self.decoder.map_from(self.latents, xp=xp)
