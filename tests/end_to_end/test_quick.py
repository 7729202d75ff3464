"""The quick experiment as a user runs it: a real teacher, a real student, and files that say the same."""

import json

import numpy as np
import pytest

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]

# a busy machine takes longer and does not train less
WITHOUT_TIME_LIMITS = ["stages.forces.max_minutes=null", "stages.energy.max_minutes=null"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, limbeck):
    """A finished quick run: its process and its folder."""
    root = tmp_path_factory.mktemp("runs")
    process = limbeck.train(["experiment=quick", f"run.root={root}", *WITHOUT_TIME_LIMITS])
    (config,) = root.glob("quick/*/config.yaml")
    return process, config.parent


class TestQuickRun:
    def test_passes_its_gates_and_says_so(self, limbeck, finished):
        process, folder = finished
        assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
        assert "gates passed" in process.stdout
        assert limbeck.summary(folder)["passed"] is True

    def test_says_the_cost_before_it_is_spent(self, limbeck, finished):
        lines = finished[0].stdout.splitlines()
        cost = next(n for n, line in enumerate(lines) if line.startswith("Labels:") and "teacher calls ×" in line)
        spent = next(n for n, line in enumerate(lines) if "structures labelled" in line)
        assert cost < spent

    def test_leaves_the_files_a_user_keeps(self, limbeck, finished):
        folder = finished[1]
        for name in (
            "config.yaml", "environment.json", "student.safetensors", "last.ckpt", "metrics.jsonl", "report.html",
            "summary.json", "model_card.md", "figures/force_parity.svg", "labels/manifest.json",
        ):  # fmt: skip
            assert (folder / name).stat().st_size > 0, name

    def test_the_stored_accuracy_is_the_one_the_exported_file_has(self, limbeck, finished):
        from mlff import StudentCalculator
        from mlff.data.store import LabelStore
        from mlff.structures.sampling import is_held_out

        folder = finished[1]
        store = LabelStore.open(folder / "labels")
        held_out = [r for r in store.fetch(store.accepted) if is_held_out(r.trajectory)]
        calculator = StudentCalculator(folder, device="cpu")
        errors = []
        for record in held_out:
            atoms = record.atoms.copy()
            atoms.calc = calculator
            errors.append(np.abs(atoms.get_forces() - record.labels.forces).mean())
        recomputed = 1000 * np.mean(errors)
        stored = calculator.metadata["accuracy"]["force_mae_meV_per_A"]
        # one by one instead of in batches: sums of float32 in another order
        assert recomputed == pytest.approx(stored, rel=1e-4)
        assert limbeck.summary(folder)["force_mae_meV_per_A"] == pytest.approx(stored, rel=1e-12)

    def test_the_held_out_trajectory_never_trained(self, limbeck, finished):
        folder = finished[1]
        metadata = json.loads((folder / "summary.json").read_text())["facts"]["structures"]
        from mlff.data.store import LabelStore
        from mlff.structures.sampling import is_held_out

        store = LabelStore.open(folder / "labels")
        held_out = sum(is_held_out(store[i].trajectory) for i in store.accepted)
        assert metadata["held out"] == held_out > 0
        assert metadata["training"] + metadata["validation"] + held_out == len(store.accepted)

    def test_the_same_command_says_that_it_is_finished(self, limbeck, finished):
        folder = finished[1]
        before = (folder / "student.safetensors").read_bytes()
        again = limbeck.train(["experiment=quick", f"run.root={folder.parent.parent}", *WITHOUT_TIME_LIMITS])
        assert again.returncode == 0
        assert "finished" in again.stdout
        assert (folder / "student.safetensors").read_bytes() == before


class TestReport:
    def test_opens_offline_and_shows_the_verdict(self, limbeck, finished):
        html = (finished[1] / "report.html").read_text()
        assert "<script" not in html
        assert 'src="http' not in html and 'href="http' not in html and "url(http" not in html
        assert "gates passed" in html
        assert html.count("data:image/svg+xml;base64,") >= 9
