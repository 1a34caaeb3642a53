"""The task of Hezaveh et al. 2017: its batches, losses, sets and presets."""

from dataclasses import replace

import autolens as al
import numpy as np
import pytest
import torch
from astropy.io import fits

from autolens_ml.exceptions import DataError, NetworkError, OptionError
from autolens_ml.inference.amortised import load_network
from autolens_ml.networks.heads import GaussianMixture
from autolens_ml.networks.posterior import PosteriorNetwork
from autolens_ml.profiles.light import PixelLight
from autolens_ml.simulate.effects import BackgroundNoise, LensLightResidual, Sequence, Shift
from autolens_ml.simulate.ensai_conventions import ENSAI_PARAMETERS, ensai_from_isothermal
from autolens_ml.simulate.instrument import INSTRUMENTS
from autolens_ml.simulate.observation import observation_from
from autolens_ml.training import arc_parameters
from autolens_ml.training.arc_parameters import ArcBatch, ArcParameters, ArcSource, _turned
from autolens_ml.training.task import task_of
from tests.training.arcs import PIXEL_SCALE, SIDE, population, preset, small_arcs, untrained

# Hardly any noise, of the same size everywhere.
QUIET = BackgroundNoise(rms=1e-5, correlated=0.0)


@pytest.fixture(scope="module", autouse=True)
def small():
    with small_arcs():
        yield


@pytest.fixture(scope="module")
def task():
    return task_of(preset())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sets")


@pytest.fixture(scope="module")
def sources(task, folder):
    return task.sources(folder)


@pytest.fixture(scope="module")
def batch(sources) -> ArcBatch:
    return batch_of(sources["validation"], 24)


def sources_of(folder) -> dict[str, ArcSource]:
    return task_of(preset()).sources(folder)


def batch_of(source, n, seed=1) -> ArcBatch:
    return source.batch_from(np.arange(n), np.random.default_rng(seed))


# A lens without any symmetry: parameters, and centre, angle and pixel of the source.
LENS = np.array([0.11, -0.04, 0.2, -0.1, 1.3])
SOURCE = (0.35, -0.2, 20.0, 0.05)
MAP = np.random.default_rng(1).uniform(0.1, 1.0, (12, 12))


def simulated(lens=LENS, source=SOURCE, values=MAP, shift=(0.0, 0.0)) -> np.ndarray:
    """Its arcs by PyAutoLens, with everything moved by a shift (y, x) in arcsec."""
    (y, x), (up, right) = source[:2], shift
    mass = al.mp.Isothermal(
        centre=(lens[0] + up, lens[1] + right), ell_comps=tuple(lens[2:4]), einstein_radius=lens[4]
    )
    light = PixelLight(
        values=values,
        pixel_scale=1.0,
        centre=(y + up, x + right),
        position_angle=source[2],
        scale=source[3],
    )
    tracer = al.Tracer(
        galaxies=[al.Galaxy(redshift=0.5, mass=mass), al.Galaxy(redshift=1.0, bulge=light)]
    )
    grid = al.Grid2D.uniform((SIDE, SIDE), PIXEL_SCALE, over_sample_size=2)
    image = tracer.image_2d_from(grid).native.array
    return image / image.max()


def source_of(images, parameters, **options) -> ArcSource:
    space = task_of(preset()).space
    return ArcSource(np.float32(images), np.float32(parameters), space, PIXEL_SCALE, **options)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flip", range(2))
def test_a_turned_image_is_that_of_the_turned_lens(flip, turns):
    y, x, angle, pixel = SOURCE
    values = MAP
    if flip:  # the galaxy is mirrored with the rest
        y, angle, values = -y, -angle, MAP[::-1]
    for _ in range(turns):
        y, x, angle = x, -y, angle + 90.0
    images, parameters = _turned(torch.tensor(simulated()[None]), LENS[None], flip, turns)
    expected = simulated(parameters[0], (y, x, angle, pixel), values)
    np.testing.assert_allclose(images[0], expected, atol=1e-6)
    if flip or turns:
        assert np.abs(images[0].numpy() - simulated()).max() > 0.5


def test_augmented_batches_are_turned(monkeypatch):
    """The truths go with the images; every turn occurs."""
    monkeypatch.setattr(arc_parameters, "ENSAI_EFFECTS", Sequence((QUIET,)))
    source = source_of(simulated()[None], LENS[None], augment=True)
    turned = [
        _turned(torch.tensor(simulated()[None]), LENS[None], flip, turns)
        for flip in range(2)
        for turns in range(4)
    ]
    seen = set()
    for seed in range(60):
        one = batch_of(source, 1, seed)
        image = one.images / one.images.amax()
        (k,) = (k for k, (arc, _) in enumerate(turned) if (arc - image).abs().max() < 1e-3)
        np.testing.assert_allclose(one.parameters, turned[k][1], rtol=1e-5)
        seen.add(k)
    assert seen == set(range(8))


def test_a_shift_moves_the_lens(monkeypatch):
    shift = Sequence((Shift(pixels=2, keep=0.0), QUIET))
    monkeypatch.setattr(arc_parameters, "ENSAI_EFFECTS", shift)
    n = 12
    source = source_of(np.repeat(simulated()[None], n, 0), np.repeat(LENS[None], n, 0))
    batch = batch_of(source, n)
    moved = batch.parameters[:, :2].numpy() - LENS[:2]
    pixels = np.rint(moved / PIXEL_SCALE)
    np.testing.assert_allclose(moved, pixels * PIXEL_SCALE, atol=1e-6)
    assert {-2, 2} <= set(pixels[:, 0]) and {-2, 2} <= set(pixels[:, 1])
    np.testing.assert_allclose(batch.parameters[:, 2:], np.repeat(LENS[None, 2:], n, 0), rtol=1e-6)
    inside = (slice(2, -2), slice(2, -2))
    for image, by in zip(batch.images.numpy(), moved, strict=True):
        expected = simulated(shift=by)[inside]
        # In units of noise of 1e-5.
        np.testing.assert_allclose(1e-5 * image[inside], expected, atol=1e-4)


def test_lens_light_is_where_the_lens_is(monkeypatch):
    light = Sequence((LensLightResidual(rms=1.0), QUIET))
    monkeypatch.setattr(arc_parameters, "ENSAI_EFFECTS", light)
    lens = np.array([3.0 * PIXEL_SCALE, -5.0 * PIXEL_SCALE, 0.0, 0.0, 1.0])
    source = source_of(np.zeros((8, SIDE, SIDE)), np.repeat(lens[None], 8, 0))
    for image in batch_of(source, 8).images.abs():
        row, column = divmod(int(image.argmax()), SIDE)
        # The middle of the frame is a corner of four pixels.
        assert SIDE // 2 - 1 - row in (2, 3) and column - SIDE // 2 in (-6, -5)


def test_batches(batch, task, sources):
    for name in ("images", "noise", "mask"):
        assert getattr(batch, name).shape == (24, SIDE, SIDE)
    for name, value in vars(batch).items():
        assert value.dtype == torch.float32 and value.isfinite().all(), name
    # In units of the noise of an empty pixel; nothing is seen under the mask.
    np.testing.assert_array_equal(batch.noise.amin((1, 2)), 1.0)
    assert batch.mask.unique().tolist() == [0.0, 1.0]
    assert not batch.images[batch.mask == 0].any()
    assert batch.images.amax((1, 2)).min() > 3.0
    # The widths of Gaussians of 0.1 to 2 pixels; none is narrower than pixels can show.
    assert 0.5 == batch.psf_width.min() < 2.0 < batch.psf_width.max() < 4.71
    # Latents are those of the parameters, and these are as stored but for whole pixels.
    latents = task.space.latent_from(batch.parameters.double().numpy())
    np.testing.assert_allclose(batch.latents, latents, atol=1e-3)
    stored = sources["validation"].parameters[:24]
    np.testing.assert_allclose(batch.parameters[:, 2:], stored[:, 2:], rtol=1e-6)
    assert np.abs(batch.latents.numpy()).max() < 5.0


def test_batches_depend_on_the_generator_alone(batch, sources):
    again = batch_of(sources["validation"], 24)
    for name, value in vars(batch).items():
        assert torch.equal(value, getattr(again, name)), name
    other = batch_of(sources["validation"], 24, seed=2)
    assert not torch.equal(other.images, batch.images)


def test_effects_of_surveys_follow_those_of_ensai(batch, folder):
    """In training and in validation: noise of lens light in image and map, and apertures."""
    survey = task_of(preset(data={"effects": "survey"})).sources(folder)
    assert not np.array_equal(
        batch_of(survey["training"], 8).noise, batch_of(sources_of(folder)["training"], 8).noise
    )
    seen = batch_of(survey["validation"], 24)
    assert torch.equal(seen.parameters, batch.parameters)
    assert (seen.noise >= batch.noise - 1e-4).all()
    risen = (seen.noise.amax((1, 2)) > 1.05 * batch.noise.amax((1, 2))).sum()
    masked = (seen.mask < batch.mask).flatten(1).any(1).sum()
    assert 4 < risen < 24 and 0 < masked < 24
    assert not seen.images[seen.mask == 0].any()


def test_networks_see_batches_as_they_see_data(batch):
    """In training as in a fit, whatever the units of the data."""
    instrument = INSTRUMENTS["ensai"]
    seen = []
    for row in range(len(batch.images)):
        image, noise, mask = (
            getattr(batch, name)[row].double().numpy() for name in ("images", "noise", "mask")
        )
        width = float(batch.psf_width[row]) * PIXEL_SCALE
        dataset = replace(instrument, psf_fwhm=(width, width), psf_shape=None).imaging_from(
            0.03 * image, 0.03 * noise, width
        )
        dataset = dataset.apply_mask(al.Mask2D(mask == 0, pixel_scales=PIXEL_SCALE))
        seen.append(observation_from(dataset, instrument.shape, PIXEL_SCALE))
    again = [
        torch.tensor(np.stack([getattr(one, name) for one in seen])).float()
        for name in ("images", "noise", "mask", "psf_width")
    ]
    assert torch.equal(again[2], batch.mask)
    covered = batch.mask > 0
    for value, expected in zip(again[:2], batch.inputs[:2], strict=True):
        torch.testing.assert_close(value[covered], expected[covered], rtol=0.03, atol=0.03)
    torch.testing.assert_close(again[3], batch.psf_width, rtol=0.01, atol=0.02)
    torch.manual_seed(1)
    small = {"widths": [8, 8], "depths": [1, 1], "n_features": 16, "map_size": 2}
    network = PosteriorNetwork(5, backbone_options=small).eval()
    with torch.no_grad():
        expected, got = (network.features(*inputs) for inputs in (batch.inputs, again))
    assert (got - expected).abs().max() < 0.1 * expected.std()


# Losses.


class Certain(torch.nn.Module):
    """A network that says what it is told to."""

    def __init__(self, mean: torch.Tensor) -> None:
        super().__init__()
        self.mean = mean

    def forward(self, *inputs: torch.Tensor) -> GaussianMixture:
        n, d = self.mean.shape
        roots = torch.eye(d).expand(n, 1, d, d)
        return GaussianMixture(torch.zeros(n, 1), self.mean[:, None], roots)


def test_loss_is_minus_the_mean_log_density(task, batch):
    network = Certain(batch.latents + 0.5)
    expected = 0.5 * 5 * (0.25 + np.log(2.0 * np.pi))
    assert task.loss(network, batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_flip_invariant_loss_knows_no_sign(batch):
    task = task_of(preset(data={"loss": "flip-invariant"}))
    truths = torch.tensor(ensai_from_isothermal(batch.parameters.numpy())).float()
    assert task.loss(Certain(truths), batch).item() == pytest.approx(0.0, abs=1e-9)
    flipped = truths.clone()
    flipped[::2, 1:3] *= -1.0
    assert task.loss(Certain(flipped), batch).item() == pytest.approx(0.0, abs=1e-9)
    wrong = truths + torch.tensor([0.1, 0.0, 0.0, 0.0, 0.0])
    loss = task.loss(Certain(wrong), batch)
    turned = wrong * torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0])
    assert task.loss(Certain(turned), batch).item() == pytest.approx(loss.item(), rel=1e-5)
    # All parameters count by their scatter: an error of one standard deviation is one fifth.
    scatter = ArcParameters(preset()).population
    radius, *_ = ensai_from_isothermal(scatter._drawn(4000, np.random.default_rng(1))[0]).T
    assert loss.item() == pytest.approx(0.2 * (0.1 / radius.std()) ** 2, rel=0.05)


def test_flip_invariant_networks_are_no_posteriors(tmp_path):
    card = untrained(tmp_path, "numbers", 1, data={"loss": "flip-invariant"})
    assert card.outputs["parameters"] == list(ENSAI_PARAMETERS)
    with pytest.raises(NetworkError, match="its prior has no parameter einstein_radius, e_x"):
        load_network(card.path)


# After training.


@torch.no_grad()
def test_dropout_and_features_are_learned_in_the_end(task, sources):
    torch.manual_seed(2)
    network = task.network().eval()
    before = float(network.typical_distance)
    task.finish(network, sources["validation"])
    assert 0.0 < float(network.typical_distance) < 1e3 < before
    # Random weights are wrong and sure.
    assert float(network.dropout_rate) > 0.0
    numbers = task_of(preset(data={"loss": "flip-invariant"}))
    network = numbers.network().eval()
    numbers.finish(network, sources["validation"])
    assert float(network.dropout_rate) == 0.0 and float(network.typical_distance) < 1e3
    plain = task_of(preset(network={"backbone_options": {"name": "ensai-6", "image_size": SIDE}}))
    network = plain.network().eval()
    plain.finish(network, sources["validation"])
    assert not network.has_dropout and float(network.typical_distance) < 1e3


@torch.no_grad()
def test_orientations_are_learned_in_the_end(sources):
    """What a turned batch would be, for each of them."""
    task = task_of(preset(network={"orientations": 8}))
    network = task.network().eval()
    assert [(o.flip, o.turns) for o in network.orientations] == [
        (bool(flip), turns) for flip in range(2) for turns in range(4)
    ]
    for o in network.orientations:
        _, moved = _turned(torch.tensor(simulated()[None]), LENS[None], int(o.flip), o.turns)
        z, turned = (task.space.latent_from(lens) for lens in (LENS[None], moved))
        np.testing.assert_allclose(turned, np.array(o.signs) * z[:, list(o.order)], atol=1e-9)
    task.finish(network, sources["validation"])
    assert (network.width_scale > 0.0).all()


# Sets and presets.


def test_sets_are_apart_and_kept(task, sources, folder):
    training, validation = sources["training"], sources["validation"]
    assert (len(training), len(validation)) == (100, 64)
    assert not np.intersect1d(training.parameters[:, 4], validation.parameters[:, 4]).size
    assert training.images.dtype == np.float16 and not training.images.flags.writeable
    said = []
    again = task_of(preset()).sources(folder, said.append)
    np.testing.assert_array_equal(again["training"].images, training.images)
    assert not said
    (first,) = population().batches(64, 31)
    np.testing.assert_array_equal(validation.parameters, np.float32(first.parameters))
    # The validation set is seen as it is, every time.
    np.testing.assert_allclose(
        batch_of(validation, 64, 1).parameters[:, 2:], validation.parameters[:, 2:], rtol=1e-6
    )


def test_sets_belong_to_their_galaxies_and_seeds(folder, sources):
    with pytest.raises(DataError, match="of seed 30, not 40: give another folder, or delete it"):
        task_of(preset(seed=4)).sources(folder)
    with pytest.raises(DataError, match="of origin clumpy, not hubble-deep-field: give another"):
        task_of(preset(data={"galaxies": "hubble-deep-field"})).sources(folder)


def test_a_network_has_not_seen_anything(task):
    """Not even the blank image that tells whether it takes images of this shape."""
    network = task_of(
        preset(network={"backbone_options": {"name": "ensai-6", "width": 1.0, "image_size": SIDE}})
    ).network()
    assert network.training
    outputs = task.card_fields()["outputs"]
    assert outputs["parameters"] == list(task.space.names)
    assert outputs["data"] == {"galaxies": "clumpy"}


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"galaxy": "clumpy"}, "data: unknown galaxy; known: galaxies, loss, effects"),
        ({"loss": "mse"}, "data: loss must be density or flip-invariant, not 'mse'"),
        ({"effects": "real"}, "data: effects must be ensai or survey, not 'real'"),
    ],
)
def test_bad_data(data, match):
    with pytest.raises(OptionError, match=match):
        ArcParameters(preset(data=data))


def test_data_need_galaxies():
    made = preset(data={"loss": "density"})
    del made.data["galaxies"]
    with pytest.raises(OptionError, match="data: needs galaxies, a library by name or a folder"):
        ArcParameters(made)


@pytest.mark.parametrize(
    ("network", "match"),
    [
        ({"width": 1.0}, "network: .*width"),
        ({"head": "momenta"}, "network: no head 'momenta'"),
        ({"dim": 5}, "network: .*dim"),
        ({"backbone_options": {"name": "ensai-6", "image_size": 64}}, "takes .n, 1, 64, 64."),
        ({"backbone": "resnet", "backbone_options": {"fold": 5}, "head": "mixture"}, "48, 48"),
    ],
)
def test_bad_networks(network, match):
    with pytest.raises(OptionError, match=match) as raised:
        task_of(preset(network=network)).network()
    assert "\n" not in str(raised.value)


def test_any_folder_of_galaxies(tmp_path):
    """On Ensai's own frame: what ``galaxies: FOLDER`` in a preset gives."""
    radius = np.hypot(*(np.indices((24, 24)) - 11.5))
    for i in range(2):
        galaxy = np.exp(-radius / (2.0 + i)).astype(np.float32)
        fits.PrimaryHDU(galaxy).writeto(tmp_path / f"galaxy_{i}.fits")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("library_from", "ArcPopulation"):
            patch.setattr(arc_parameters, name, ORIGINAL[name])
        patch.setitem(INSTRUMENTS, "ensai", ORIGINAL["instrument"])
        made = task_of(
            preset(
                data={"galaxies": str(tmp_path)},
                network={"backbone_options": {"name": "ensai-6", "width": 0.5}},
                training={"n_training": 3, "n_validation": 2},
            )
        )
    assert made.population.galaxies.names == ("galaxy_0.fits", "galaxy_1.fits")
    sources = made.sources(tmp_path / "sets")
    batch = batch_of(sources["training"], 3)
    assert batch.images.shape == (3, 192, 192)
    density = made.network().eval()(*batch.inputs)
    assert density.log_prob(batch.latents).isfinite().all()


ORIGINAL = {
    "library_from": arc_parameters.library_from,
    "ArcPopulation": arc_parameters.ArcPopulation,
    "instrument": INSTRUMENTS["ensai"],
}
