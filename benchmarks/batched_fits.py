"""A thousand spectra fitted one by one in a pool of scipy processes, and all at once.

    python benchmarks/batched_fits.py [--fits 1000] [--workers 2] [--rounds 3] [--emulator FOLDER] [--quick]

Four contestants fit the same synthetic spectra (5 parameters, 5 continuum terms, 1,500 pixels, 5 % masked) with one
emulator, the same bounds and starts: ``scipy.optimize.least_squares`` in a pool of processes with one thread each, with
finite differences (what most people run) and with the analytic Jacobian; ``batched_fit`` on the CPU with as many
threads as the pool has workers; and on a GPU where there is one, copies included. The scipy contestants have a lean
numpy model, get their starts for nothing and their pool is warm before the clock starts; the batched ones find their
starts themselves, in the measured time. The answers are compared before anything is reported. Raw times of every round
go to ``benchmarks/results/batched_fits.json``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# one thread for each process of the pool; torch is told its own number below
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import numpy as np
from results_file import RESULTS, asked, keep
from scipy.optimize import least_squares

LIGHT = 299792.458
PULL = ("median", "99 %")


class NumpySpectrum:
    """The same model for one spectrum in plain numpy: flux and derivatives by all ten parameters."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.__dict__.update(arrays)
        self.k2 = (self.waves / LIGHT) ** 2

    def coefficients(self, labels: np.ndarray, tangents: bool) -> list[np.ndarray]:
        """Fourier coefficients of the star at rest, and their derivatives by the labels."""
        h = (labels - self.centre) * self.scale
        d = np.diag(self.scale) if tangents else None
        for place in range(int(self.depth)):
            z = getattr(self, f"w{place}") @ h + getattr(self, f"b{place}")
            s = 1 / (1 + np.exp(-z))
            h = z * s
            if d is not None:
                d = (getattr(self, f"w{place}") @ d) * (s * (1 + z * (1 - s)))[:, None]
        parts = [(self.weight @ h + self.bias).view(np.complex128)]
        if d is not None:
            parts += [np.ascontiguousarray(column).view(np.complex128) for column in (self.weight @ d).T]
        return parts

    def broadening(self, squared: float) -> tuple[np.ndarray, np.ndarray]:
        """The transform of the rotational profile and its derivative: cubic interpolation in a table."""
        place = (squared * self.k2 - self.lowest) / self.spacing
        index = place.astype(np.int64)
        u = place - index
        left, rise, right, ahead = *self.table[index].T, *self.table[index + 1].T
        b, t = 3 * (right - left) - 2 * rise - ahead, 2 * (left - right) + rise + ahead
        value = left + u * (rise + u * (b + u * t))
        return value, (rise + u * (2 * b + 3 * u * t)) / self.spacing * self.k2

    def flux(self, p: np.ndarray) -> np.ndarray:
        """On the observed pixels, continuum included."""
        (c,) = self.coefficients(p[:3], False)
        g, _ = self.broadening(p[4])
        moved = c * g * np.exp(-1j * np.arctanh(p[3] / LIGHT) * self.waves)
        return np.fft.irfft(moved, self.size)[self.first : self.last] * (self.basis @ p[5:])

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        """(pixels, 10)."""
        parts = self.coefficients(p[:3], True)
        g, bend = self.broadening(p[4])
        wave = np.exp(-1j * np.arctanh(p[3] / LIGHT) * self.waves)
        rate = 1 / (LIGHT * (1 - (p[3] / LIGHT) ** 2))
        moved = [part * (g * wave) for part in parts]
        moved += [moved[0] * (-1j * rate * self.waves), parts[0] * (bend * wave)]
        spectra = np.fft.irfft(np.array(moved), self.size, axis=1)[:, self.first : self.last]
        return np.concatenate([spectra[1:].T * (self.basis @ p[5:])[:, None], spectra[0][:, None] * self.basis], axis=1)


_worker: dict[str, Any] = {}


def prepare_worker(path: str) -> None:
    """Load model and spectra once in every process of the pool."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for name in ("depth", "size", "first", "last"):
        arrays[name] = int(arrays[name])
    _worker["data"] = {name: arrays.pop(name) for name in ("flux", "sigma", "used", "starts", "lower", "upper")}
    _worker["model"] = NumpySpectrum(arrays)


def fit_one(task: tuple[int, str]) -> tuple[np.ndarray, float, int]:
    """One spectrum by ``least_squares``: parameters, χ², evaluations of the model."""
    row, kind = task
    model, data = _worker["model"], _worker["data"]
    used = data["used"][row]
    flux, sigma = data["flux"][row][used], data["sigma"][row][used]

    def residuals(p: np.ndarray) -> np.ndarray:
        return (model.flux(p)[used] - flux) / sigma

    def jacobian(p: np.ndarray) -> np.ndarray:
        return model.jacobian(p)[used] / sigma[:, None]

    found = least_squares(
        residuals, data["starts"][row], jacobian if kind == "analytic" else "2-point",
        bounds=(data["lower"], data["upper"]), x_scale="jac", ftol=1e-10, xtol=1e-10, gtol=1e-10, max_nfev=200,
    )  # fmt: skip
    return found.x, 2 * found.cost, found.nfev


def emulator_and_survey(folder: str | None, fits: int, quick: bool) -> tuple[Any, Any, Any]:
    """The emulator of a run, or one trained here for a few seconds; the survey; how it is fitted."""
    import torch

    from pinn.spectra.emulator_file import load_emulator
    from pinn.spectra.settings import AtmosphereSettings, EmulatorSettings, FittingSettings, SurveySettings
    from pinn.spectra.survey import draw_survey
    from pinn.spectra.training import atmosphere, finished, make_templates, untrained
    from training.optimizers.soap import SOAP

    given = AtmosphereSettings()
    grid, lines = atmosphere(given)
    if folder is None:
        torch.manual_seed(0)
        templates = make_templates(given, EmulatorSettings(templates=1000, held_out=100), 0)
        network = {"_target_": "pinn.networks.MLP", "width": 64, "depth": 2, "activation": "silu"}
        module = untrained(templates, network, 0)
        model, steps = module.model.float(), 200 if quick else 1000
        optimizer = SOAP(model.parameters(), lr=5e-3)
        labels, targets = templates.labels[:1000].float(), templates.targets[:1000].float()
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / steps)
            rows = torch.randint(0, 1000, (500,))
            loss = (model(labels[rows]) - targets[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        module.average.restart(module.model.double())
        emulator, accuracy = finished(module, templates)
        print(f"emulator trained here: rms of flux {accuracy['flux_rms']:.1e}")
    else:
        emulator, _ = load_emulator(folder)
    fitting = FittingSettings()
    survey = draw_survey(SurveySettings(spectra=fits), grid, lines, fitting.continuum)
    return emulator, survey, fitting


def write_task(path: Path, emulator: Any, survey: Any, fitting: Any) -> None:
    """What the pool needs, with the starts that the batched fit would choose."""
    import torch

    from pinn.fitting.starts import Candidates, best_candidates
    from pinn.spectra.fit_spectra import bounds, on_grid, pixels_of, starts
    from pinn.spectra.model import SpectrumModel, continuum
    from pinn.spectra.rotation import LOWEST, SPACING
    from training.optimizers.batched_sums import LinearTerms, solve_linear

    model, grid = SpectrumModel(emulator), emulator.grid
    lower, upper = bounds(emulator, model, fitting)
    places = pixels_of(grid, survey.wavelengths)
    flux, sigma, mask = on_grid(grid, places, survey.flux, survey.sigma, survey.mask)
    terms = LinearTerms(continuum(grid, fitting.continuum))
    weights = torch.where(mask, 0.0, sigma.pow(-2))
    data = torch.where(mask, 0.0, flux)
    begin = best_candidates(Candidates(starts(emulator, fitting).points), model, data, weights, terms)[:, 0]
    parts = torch.arange(len(data)).split(64)
    linear = torch.cat([solve_linear(model(begin[at]), data[at], weights[at], terms)[0] for at in parts])
    features = emulator.network.features
    layers = list(emulator.network.linears[:-1])
    free = np.full(fitting.continuum, np.inf)
    np.savez(
        path,
        flux=survey.flux.numpy(), sigma=survey.sigma.numpy(), used=~survey.mask.numpy(),
        starts=torch.cat([begin, linear], dim=1).numpy(), lower=np.append(lower.numpy(), -free),
        upper=np.append(upper.numpy(), free), basis=terms.basis.numpy()[grid.observed],
        weight=model.weight.numpy(), bias=model.bias.numpy(), waves=model.wave_numbers.numpy(),
        table=model.table.numpy(), centre=features.centre.numpy(), scale=features.scale.numpy(),
        depth=len(layers), size=grid.size, first=grid.observed.start, last=grid.observed.stop, lowest=LOWEST,
        spacing=SPACING,
        **{f"w{i}": layer.weight.detach().numpy() for i, layer in enumerate(layers)},
        **{f"b{i}": layer.bias.detach().numpy() for i, layer in enumerate(layers)},
    )  # fmt: skip


def contestants(
    pool: Any, emulator: Any, survey: Any, fitting: Any, threads: int, workers: int
) -> dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]]:
    """Functions that fit the survey and return parameters (B, 5) and χ² (B,)."""
    import torch

    from pinn.spectra.fit_spectra import fit_spectra

    def in_pool(kind: str) -> tuple[np.ndarray, np.ndarray]:
        tasks = [(row, kind) for row in range(len(survey.flux))]
        found = pool.map(fit_one, tasks, chunksize=max(1, len(tasks) // (8 * workers)))
        return np.array([x[:5] for x, _, _ in found]), np.array([chi2 for _, chi2, _ in found])

    def batched(device: str) -> tuple[np.ndarray, np.ndarray]:
        torch.set_num_threads(threads)
        fitted = fit_spectra(emulator, survey.wavelengths, survey.flux, survey.sigma, survey.mask, fitting, device)
        return fitted.parameters.numpy(), fitted.chi2.numpy()

    runs: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
        "scipy pool, finite differences": lambda: in_pool("differences"),
        "scipy pool, analytic Jacobian": lambda: in_pool("analytic"),
        "batched, CPU": lambda: batched("cpu"),
    }
    if torch.cuda.is_available():
        runs["batched, GPU with copies"] = lambda: batched("cuda")
    return runs


def agreement(answers: dict[str, tuple[np.ndarray, np.ndarray]], errors: np.ndarray) -> dict[str, dict[str, float]]:
    """|Δp|/σ of every contestant against the analytic scipy fits, where both found the same valley of χ²."""
    reference, chi2 = answers["scipy pool, analytic Jacobian"]
    found = {}
    for name, (parameters, its) in answers.items():
        same = (np.abs(its - chi2) < 0.5) & np.isfinite(errors).all(1)
        off = np.abs(parameters - reference)[same] / errors[same]
        found[name] = {
            "median": float(np.median(off)), "99 %": float(np.quantile(off, 0.99)),
            "same_valley_percent": 100 * float((np.abs(its - chi2) < 0.5).mean()),
            "lower_chi2_percent": 100 * float((its < chi2 - 0.5).mean()),
        }  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--emulator", help="folder of a run of experiment=spectra; one is trained here unless given")
    parser.add_argument("--quick", action="store_true", help="60 fits, one round, nothing written")
    parser.add_argument("--output", type=Path, default=RESULTS / "batched_fits.json")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.fits, arguments.rounds = 60, 1
    import torch

    from pinn.spectra.fit_spectra import fit_spectra

    torch.set_num_threads(arguments.workers)
    emulator, survey, fitting = emulator_and_survey(arguments.emulator, arguments.fits, arguments.quick)
    fitted = fit_spectra(emulator, survey.wavelengths, survey.flux, survey.sigma, survey.mask, fitting, "cpu")
    times: dict[str, list[float]] = {}
    answers: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "task.npz"
        write_task(task, emulator, survey, fitting)
        context = multiprocessing.get_context("spawn")
        with context.Pool(arguments.workers, prepare_worker, (str(task),)) as pool:
            pool.map(fit_one, [(row % arguments.fits, "analytic") for row in range(4 * arguments.workers)], chunksize=1)
            runs = contestants(pool, emulator, survey, fitting, arguments.workers, arguments.workers)
            if "batched, GPU with copies" in runs:
                runs["batched, GPU with copies"]()
            for _ in range(arguments.rounds):
                for name, run in runs.items():
                    began = time.perf_counter()
                    answers[name] = run()
                    times.setdefault(name, []).append(time.perf_counter() - began)
    report(arguments, times, agreement(answers, fitted.errors.numpy()), fitted.iterations.double().mean().item())


def report(
    arguments: argparse.Namespace, times: dict[str, list[float]], agreed: dict[str, dict[str, float]], iterations: float
) -> None:
    """Print the table, and write the raw numbers unless the run was quick."""
    import torch

    slowest = statistics.median(times["scipy pool, finite differences"])
    print(f"{arguments.fits} fits, {arguments.workers} workers or threads, medians of {arguments.rounds} rounds")
    for name, seconds in times.items():
        median, close = statistics.median(seconds), agreed[name]
        print(
            f"{name:32s} {median:8.2f} s  {slowest / median:6.1f} ×   |Δp|/σ median {close['median']:.1e}, 99 % "
            f"{close['99 %']:.1e}; same valley {close['same_valley_percent']:.1f} %"
        )
    if arguments.quick:
        return
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    measured = {"seconds": times, "agreement": agreed, "batched_iterations": iterations}
    keep(arguments.output, **asked(arguments), **measured, gpu=gpu)


if __name__ == "__main__":
    main()
