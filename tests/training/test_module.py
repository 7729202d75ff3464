"""The staged module: accumulation, precision, averages, groups of parameters, and stopping at numbers that are none."""

import json
import re
from pathlib import Path

import pytest
import torch
from toy_half import ToyData, ToyModule, ToyNetwork, ToySettings, toy_config

from training.checkpoints import find_checkpoint
from training.configuration import plain
from training.context import RunContext
from training.errors import ConfigurationError
from training.fitting import fit_stages
from training.hardware import HardwareSettings, choose_hardware
from training.interruption import Interruption
from training.module import Diverged, parameter_groups
from training.progress import Progress
from training.run_folder import RunFolder
from training.tracking import TrackerSettings, build_tracker


def train(root: Path, *overrides: str, dropout: float = 0.0, noise: float = 0.0, device: str = "cpu") -> ToyModule:
    """Train the toy in this process and return the module."""
    settings = ToySettings.model_validate(plain(toy_config(root, "checkpoint_seconds=1000", *overrides)))
    hardware = choose_hardware(HardwareSettings(device=device, threads=1))
    folder = RunFolder.open(root, "toy", "run", settings.model_dump(mode="json"), True)
    tracker = build_tracker(TrackerSettings(kind="none"), folder.path, "toy", "run", {}, lambda _: None)
    with folder, tracker:
        context = RunContext(folder, tracker, hardware, Progress(), Interruption(), 3, settings.checkpoint_seconds, {})
        torch.manual_seed(0)
        module = ToyModule(settings, folder.path, dropout)
        fit_stages(module, ToyData(settings.seed, noise), settings.stages, context)
    return module


def rows(root: Path, key: str) -> dict[int, float]:
    lines = (root / "toy" / "run" / "metrics.jsonl").read_text().splitlines()
    return {row["step"]: row[key] for row in map(json.loads, lines) if key in row}


def single(*, steps: int, batch_size: int, accumulate: int, precision: str = "64", **more: object) -> list[str]:
    """One stage in place of the toy's two."""
    values = {"steps": steps, "batch_size": batch_size, "accumulate": accumulate, "precision": precision, **more}
    first = [f"stages.first.{key}={value}" for key, value in values.items()]
    return [*first, "stages.second.steps=1", "stages.second.precision=64"]


def test_accumulated_micro_batches_equal_one_large_batch(tmp_path):
    for name in ("large", "micro"):
        (tmp_path / name).mkdir()
    # 36 of the 38 samples go into either kind of batch in the same order, as 3 × 12 and as 9 groups of 3 × 4
    large = train(tmp_path / "large", *single(steps=9, batch_size=12, accumulate=1))
    micro = train(tmp_path / "micro", *single(steps=9, batch_size=4, accumulate=3))
    for one, other in zip(large.parameters(), micro.parameters(), strict=True):
        # float64 sums in another order; the promise to users is 1e-6
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    large_loss, micro_loss = (rows(tmp_path / name, "train/loss") for name in ("large", "micro"))
    assert large_loss.keys() == micro_loss.keys() and len(large_loss) >= 3
    for step, value in large_loss.items():
        assert micro_loss[step] == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("precision", ["64", "32", "bf16", "16"])
def test_every_precision_trains_and_keeps_exact_buffers_exact(tmp_path, precision):
    module = train(tmp_path, *single(steps=40, batch_size=36, accumulate=1, precision=precision, log_every=1))
    losses = rows(tmp_path, "train/loss")
    # nearly all samples in every batch, so the loss falls without noise
    assert losses[40] < 0.8 * losses[1]
    assert module.model.offset.item() == 1 / 3 and module.average.model.offset.item() == 1 / 3
    assert {p.dtype for p in module.parameters()} == {torch.float64}  # the second stage's
    rates = list(rows(tmp_path, "learning_rate").values())
    assert rates[0] < rates[2] and rates[2] > rates[-2] > 0


def test_half_precision_on_the_cpu_is_half_precision(tmp_path, monkeypatch):
    seen = set()
    forward = ToyNetwork.forward

    def spy(self, x, kind):
        seen.add((torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")))
        return forward(self, x, kind)

    monkeypatch.setattr(ToyNetwork, "forward", spy)
    train(tmp_path, *single(steps=3, batch_size=4, accumulate=1, precision="16"))
    assert (torch.float16, True) in seen and (torch.bfloat16, True) not in seen


def test_validation_judges_the_average_and_leaves_the_trained_weights_alone(tmp_path):
    module = train(tmp_path)
    assert module.judged_model is module.average.model
    batch = next(iter(ToyData(3).val_dataloader()))
    trained, averaged = (m(batch["x"], batch["kind"]) for m in (module.model, module.judged_model))
    assert (trained - averaged).abs().max() > 1e-4
    total = count = 0.0
    with torch.no_grad():
        for batch in ToyData(3).val_dataloader():
            error = module.average.model.eval()(batch["x"], batch["kind"]) - batch["y"]
            total, count = total + float(error.abs().sum()), count + len(error)
    last = list(rows(tmp_path, "validation/mae").values())[-1]
    assert last == pytest.approx(total / count, rel=1e-12) == module.latest_validation["mae"]


def test_a_stage_without_average_is_judged_by_its_weights(tmp_path):
    module = train(tmp_path, "stages.first.ema_decay=null", "stages.second.ema_decay=null")
    assert module.judged_model is module.model


def test_the_last_step_of_every_stage_is_validated_once(tmp_path):
    train(tmp_path)
    # every 5 of 12 steps, then every 4 of 6, counted on
    assert list(rows(tmp_path, "validation/mae")) == [5, 10, 12, 16, 18]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(tmp_path):
    with pytest.raises(Diverged, match="size is not finite at step 7 of stage first"):
        train(tmp_path, "bad_step=7", "checkpoint_seconds=0")
    _, content = find_checkpoint(tmp_path / "toy" / "run", print)
    assert content["limbeck"]["steps"] == 7
    assert all(value.isfinite().all() for value in content["state_dict"].values())


def test_a_time_budget_cuts_the_stage_once_and_its_schedule_ends_at_the_cut(tmp_path, capsys):
    words = single(steps=100000, batch_size=4, accumulate=1, max_minutes=0.03, validate_every=1000, log_every=1)
    train(tmp_path, *words)
    output = capsys.readouterr().out
    assert output.count("is cut from 100000 to") == 1 and "stages.first.max_minutes" in output
    steps = int(re.search(r"from 100000 to (\d+) steps", output)[1])
    # one more step is the second stage's
    rates = rows(tmp_path, "learning_rate")
    assert max(rates) == steps + 1 < 20000
    assert rates[steps] < 1e-3 * max(rates.values())
    assert steps in rows(tmp_path, "validation/mae")


def test_loss_terms_and_weights_must_match(tmp_path):
    with pytest.raises(ConfigurationError, match=r"stages\.first\.loss_weights weights stres, .* size, square"):
        train(tmp_path, "stages.first.loss_weights.stres=1.0")


def test_biases_and_embeddings_are_not_decayed():
    network = ToyNetwork()
    decayed, kept = parameter_groups(network)
    assert [p.shape for p in decayed["params"]] == [(16, 3), (1, 16)]
    assert kept["weight_decay"] == 0.0 and any(p is network.kinds.weight for p in kept["params"])
    assert len(kept["params"]) == 3


def test_a_schedule_that_follows_the_loss_sees_it_at_every_step(tmp_path):
    # no progress by a factor of ten within two steps, so the rate halves again and again
    plateau = ["_target_=training.schedules.Plateau", "patience=2", "factor=0.5", "threshold=0.9", "final=0.01"]
    words = [f"stages.first.schedule.{word}" for word in plateau]
    train(
        tmp_path,
        *single(steps=12, batch_size=4, accumulate=3, log_every=1),
        *words,
        "stages.first.schedule.warmup_steps=0",
    )
    rates = [rate for step, rate in rows(tmp_path, "learning_rate").items() if step <= 12]
    assert rates == [0.01 / 2 ** (max(step - 1, 0) // 2) for step in range(12)]


def test_a_schedule_that_follows_something_unknown_is_refused(tmp_path):
    words = ["_target_=training.schedules.Plateau", "observes=los", "warmup_steps=0"]
    with pytest.raises(ConfigurationError, match=r"observes: there is no los; .* loss, .* gradient_norm"):
        train(tmp_path, *single(steps=3, batch_size=4, accumulate=1), *[f"stages.first.schedule.{w}" for w in words])
