"""The exported file brings back the same student, and every wrong file is refused with its reason."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mlff.deploy.export import load_student, save_student
from mlff.deploy.metadata import FORMAT_VERSION
from training.errors import InputError


def rewrite(source, target, change_tensors=None, change_document=None):
    """A copy of an exported student with something else inside."""
    tensors = load_file(source)
    with safe_open(source, framework="pt") as file:
        document = json.loads(file.metadata()["limbeck"])
    if change_tensors:
        change_tensors(tensors)
    if change_document:
        change_document(document)
    save_file(tensors, target, metadata={"limbeck": json.dumps(document)})
    return target


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_every_weight_comes_back_to_the_last_bit(self, dtype, tmp_path, student, given):
        model = type(student)(**student.architecture()).to(dtype)
        model.set_reference({1: -13.605693122994, 6: -1030.1, 8: -2043.2, 14: -7870.3}, energy_scale=1.2345678901234567)
        save_student(tmp_path / "s.safetensors", model, given)
        loaded, _ = load_student(tmp_path / "s.safetensors")
        expected = model.state_dict()
        assert loaded.state_dict().keys() == expected.keys()
        for name, tensor in loaded.state_dict().items():
            assert tensor.dtype == expected[name].dtype and torch.equal(tensor, expected[name]), name
        assert not loaded.training

    def test_metadata_say_what_the_student_is(self, student_file, student, given):
        _, metadata = load_student(student_file)
        assert metadata["architecture"] == student.architecture()
        assert metadata["elements"] == ["H", "C", "O", "Si"]
        assert metadata["reference_energies"] == {"H": -13.6, "C": -1030.0, "O": -2043.0, "Si": -7870.0}
        assert metadata["energy_scale"] == 3.0
        assert metadata["units"]["forces"] == "eV/Å"
        assert metadata["created"].keys() == {"date", "limbeck", "torch", "python"}
        assert metadata["format_version"] == FORMAT_VERSION
        assert {key: metadata[key] for key in given} == given

    def test_further_metadata_are_kept(self, tmp_path, student, given):
        save_student(tmp_path / "s.safetensors", student, given | {"stages": ["forces", "energy"]})
        assert load_student(tmp_path / "s.safetensors")[1]["stages"] == ["forces", "energy"]

    def test_a_run_folder_stands_for_its_student(self, student_file):
        assert load_student(student_file.parent)[1] == load_student(student_file)[1]


class TestWrongFiles:
    def test_no_file(self, tmp_path):
        with pytest.raises(InputError, match=r"There is no student at .*nowhere"):
            load_student(tmp_path / "nowhere.safetensors")

    def test_a_run_without_a_student(self, tmp_path):
        with pytest.raises(InputError, match="has not exported its student yet"):
            load_student(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"a pickle or a text", b"\x80\x02}q\x00." * 50])
    def test_another_format(self, tmp_path, content):
        (tmp_path / "s.safetensors").write_bytes(content)
        with pytest.raises(InputError, match="not a whole safetensors file"):
            load_student(tmp_path / "s.safetensors")

    @pytest.mark.parametrize("share", [0.0005, 0.1, 0.5, 0.999])
    def test_a_truncated_file(self, tmp_path, student_file, share):
        whole = student_file.read_bytes()
        (tmp_path / "s.safetensors").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match=r"not a whole safetensors file.*truncated"):
            load_student(tmp_path / "s.safetensors")

    def test_somebody_elses_safetensors(self, tmp_path):
        save_file({"weight": torch.ones(2)}, tmp_path / "s.safetensors", metadata={"format": "pt"})
        with pytest.raises(InputError, match="without Limbeck's metadata"):
            load_student(tmp_path / "s.safetensors")

    def test_a_newer_format(self, tmp_path, student_file):
        path = rewrite(
            student_file,
            tmp_path / "s.safetensors",
            change_document=lambda d: (d.clear(), d.update(format_version=FORMAT_VERSION + 1)),
        )
        with pytest.raises(InputError, match=rf"newer Limbeck \(format {FORMAT_VERSION + 1}.*pip install --upgrade"):
            load_student(path)

    def test_metadata_that_are_no_json(self, tmp_path, student_file):
        save_file(load_file(student_file), tmp_path / "s.safetensors", metadata={"limbeck": "{'a': "})
        with pytest.raises(InputError, match="not readable"):
            load_student(tmp_path / "s.safetensors")

    @pytest.mark.parametrize("key", ["architecture", "units", "teacher", "licence", "format_version", "energy_scale"])
    def test_a_missing_key_is_named(self, tmp_path, student_file, key):
        path = rewrite(student_file, tmp_path / "s.safetensors", change_document=lambda d: d.pop(key))
        with pytest.raises(InputError, match=f"{key}: Field required"):
            load_student(path)

    @pytest.mark.parametrize(
        "change",
        [{"channels": 0}, {"basis": "NoSuchBasis"}, {"heads": 8}, {"elements": []}, {"channels": "sixteen"}],
        ids=str,
    )
    def test_an_impossible_architecture(self, tmp_path, student_file, change):
        path = rewrite(
            student_file, tmp_path / "s.safetensors", change_document=lambda d: d["architecture"].update(change)
        )
        with pytest.raises(InputError, match=r"architecture in .* cannot be built"):
            load_student(path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.pop("embedding.weight"), "embedding.weight is missing"),
            (lambda t: t.update(extra=torch.ones(1)), "extra is unknown"),
            (lambda t: t.update({"embedding.weight": torch.ones(4, 8)}), r"the shape \(4, 8\) instead of \(4, 16\)"),
        ],
    )
    def test_weights_of_another_architecture(self, tmp_path, student_file, change, message):
        path = rewrite(student_file, tmp_path / "s.safetensors", change_tensors=change)
        with pytest.raises(InputError, match=f"do not fit its architecture.*{message}"):
            load_student(path)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_weights_that_are_no_numbers(self, tmp_path, student_file, bad):
        path = rewrite(
            student_file, tmp_path / "s.safetensors", change_tensors=lambda t: t["embedding.weight"][0].fill_(bad)
        )
        with pytest.raises(InputError, match=r"embedding.weight holds values that are not finite"):
            load_student(path)


class TestWriting:
    def test_a_diverged_student_is_not_written(self, tmp_path, student, given):
        model = type(student)(**student.architecture())
        torch.nn.init.constant_(model.embedding.weight, float("nan"))
        with pytest.raises(InputError, match=r"not written: embedding.weight holds values that are not finite"):
            save_student(tmp_path / "s.safetensors", model, given)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"accuracy": {"force_mae": float("nan")}}, "plain JSON"),
            ({"extra": object()}, "plain JSON"),
            ({"teacher": "gfn2"}, "teacher: Input should be a valid dictionary"),
            ({"architecture": {}}, "architecture are read from the model"),
        ],
    )
    def test_wrong_metadata_leave_the_former_file_untouched(self, tmp_path, student, given, change, message):
        path = tmp_path / "s.safetensors"
        save_student(path, student, given)
        former = path.read_bytes()
        with pytest.raises(InputError, match=message):
            save_student(path, student, given | change)
        assert path.read_bytes() == former and list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("key", ["teacher", "licence", "data_fingerprint", "accuracy"])
    def test_what_makes_a_student_trustworthy_cannot_be_left_out(self, tmp_path, student, given, key):
        del given[key]
        with pytest.raises(InputError, match=f"lack {key}"):
            save_student(tmp_path / "s.safetensors", student, given)

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path, student, given):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(InputError, match="Cannot write into"):
            save_student(tmp_path / "file" / "s.safetensors", student, given)
