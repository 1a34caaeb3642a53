"""A network without training: moments of galaxies, shrunk by their noise as a posterior mean is."""

import torch

from autolens_ml.networks.shear import ShearNetwork, noise_from, psf_moments
from autolens_ml.simulate.shear_population import ShearPopulation

# Round PSFs of one size blur galaxies of one profile: moments respond to shear alike for all.
POPULATION = ShearPopulation(
    size=32,
    galaxies={"sersic": 1.0},
    sersic_index=0.5,
    half_light_radius=(0.3, 0.4),
    ellipticity_rms=0.2,
    max_ellipticity=0.5,
    max_shear=0.0,
    psfs={"gaussian": 1.0},
    psf_fwhm=0.3,
    max_psf_shear=0.05,
    signal_to_noise=(30.0, 200.0),
)
PRIOR_VARIANCE = 0.04


class MomentNetwork(ShearNetwork):
    """Moments in a round Gaussian; the same stages as any calibrated network."""

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            super().__init__(
                prior_variance=PRIOR_VARIANCE, size=POPULATION.size, widths=(1, 1, 1, 1)
            )
        self.eval()

    def forward(self, stamps, psfs):
        signal = torch.linalg.vector_norm(stamps, dim=(1, 2)) / noise_from(stamps)
        # The norm of a stamp is that of the galaxy and of 32 x 32 pixels of noise.
        squared = (signal**2 - stamps[0].numel()).clamp(min=100.0)
        log_odds = torch.log(40.0 / squared) - 1.0
        return 0.6 * torch.sigmoid(-log_odds)[:, None] * psf_moments(stamps), log_odds
