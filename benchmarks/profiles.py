"""Time of the mass profiles over that of `al.mp.Isothermal`, in one run.

Run as `python -m benchmarks.profiles`.
"""

import time

import autolens as al
import numpy as np

import autolens_ml as aml

POINTS = 1_000_000
REPEATS = 5
PROFILES = {
    "al.mp.Isothermal": al.mp.Isothermal(ell_comps=(0.1, 0.05)),
    "aml.mp.VortexLine": aml.mp.VortexLine(position_angle=30.0),
    "aml.mp.VortexTube": aml.mp.VortexTube(position_angle=30.0),
    "aml.mp.MassSheet": aml.mp.MassSheet(kappa=0.1),
    "aml.mp.MassSheet disc": aml.mp.MassSheet(kappa=0.1, radius=1.0),
}
QUANTITIES = ("deflections_yx_2d_from", "convergence_2d_from", "potential_2d_from")


def cpu_seconds(function, grid):
    """The least CPU time of a few calls: other processes can only add to it."""
    function(grid=grid)
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        function(grid=grid)
        times.append(time.process_time() - start)
    return min(times)


def main():
    yx = np.random.default_rng(0).uniform(-3.0, 3.0, (POINTS, 2))
    grid = al.Grid2DIrregular(yx)
    print(f"CPU time over that of al.mp.Isothermal, {POINTS:,} points, numpy, best of {REPEATS}")
    print(f"{'profile':<24}" + "".join(f"{q.split('_')[0]:>14}" for q in QUANTITIES))
    base = None
    for name, profile in PROFILES.items():
        times = np.array([cpu_seconds(getattr(profile, q), grid) for q in QUANTITIES])
        base = times if base is None else base
        print(f"{name:<24}" + "".join(f"{ratio:>14.2f}" for ratio in times / base))
    print(
        "Isothermal: " + ", ".join(f"{q} {t:.3f} s" for q, t in zip(QUANTITIES, base, strict=True))
    )


if __name__ == "__main__":
    main()
