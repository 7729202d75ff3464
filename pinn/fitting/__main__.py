"""Fit the spectra of a file with an exported emulator, and write a table.

    python -m pinn.fitting spectra.npz --emulator checkpoints/spectra/<run> --out fits.csv

The file holds arrays: ``wavelength`` (m,) in Å, ``flux`` (B, m), ``sigma`` of a shape that spreads to (B, m), and, if
there is one, ``mask`` (B, m), true where a pixel does not count. Beside the CSV stand the same columns as npz with the
covariances, and a JSON document with what was fitted, how the fits ended and how long they took.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import InputError, LimbeckError

KNOWN = ("wavelength", "flux", "sigma", "mask")


def main(words: Sequence[str] | None = None) -> int:
    """The command; 0 finished, 2 an input is not usable."""
    arguments = _parser().parse_args(words)
    try:
        _run(arguments)
    except LimbeckError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _run(arguments: argparse.Namespace) -> None:
    out = Path(arguments.out)
    if out.suffix != ".csv":
        raise InputError(f"--out {out}: the table is written as CSV, so the name ends in .csv.")
    arrays = read_spectra(Path(arguments.spectra))
    # PyTorch takes seconds to import, which wrong arguments need not wait for
    import torch

    from pinn.fitting.table import write_csv, write_npz
    from pinn.spectra.emulator_file import load_emulator
    from pinn.spectra.fit_spectra import fit_spectra
    from pinn.spectra.settings import FittingSettings
    from pinn.spectra.table import columns
    from training.files import write_json_atomically
    from training.progress import Progress
    from training.report.summary import plain

    emulator, metadata = load_emulator(arguments.emulator)
    settings = FittingSettings(
        continuum=arguments.continuum, velocity=arguments.velocity, start_velocity=0.8 * arguments.velocity,
        keep_starts=arguments.starts,
    )  # fmt: skip
    progress = Progress()
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    with progress.phase("Fits", len(arrays["flux"]), "spectra") as phase:
        fitted = fit_spectra(
            emulator, tensors["wavelength"], tensors["flux"], tensors["sigma"], tensors.get("mask"), settings,
            arguments.device, phase.advance, progress.say,
        )  # fmt: skip
    table = columns(fitted)
    write_csv(out, table)
    write_npz(out.with_suffix(".npz"), table, covariance=fitted.covariance.numpy())
    document = {
        "spectra": str(arguments.spectra), "emulator": metadata.model_dump(), "settings": settings.model_dump(),
        "parameters": dict(zip(fitted.names, (*emulator.units, "km/s", "km²/s²"), strict=True)), **fitted.summary(),
    }  # fmt: skip
    write_json_atomically(out.with_suffix(".json"), plain(document))
    ended = ", ".join(f"{count:,} {word.replace('_', ' ')}" for word, count in fitted.counts.items())
    progress.say(f"{len(fitted):,} spectra: {ended}; {fitted.timings['fits_per_second']:,.0f} per second. Table: {out}")


def read_spectra(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of spectra, float64, the mask bool.

    Raises:
        InputError: if it cannot be read, or an array is missing or of another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found: dict[str, Any] = {name: file[name] for name in KNOWN if name in file.files}
            others = sorted(set(file.files) - set(KNOWN))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as numpy's npz: {error}") from error
    missing = [name for name in KNOWN[:3] if name not in found]
    if missing:
        there = f"; it holds {', '.join(others)}" if others else ""
        raise InputError(f"{path} lacks {', '.join(missing)}{there}. It needs wavelength, flux and sigma.")
    try:
        arrays = {name: np.ascontiguousarray(found[name], dtype=np.float64) for name in KNOWN[:3]}
        if "mask" in found:
            arrays["mask"] = np.ascontiguousarray(found["mask"]).astype(bool)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: an array holds no numbers ({error}).") from error
    arrays["flux"] = np.atleast_2d(arrays["flux"])
    shape = arrays["flux"].shape
    if arrays["wavelength"].shape != shape[1:]:
        raise InputError(
            f"{path}: flux has the shape {shape}, so wavelength has {shape[1:]}; got {arrays['wavelength'].shape}."
        )
    for name in ("sigma", "mask"):
        if name in arrays:
            try:
                arrays[name] = np.broadcast_to(arrays[name], shape).copy()
            except ValueError as error:
                raise InputError(f"{path}: {name} of shape {arrays[name].shape} does not spread to {shape}.") from error
    return arrays


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pinn.fitting", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spectra", help="npz file with wavelength, flux, sigma and perhaps mask")
    parser.add_argument("--emulator", required=True, help="emulator.safetensors, or the folder of a run that holds it")
    parser.add_argument("--out", default="fits.csv", help="the table; npz and json are written beside it")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--continuum", type=int, default=5, help="polynomials by which the flux is multiplied")
    parser.add_argument("--velocity", type=float, default=400.0, help="largest radial velocity, km/s")
    parser.add_argument("--starts", type=int, default=1, help="starts of each fit that go down")
    return parser


if __name__ == "__main__":
    sys.exit(main())
