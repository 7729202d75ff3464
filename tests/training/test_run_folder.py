"""The run folder is found by the same command, belongs to one process, and is never overwritten."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.environment import write_environment
from training.errors import ConfigurationError, InputError
from training.hardware import Hardware
from training.run_folder import RunFolder, default_name, differences

CONFIG = {"seed": 1, "student": {"channels": 8, "name": "a"}, "run": {"name": None}, "tracker": {"kind": "none"}}


def opened(root, config=CONFIG, name=None, resume=True) -> RunFolder:
    return RunFolder.open(root, "aspirin", name, config, resume)


def test_the_same_configuration_finds_its_folder_again_and_another_gets_its_own(tmp_path):
    with opened(tmp_path) as first:
        assert not first.resumed and first.name.startswith("seed1-")
    with opened(tmp_path, {**CONFIG, "tracker": {"kind": "wandb"}}) as again:
        assert again.path == first.path and again.resumed
    with opened(tmp_path, {**CONFIG, "student": {"channels": 9}}) as other:
        assert other.path != first.path and not other.resumed


@given(st.permutations(list(CONFIG)))
def test_the_name_does_not_depend_on_the_order_of_keys(keys):
    assert default_name({key: CONFIG[key] for key in keys}) == default_name(CONFIG)


def test_a_chosen_name_with_another_configuration_is_refused_with_old_and_new_values(tmp_path):
    opened(tmp_path, name="mine").close()
    changed = {"seed": 1, "student": {"channels": 16, "name": "a", "layers": 2}}
    with pytest.raises(ConfigurationError) as error:
        opened(tmp_path, changed, name="mine")
    message = str(error.value)
    assert "student.channels: was 8, is 16" in message and "student.layers: was 'absent', is 2" in message
    assert "student.name" not in message and "run.resume=false" in message and "run.name" in message
    # the refusal has not touched the old run, and does not keep it locked
    opened(tmp_path, name="mine").close()


def test_equal_values_written_differently_are_no_difference(tmp_path):
    opened(tmp_path, {"a": (1, 2), "b": 1e-3, "c": [], "d": {}}, name="mine").close()
    opened(tmp_path, {"d": {}, "c": [], "b": 0.001, "a": [1, 2]}, name="mine").close()


def test_resume_false_starts_beside_the_old_runs(tmp_path):
    with opened(tmp_path) as first:
        first.mark_done("labels", {"count": 3})
    with opened(tmp_path, resume=False) as second, opened(tmp_path, resume=False) as third:
        assert (second.name, third.name) == (f"{first.name}-2", f"{first.name}-3")
        assert not second.done("labels")
    with opened(tmp_path) as again:
        assert again.path == first.path and again.summary("labels") == {"count": 3}


def test_a_second_process_is_refused_while_the_first_lives(tmp_path):
    code = (
        "import sys, pathlib\nfrom training.run_folder import RunFolder\n"
        f"RunFolder.open(pathlib.Path({str(tmp_path)!r}), 'aspirin', None, {CONFIG!r}, True)\n"
        "print('locked', flush=True)\nsys.stdin.read()\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(InputError, match=f"Process {holder.pid} is working"):
        opened(tmp_path)
    holder.kill()
    holder.communicate()
    # a killed process leaves no lock behind
    opened(tmp_path).close()


def test_phases_and_partial_files_survive_or_vanish_as_they_should(tmp_path):
    with opened(tmp_path) as folder:
        folder.mark_done("structures", {"n": 1})
        folder.mark_done("labels")
        (folder.path / "shards").mkdir()
        (folder.path / "shards" / ".x.abc.partial").write_text("half")
        (folder.path / "shards" / "x").write_text("whole")
    with opened(tmp_path) as folder:
        assert folder.done("structures") and folder.done("labels") and not folder.done("training")
        assert [file.name for file in (folder.path / "shards").iterdir()] == ["x"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", "..", "a b"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(ConfigurationError, match="cannot name a folder"):
        opened(tmp_path, name=name)


def test_a_place_that_cannot_be_written_is_named_before_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"run\.root"):
        opened(tmp_path / "file")


def test_differences_look_inside_and_ignore_what_does_not_decide_the_result():
    old, new = {"a": {"b": 1}, "hardware": 1}, {"a": {"c": 1}, "hardware": 2}
    assert differences(old, new) == {"a.b": (1, "absent"), "a.c": ("absent", 1)}


def test_the_environment_file_keeps_earlier_starts(tmp_path):
    hardware = Hardware("cpu", "cpu", 1, 2, "asked for")
    write_environment(tmp_path, hardware, 3)
    write_environment(tmp_path, hardware, 3)
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["seed"] == 3 and environment["threads"] == 2 and len(environment["earlier"]) == 1
    assert environment["cores"] == os.cpu_count() and environment["versions"]["torch"]


def test_a_folder_in_which_nothing_was_computed_can_be_discarded_and_no_other(tmp_path):
    with opened(tmp_path) as refused:
        refused.discard_if_empty()
        assert not refused.path.parent.exists()
    with opened(tmp_path) as begun:
        (begun.path / "structures").mkdir()
        begun.discard_if_empty()
        assert begun.path.exists()
        (begun.path / "structures").rmdir()
    with opened(tmp_path) as resumed:
        resumed.discard_if_empty()
        assert resumed.path.exists()
