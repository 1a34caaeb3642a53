"""Simulated lenses per second: ``python -m benchmarks.simulate`` writes results/simulate.md.

The same lenses (isothermal ellipsoid, shear, Sersic source; 64 x 64 px at 0.1 arcsec, 2 x 2
sub-pixels, 11 x 11 px Gaussian PSF; every lens with parameters of its own) are made by
``autolens_ml``, PyAutoLens, lenstronomy and caustics, each in a process of its own on one core and
one thread, one after the other. Compilation is left out. What is compared is lenses per second of
processor time, which other programs on the machine disturb least; images are compared as well.

caustics is no dependency: ``pip install caustics``.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

TABLE = Path(__file__).parent / "results" / "simulate.md"
PIXELS, SCALE, SUB_PIXELS, PSF_PIXELS, PSF_SIGMA = 64, 0.1, 2, 11, 0.1
SHAPE = (PIXELS, PIXELS)
# Different lenses; blocks go round them. A multiple of all batches.
N_LENSES = 1024
N_COMPARED = 8
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


def lenses() -> dict[str, np.ndarray]:
    """Parameters of the lenses in PyAutoLens's units, by name, shape (n,) each."""
    rng = np.random.default_rng(1)

    def ellipticity(sigma):
        return np.clip(rng.normal(0.0, sigma, N_LENSES), -0.4, 0.4)

    return {
        "mass_y": rng.normal(0.0, 0.05, N_LENSES),
        "mass_x": rng.normal(0.0, 0.05, N_LENSES),
        "mass_e0": ellipticity(0.15),
        "mass_e1": ellipticity(0.15),
        "einstein_radius": rng.uniform(0.8, 1.8, N_LENSES),
        "gamma_1": rng.normal(0.0, 0.04, N_LENSES),
        "gamma_2": rng.normal(0.0, 0.04, N_LENSES),
        "source_y": rng.normal(0.0, 0.2, N_LENSES),
        "source_x": rng.normal(0.0, 0.2, N_LENSES),
        "source_e0": ellipticity(0.2),
        "source_e1": ellipticity(0.2),
        "intensity": rng.uniform(0.5, 2.0, N_LENSES),
        "effective_radius": rng.uniform(0.25, 0.6, N_LENSES),
        "sersic_index": rng.uniform(0.8, 2.0, N_LENSES),
    }


def psf() -> np.ndarray:
    """The PSF at image resolution."""
    x = (np.arange(PSF_PIXELS) - PSF_PIXELS // 2) * SCALE
    kernel = np.exp(-0.5 * (x[:, None] ** 2 + x**2) / PSF_SIGMA**2)
    return kernel / kernel.sum()


def axis_ratio_and_angle(e0: np.ndarray, e1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q, and the angle from the x axis in radians, of PyAutoLens's ``ell_comps``."""
    magnitude = np.hypot(e0, e1)
    return (1.0 - magnitude) / (1.0 + magnitude), 0.5 * np.arctan2(e0, e1)


# An engine makes the images of lenses first to first + batch.
Engine = Callable[[int], np.ndarray]


def our_population():
    """The lenses as a population; its priors only say which parameters are free."""
    import autofit as af
    import autolens as al

    from autolens_ml.simulate.instrument import Instrument
    from autolens_ml.simulate.population import Population

    def profile(cls, **priors):
        model = af.Model(cls)
        for path, prior in priors.items():
            *owner, name = path.split("__")
            setattr(getattr(model, owner[0]) if owner else model, name, prior)
        return model

    def gaussian(sigma):
        return af.GaussianPrior(mean=0.0, sigma=sigma)

    centre = {f"centre__centre_{i}": gaussian(0.05) for i in (0, 1)}
    shape = {f"ell_comps__ell_comps_{i}": gaussian(0.1) for i in (0, 1)}
    mass = profile(al.mp.Isothermal, **centre, **shape, einstein_radius=af.UniformPrior(0.8, 1.8))
    shear = profile(al.mp.ExternalShear, gamma_1=gaussian(0.04), gamma_2=gaussian(0.04))
    light = profile(
        al.lp.Sersic,
        **{f"centre__centre_{i}": gaussian(0.2) for i in (0, 1)},
        **{f"ell_comps__ell_comps_{i}": gaussian(0.1) for i in (0, 1)},
        intensity=af.UniformPrior(0.5, 2.0),
        effective_radius=af.UniformPrior(0.25, 0.6),
        sersic_index=af.UniformPrior(0.8, 2.0),
    )
    model = af.Collection(
        galaxies=af.Collection(
            lens=af.Model(al.Galaxy, redshift=0.5, mass=mass, shear=shear),
            source=af.Model(al.Galaxy, redshift=1.0, light=light),
        )
    )
    fwhm = 2.0 * np.sqrt(2.0 * np.log(2.0)) * PSF_SIGMA
    instrument = Instrument(
        name="benchmark",
        shape=SHAPE,
        pixel_scale=SCALE,
        psf_fwhm=(fwhm, fwhm),
        exposure_time=(1000.0, 1000.0),
        background_sky_level=0.2,
        read_noise=5.0,
        psf_shape=(PSF_PIXELS, PSF_PIXELS),
        over_sample_size=SUB_PIXELS,
    )
    return Population(model, instrument)


def autolens_ml_engine() -> tuple[Engine, int]:
    """Our forward model, without noise."""
    from autolens_ml.simulate.forward import CHUNK

    population, values = our_population(), lenses()
    columns = {
        "lens.mass.centre.centre_0": "mass_y",
        "lens.mass.centre.centre_1": "mass_x",
        "lens.mass.ell_comps.ell_comps_0": "mass_e0",
        "lens.mass.ell_comps.ell_comps_1": "mass_e1",
        "lens.mass.einstein_radius": "einstein_radius",
        "lens.shear.gamma_1": "gamma_1",
        "lens.shear.gamma_2": "gamma_2",
        "source.light.centre.centre_0": "source_y",
        "source.light.centre.centre_1": "source_x",
        "source.light.ell_comps.ell_comps_0": "source_e0",
        "source.light.ell_comps.ell_comps_1": "source_e1",
        "source.light.intensity": "intensity",
        "source.light.effective_radius": "effective_radius",
        "source.light.sersic_index": "sersic_index",
    }
    parameters = np.stack(
        [values[columns[name.removeprefix("galaxies.")]] for name in population.names], axis=1
    )
    kernels = np.repeat(psf()[None], CHUNK, axis=0)

    def images(first):
        rows = slice(first, first + CHUNK)
        return population.forward.planes_from(parameters[rows], kernels).sum(axis=1)

    return images, CHUNK


def noisy_engine() -> tuple[Engine, int]:
    """Our whole simulation: draws, images, photon and read noise, noise maps."""
    from autolens_ml.simulate.forward import CHUNK

    population = our_population()
    n = 8 * CHUNK

    def images(first):
        batches = population.batches(first + n, seed=1, start=first)
        return np.concatenate([batch.data for batch in batches])

    return images, n


def pyautolens_engine() -> tuple[Engine, int]:
    """PyAutoLens's own simulator, on numpy; noise is not added."""
    import autolens as al

    values = lenses()
    grid = al.Grid2D.uniform(shape_native=SHAPE, pixel_scales=SCALE, over_sample_size=SUB_PIXELS)
    kernel = al.Array2D.no_mask(psf(), pixel_scales=SCALE)
    # Without a sky, the noise that is computed but not added would fail where there is no light.
    simulator = al.SimulatorImaging(
        exposure_time=1.0,
        background_sky_level=1.0,
        psf=al.Convolver(kernel=kernel),
        add_poisson_noise_to_data=False,
        include_poisson_noise_in_noise_map=False,
    )

    def images(first):
        v = {name: float(value[first]) for name, value in values.items()}
        lens = al.Galaxy(
            redshift=0.5,
            mass=al.mp.Isothermal(
                centre=(v["mass_y"], v["mass_x"]),
                ell_comps=(v["mass_e0"], v["mass_e1"]),
                einstein_radius=v["einstein_radius"],
            ),
            shear=al.mp.ExternalShear(gamma_1=v["gamma_1"], gamma_2=v["gamma_2"]),
        )
        light = al.lp.Sersic(
            centre=(v["source_y"], v["source_x"]),
            ell_comps=(v["source_e0"], v["source_e1"]),
            intensity=v["intensity"],
            effective_radius=v["effective_radius"],
            sersic_index=v["sersic_index"],
        )
        tracer = al.Tracer([lens, al.Galaxy(redshift=1.0, light=light)])
        return simulator.via_tracer_from(tracer=tracer, grid=grid).data.native.array[None]

    return images, 1


def lenstronomy_engine() -> tuple[Engine, int]:
    """lenstronomy's image model in a loop, with its default convolution, by FFT."""
    from lenstronomy.Data.imaging_data import ImageData
    from lenstronomy.Data.psf import PSF
    from lenstronomy.ImSim.image_model import ImageModel
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LightModel.light_model import LightModel
    from lenstronomy.Util import simulation_util

    data = simulation_util.data_configure_simple(num_pix=PIXELS, delta_pix=SCALE)
    model = ImageModel(
        ImageData(**data),
        PSF(psf_type="PIXEL", kernel_point_source=psf()),
        LensModel(["SIE", "SHEAR"]),
        LightModel(["SERSIC_ELLIPSE"]),
        kwargs_numerics={
            "supersampling_factor": SUB_PIXELS,
            "supersampling_convolution": False,
        },
    )
    values = lenses()
    q, _ = axis_ratio_and_angle(values["mass_e0"], values["mass_e1"])
    theta_e = values["einstein_radius"] * 2.0 * np.sqrt(q) / (1.0 + q)

    def images(first):
        v = {name: float(value[first]) for name, value in values.items()}
        mass = {
            "theta_E": float(theta_e[first]),
            "e1": v["mass_e1"],
            "e2": v["mass_e0"],
            "center_x": v["mass_x"],
            "center_y": v["mass_y"],
        }
        shear = {"gamma1": v["gamma_1"], "gamma2": v["gamma_2"]}
        light = {
            "amp": v["intensity"],
            "R_sersic": v["effective_radius"],
            "n_sersic": v["sersic_index"],
            "e1": v["source_e1"],
            "e2": v["source_e0"],
            "center_x": v["source_x"],
            "center_y": v["source_y"],
        }
        image = model.image([mass, shear], [light])
        # It sums over pixels and counts rows from below.
        return image[None, ::-1] / SCALE**2

    return images, 1


def caustics_engine(backend: str, batch: int, precision: str) -> tuple[Engine, int]:
    """caustics, vectorised over lenses; single precision is its own."""
    os.environ["CASKADE_BACKEND"] = backend
    import caustics

    cosmology = caustics.FlatLambdaCDM()
    sie = caustics.SIE(cosmology)
    shear = caustics.ExternalShear(cosmology, x0=0.0, y0=0.0)
    source = caustics.Sersic()
    simulator = caustics.LensSource(
        caustics.SinglePlane(cosmology, (sie, shear), z_l=0.5, z_s=1.0),
        source,
        pixelscale=SCALE,
        pixels_x=PIXELS,
        quad_level=SUB_PIXELS,
        psf=psf().tolist(),
    )
    values = lenses()
    q, phi = axis_ratio_and_angle(values["mass_e0"], values["mass_e1"])
    source_q, source_phi = axis_ratio_and_angle(values["source_e0"], values["source_e1"])
    named = {
        sie.x0: values["mass_x"],
        sie.y0: values["mass_y"],
        sie.q: q,
        sie.phi: phi,
        sie.Rein: values["einstein_radius"] * 2.0 * np.sqrt(q) / (1.0 + q),
        shear.gamma_1: values["gamma_1"],
        shear.gamma_2: values["gamma_2"],
        source.x0: values["source_x"],
        source.y0: values["source_y"],
        source.q: source_q,
        source.phi: source_phi,
        source.n: values["sersic_index"],
        source.Re: values["effective_radius"] / np.sqrt(source_q),
        source.Ie: values["intensity"],
    }
    table = np.stack([named[parameter] for parameter in simulator.dynamic_params], axis=1)
    table = table.astype(precision)
    if backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", precision == "float64")
        simulator.to(dtype=precision)
        many = jax.jit(jax.vmap(simulator))

        def images(first):
            return np.asarray(many(table[first : first + batch]))[:, ::-1]

        return images, batch
    import torch

    torch.set_num_threads(1)
    simulator.to(dtype=getattr(torch, precision))
    many = torch.vmap(simulator)

    def images(first):
        with torch.no_grad():
            return many(torch.from_numpy(table[first : first + batch])).numpy()[:, ::-1]

    return images, batch


ENGINES: dict[str, tuple[str, Callable[[], tuple[Engine, int]]]] = {
    "autolens_ml": ("float64", autolens_ml_engine),
    "autolens_ml, with draws and noise": ("float64", noisy_engine),
    "PyAutoLens `SimulatorImaging`": ("float64", pyautolens_engine),
    "lenstronomy": ("float64", lenstronomy_engine),
    **{
        f"caustics {backend}, {precision}, {batch} at a time": (
            precision,
            partial(caustics_engine, backend, batch, precision),
        )
        for backend in ("torch", "jax")
        for precision in ("float32", "float64")
        for batch in (1, 8, 64)
    },
}
NOISY = "autolens_ml, with draws and noise"


def measure(name: str, seconds: float, blocks: int, folder: Path) -> dict[str, float]:
    """Time one engine in this process.

    Returns
    -------
    dict
        Seconds of the first call, and lenses per second, of processor time and of wall time, of
        every block.
    """
    began = time.perf_counter()
    images, batch = ENGINES[name][1]()
    first = images(0)
    first_call = time.perf_counter() - began
    compared = np.concatenate([images(i) for i in range(0, N_COMPARED, batch)])[:N_COMPARED]
    np.save(folder / "images.npy", compared)
    rates, wall_rates = [], []
    del first
    for _ in range(blocks):
        n, start, cpu = 0, time.perf_counter(), time.process_time()
        while time.process_time() - cpu < seconds:
            images(n % N_LENSES)
            n += batch
        rates.append(n / (time.process_time() - cpu))
        wall_rates.append(n / (time.perf_counter() - start))
    return {"first_call": first_call, "rates": rates, "wall_rates": wall_rates}


def measure_stream(n: int, folder: Path) -> dict[str, float]:
    """Write an HDF5 file with all cores: lenses per second, and memory."""
    from autolens_ml.simulate.stored import write_hdf5

    population, memory, begun = our_population(), [], []

    def say(done, n):
        begun.append((done, time.perf_counter(), time.process_time()))
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)

    path = write_hdf5(population, n, 1, folder / "set.h5", say=say)
    # The first batch compiles.
    (first, start, cpu), (last, end, cpu_end) = begun[1], begun[-1]
    return {
        "rate": (last - first) / (end - start),
        "cpu_rate": (last - first) / (cpu_end - cpu),
        "size": path.stat().st_size / 1e9,
        "peak": memory[-1],
        "quarter": memory[len(memory) // 4],
        "cores": os.cpu_count(),
    }


def _in_a_process(arguments: list[str], environment: dict[str, str]) -> dict | None:
    """What a fresh process measures; None, and a line, if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.simulate", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print((done.stderr.strip().splitlines() or ["no message"])[-1], flush=True)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def _row(name: str, found: dict, ours: float, difference: float | None) -> str:
    rate = statistics.median(found["rates"])
    return (
        f"| {name} | {ENGINES[name][0]} | {rate:.0f} ({max(found['rates']):.0f}) "
        f"| {ours / rate:.2f} | {statistics.median(found['wall_rates']):.0f} "
        f"| {found['first_call']:.1f} "
        f"| {'' if difference is None else f'{difference:.1e}'} |"
    )


def main(
    seconds: float = 5.0, blocks: int = 5, n_stored: int = 50_000, table: Path = TABLE
) -> Path:
    """Measure everything and write the table.

    Parameters
    ----------
    seconds
        Processor time of a block.
    blocks
        Blocks of each engine.
    n_stored
        Lenses of the HDF5 file, which is deleted in the end.
    table
        The Markdown file.
    """
    found, images = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ENGINES:
            options = ["--engine", name, "--seconds", str(seconds), "--blocks", str(blocks)]
            result = _in_a_process([*options, "--folder", folder], ONE_THREAD)
            if result is not None:
                found[name] = result
                images[name] = np.load(Path(folder) / "images.npy")
                rate = statistics.median(result["rates"])
                print(f"{name}: {rate:.0f} lenses per second of processor time", flush=True)
        stream = _in_a_process(["--stream", str(n_stored), "--folder", folder], {})
    ours = statistics.median(found["autolens_ml"]["rates"])
    expected = images["PyAutoLens `SimulatorImaging`"]
    peaks = expected.max(axis=(1, 2))
    lines = []
    for name, result in found.items():
        difference = None
        if name != NOISY:
            difference = float(np.max(np.abs(images[name] - expected).max(axis=(1, 2)) / peaks))
            # caustics integrates over sub-pixels by Gauss-Legendre, lenstronomy rounds b_n.
            if difference > 0.03:
                raise RuntimeError(f"{name} makes other images: they differ by {difference:.2f}")
        lines.append(_row(name, result, ours, difference))
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(
        "# Simulated lenses per second\n\n"
        f"`python -m benchmarks.simulate`: {PIXELS} x {PIXELS} px at {SCALE} arcsec,\n"
        f"{SUB_PIXELS} x {SUB_PIXELS} sub-pixels, {PSF_PIXELS} x {PSF_PIXELS} px PSF, isothermal\n"
        "ellipsoid with shear and a Sersic source; every engine in a process of its own, on one\n"
        f"core and one thread; median (best) of {blocks} blocks of {seconds:g} s of processor\n"
        "time, without compilation. The difference is the largest of a pixel from PyAutoLens,\n"
        "relative to the peak.\n\n"
        "| engine | precision | lenses per CPU second | autolens_ml is faster by "
        "| lenses per second | first call, s | difference |\n"
        "|---|---|---:|---:|---:|---:|---:|\n" + "\n".join(lines) + "\n\n"
        f"{_stream_text(stream, n_stored)}\n\n{_machine()}\n"
    )
    return table


def _stream_text(stream: dict | None, n: int) -> str:
    if stream is None:
        return "HDF5: failed."
    return (
        f"HDF5: {n} lenses with noise and noise maps ({stream['size']:.1f} GB) at\n"
        f"{stream['rate']:.0f} per second on {stream['cores']} cores "
        f"({stream['cpu_rate']:.0f} per CPU second).\nPeak memory {stream['peak']:.0f} MB, which "
        f"grew by {stream['peak'] - stream['quarter']:.0f} MB in the last three quarters of them."
    )


def _machine() -> str:
    from importlib.metadata import PackageNotFoundError, version

    def words(package):
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"no {package}"

    packages = ("autolens", "jax", "lenstronomy", "caustics", "torch", "numpy")
    return (
        f"{', '.join(words(package) for package in packages)}; {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f} at the end."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.simulate", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="processor time of a block")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--lenses", type=int, default=50_000, help="of the HDF5 file")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    arguments = _parser().parse_args()
    if arguments.engine:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        options = (arguments.seconds, arguments.blocks, arguments.folder)
        print(json.dumps(measure(arguments.engine, *options)))
    elif arguments.stream:
        print(json.dumps(measure_stream(arguments.stream, arguments.folder)))
    else:
        path = main(arguments.seconds, arguments.blocks, arguments.lenses, arguments.table)
        print(path.read_text())
