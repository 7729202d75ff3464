"""From a configuration to a verdict, from a user's file to a table, and what is refused on the way."""

import csv
import json

import numpy as np
import pytest
import torch

from pinn.fitting.__main__ import main
from pinn.spectra.emulator_file import load_emulator, save_emulator
from pinn.spectra.fit_spectra import fit_spectra
from pinn.spectra.results import judge_survey
from pinn.spectra.settings import FittingSettings, SpectraSettings, SurveySettings
from pinn.spectra.survey import draw_survey
from training.composition import compose
from training.configuration import validate
from training.errors import ConfigurationError, GateFailed, InputError
from training.run import execute

SURVEY = SurveySettings(spectra=300, signal_to_noise=(30.0, 60.0), seed=4)

SMALL = [
    "experiment=spectra", "tracker=none", "hardware=cpu", "hardware.threads=1", "atmosphere.last=4250",
    "atmosphere.pixels=400", "atmosphere.lines=24", "emulator.templates=300", "emulator.held_out=50",
    "emulator.components=20", "emulator.batch=300", "network.width=24", "stages.soap.steps=150",
    "stages.soap.optimizer.lr=0.01", "stages.soap.validate_every=150", "survey.spectra=90",
]  # fmt: skip
"""A run of every phase in seconds; its emulator is good to a few parts in a thousand."""


@pytest.fixture(scope="module")
def survey(templates):
    return draw_survey(SURVEY, templates.grid, templates.lines, 5)


@pytest.fixture(scope="module")
def file(emulator, tmp_path_factory):
    path = tmp_path_factory.mktemp("emulator") / "emulator.safetensors"
    save_emulator(path, *emulator)
    return path


def test_a_survey_gives_back_what_it_was_drawn_from(survey, emulator):
    """Truth from the formula, fits with the emulator: pulls of mean 0 and spread 1, χ² of the number of data."""
    found, accuracy = emulator
    fitted = fit_spectra(found, survey.wavelengths, survey.flux, survey.sigma, survey.mask, FittingSettings())
    assert bool(fitted.good.all()) and fitted.counts["converged"] > 270
    results = judge_survey(survey, fitted, (*found.units, "km/s", "km²/s²"), accuracy)
    figures = results.figures()
    # 150 fits for each ratio: a mean is known to 0.08, a spread to 0.06; the emulator adds as much as a tenth
    assert figures["pull_mean"] < 0.35 and figures["pull_spread"] < 0.25 and figures["chi2_per_dof"] < 0.02
    assert figures["failed_percent"] == 0 and set(results.accuracy) == {30.0, 60.0}
    # stated errors follow the noise
    errors = [results.accuracy[ratio]["velocity"].error for ratio in (30.0, 60.0)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.15)
    assert float((fitted.dof - (~survey.mask).sum(1) + 10).abs().max()) == 0


def test_equal_settings_draw_equal_surveys_and_nonsense_hides_under_the_mask(survey, templates):
    again = draw_survey(SURVEY, templates.grid, templates.lines, 5)
    assert torch.equal(again.truth, survey.truth)
    torch.testing.assert_close(again.flux, survey.flux, rtol=0, atol=0, equal_nan=True)
    share = float(survey.mask.double().mean())
    assert share == pytest.approx(0.05, abs=0.01) and bool(survey.flux[survey.mask].isnan().any())
    assert bool(survey.flux[~survey.mask].isfinite().all()) and float(survey.flux[~survey.mask].max()) < 5


def test_an_exported_emulator_is_the_one_that_was_trained(emulator, file):
    found, accuracy = emulator
    loaded, metadata = load_emulator(file)
    labels = found.ranges.mean(1)[None]
    assert torch.equal(loaded(labels), found(labels)) and metadata.accuracy == accuracy
    assert loaded.grid == found.grid and loaded.labels == found.labels
    assert load_emulator(file.parent)[1] == metadata


def test_a_file_that_is_no_emulator_is_refused(file, tmp_path):
    with pytest.raises(InputError, match=r"no emulator at .*experiment=spectra"):
        load_emulator(tmp_path)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(file.read_bytes()[:500])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_emulator(torn)
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(file.read_bytes().replace(b"spectrum emulator", b"spectrum emulatoR"))
    with pytest.raises(InputError, match=r"wrong for emulator\.safetensors: kind: .*'spectrum emulator'"):
        load_emulator(foreign)
    newer = tmp_path / "newer.safetensors"
    newer.write_bytes(file.read_bytes().replace(b'format_version\\": 1', b'format_version\\": 9'))
    with pytest.raises(InputError, match="newer Limbeck"):
        load_emulator(newer)


def test_the_command_fits_a_users_file(survey, file, tmp_path, capsys):
    spectra = tmp_path / "spectra.npz"
    arrays = {"wavelength": survey.wavelengths, "flux": survey.flux[:12], "sigma": survey.sigma[:12]}
    np.savez(spectra, **arrays, mask=survey.mask[:12])
    out = tmp_path / "table.csv"
    assert main([str(spectra), "--emulator", str(file), "--out", str(out)]) == 0
    assert "12 spectra: 12 converged" in capsys.readouterr().out
    with out.open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 12 and rows[0]["status"] == "converged"
    found = np.array([float(row["velocity"]) for row in rows])
    errors = np.array([float(row["velocity_error"]) for row in rows])
    assert np.abs((found - survey.truth[:12, 3].numpy()) / errors).max() < 4.5
    with np.load(tmp_path / "table.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["velocity"], found, rtol=1e-8)
        assert arrays["covariance"].shape == (12, 10, 10)
    document = json.loads((tmp_path / "table.json").read_text())
    assert document["fits"] == 12 and document["parameters"]["velocity"] == "km/s"


def test_the_command_says_what_is_wrong(survey, file, tmp_path, capsys):
    spectra = tmp_path / "spectra.npz"

    def refused(words, *more, **arrays):
        np.savez(spectra, **arrays)
        assert main([str(spectra), "--emulator", str(file), "--out", str(tmp_path / "t.csv"), *more]) == 2
        assert words in capsys.readouterr().err

    x, flux = survey.wavelengths.numpy(), survey.flux[:2].numpy()
    refused("lacks sigma", wavelength=x, flux=flux)
    refused("wavelength has (400,); got (399,)", wavelength=x[1:], flux=flux, sigma=1.0)
    refused("sigma of shape (3,) does not spread", wavelength=x, flux=flux, sigma=np.ones(3))
    refused("the name ends in .csv", "--out", "t.txt", wavelength=x, flux=flux, sigma=1.0)
    refused("The emulator knows wavelengths", wavelength=x + 300, flux=flux, sigma=1.0)
    refused("cannot be read as numpy's npz", wavelength=np.array([{}], dtype=object), flux=flux, sigma=1.0)
    assert not (tmp_path / "t.csv").exists()


def small(root, *words):
    return compose([*SMALL, f"run.root={root}", "run.name=run", *words])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run whose only bar is out of reach."""
    root = tmp_path_factory.mktemp("whole")
    names = ("pull_mean", "pull_spread", "chi2_per_dof", "failed_percent")
    words = [*(f"validation.gates.{name}=null" for name in names), "validation.gates.emulator_rms=1e-9"]
    with pytest.raises(GateFailed, match="FAILED 1 of 1 gates: error of the emulated flux"):
        execute(small(root, *words))
    return root, words


def test_a_run_that_misses_a_bar_leaves_everything_all_the_same(whole):
    folder = whole[0] / "spectra" / "run"
    for name in ("emulator.safetensors", "report.html", "fits.csv", "fits.npz", "metrics.jsonl"):
        assert (folder / name).stat().st_size > 100, name
    summary = json.loads((folder / "summary.json").read_text())
    assert not summary["passed"] and summary["fits"] == 90 and summary["emulator_rms"] > 1e-9
    page = (folder / "report.html").read_text()
    assert all(f'id="{name}"' in page for name in ("example", "pulls", "scatter", "emulator", "learning_curves"))
    assert "http" not in page.replace("http://www.w3.org", "") and "python -m pinn.fitting" in page
    with np.load(folder / "fits.npz", allow_pickle=False) as table:
        assert table["truth"].shape == (90, 5) and table["covariance"].shape == (90, 10, 10)


def test_a_finished_run_is_not_run_again_but_says_its_verdict(whole, capsys):
    root, words = whole
    before = (root / "spectra" / "run" / "fits.csv").stat().st_mtime_ns
    with pytest.raises(GateFailed, match="error of the emulated flux"):
        execute(small(root, *words))
    assert "This run is finished" in capsys.readouterr().out
    assert (root / "spectra" / "run" / "fits.csv").stat().st_mtime_ns == before


def test_impossible_runs_are_refused_before_anything_is_computed(tmp_path):
    words = ["emulator.components=300", "stages.soap.accumulate=2", "fitting.start_labels=[2,2]"]
    with pytest.raises(ConfigurationError) as refusal:
        execute(small(tmp_path, *words))
    for complaint in ("emulator.templates=300", "stages.soap.accumulate=2", "2 numbers for the 3 labels"):
        assert complaint in str(refusal.value)
    assert not (tmp_path / "spectra").exists()
    with pytest.raises(ConfigurationError, match=r"must be pinn.networks.MLP"):
        validate(small(tmp_path, "network=modified_mlp"), SpectraSettings)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_whole_experiment_passes_its_gates(tmp_path):
    """10,000 spectra; two minutes on two cores."""
    summary = execute(compose(["experiment=spectra", "tracker=none", f"run.root={tmp_path}"]))
    assert summary["passed"] and summary["fits"] == 10_000 and summary["failed_percent"] == 0


def test_the_experiment_is_what_its_settings_say():
    chosen = validate(compose(["experiment=spectra"]), SpectraSettings)
    assert chosen.survey.spectra == 10_000 and chosen.survey.signal_to_noise == (10.0, 30.0, 100.0)
    assert chosen.emulator.templates == 2000 and chosen.fitting.continuum == 5
    gates = chosen.validation.gates
    assert gates.pull_mean == 0.1 and gates.pull_spread == 0.1 and gates.failed_percent == 1.0
    # the YAML files and the classes have the same defaults
    assert chosen.atmosphere == type(chosen.atmosphere)() and chosen.fitting == FittingSettings()
    assert chosen.survey == SurveySettings()
