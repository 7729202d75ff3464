"""The model card of an exported student: what it is for, what it was taught, how well, and where it ends."""

from __future__ import annotations

import re
from pathlib import Path

from mlff.validate.facts import RunFacts
from mlff.validate.results import Results
from training.files import write_text_atomically
from training.report.gates import figure


def write_model_card(path: Path, results: Results, facts: RunFacts, verdict: str) -> None:
    """Write the card as Markdown.

    Args:
        path: usually ``README.md`` beside the exported student.
        results: what was measured.
        facts: about the run.
        verdict: the gates in one sentence (`gates.sentence`).

    Raises:
        InputError: if the folder cannot be written.
    """
    parts = [
        f"# {_line(facts.title)}",
        f"A PaiNN student of **{_line(facts.teacher)}** for {_line(facts.system)} ({_line(facts.formula)}). "
        + _line(verdict),
        "## Use",
        _usage(facts),
        "## Made from",
        _table({**_made_from(facts), **{str(name): str(value) for name, value in facts.student.items()}}),
        "## Accuracy",
        _accuracy(results),
        "## Limits",
        _limits(facts),
        "## Licence",
        f"The teacher's licence is {_line(facts.licence) or 'not stated'}; "
        "check what it asks of models made from its output."
        + (f" Please cite: {_line(facts.citation)}" if facts.citation else ""),
    ]
    write_text_atomically(path, "\n\n".join(parts) + "\n")


def _usage(facts: RunFacts) -> str:
    return (
        f"Molecular dynamics, relaxation and vibrations of {_line(facts.system)} in ASE:\n\n"
        "```python\n"
        "from mlff import StudentCalculator\n\n"
        f'atoms.calc = StudentCalculator("{facts.student_file}")\n'
        "print(atoms.get_potential_energy(), atoms.get_forces())\n"
        "```"
    )


def _made_from(facts: RunFacts) -> dict[str, str]:
    rows = {"teacher": facts.teacher, "elements": ", ".join(facts.elements)}
    rows |= {f"structures, {part}": str(count) for part, count in facts.structures.items()}
    rows |= {f"source: {source}": str(count) for source, count in facts.sources.items()}
    rows |= {f"rejected: {reason}": str(count) for reason, count in facts.rejected.items()}
    return rows


def _accuracy(results: Results) -> str:
    rows: dict[str, str] = {}
    if results.accuracy is not None:
        accuracy = results.accuracy
        rows |= {
            f"force MAE ({accuracy.structures} held-out structures)": f"{figure(accuracy.force_mae_meV_per_A)} meV/Å",
            "force MAE of predicting zero": f"{figure(accuracy.force_mae_of_zero_meV_per_A)} meV/Å",
            "force RMSE": f"{figure(accuracy.force_rmse_meV_per_A)} meV/Å",
            "energy MAE": f"{figure(accuracy.energy_mae_meV_per_atom)} meV/atom",
            "energy MAE of the best constant": f"{figure(accuracy.energy_mae_of_constant_meV_per_atom)} meV/atom",
        }
        if accuracy.stress_mae_meV_per_A3 is not None:
            rows["stress MAE"] = f"{figure(accuracy.stress_mae_meV_per_A3)} meV/Å³"
    if results.stability is not None:
        stability = results.stability
        rows["dynamics at constant energy"] = (
            f"{stability.duration_ps:g} ps" if stability.survived else f"stopped: {stability.failure}"
        )
        drift, error = stability.drift_meV_per_atom_per_ps, stability.drift_standard_error_meV_per_atom_per_ps
        if drift is not None and error is not None:
            rows["energy drift"] = f"{figure(abs(drift))} ± {figure(error)} meV/atom/ps"
    return _table(rows) if rows else "Not measured."


def _limits(facts: RunFacts) -> str:
    elements = ", ".join(facts.elements)
    lines = [
        f"Knows {elements} only, in the arrangements it was trained on: other molecules, broken bonds, other charges "
        "or spin states and much higher temperatures are outside and not checked.",
        f"Errors are against the teacher, {_line(facts.teacher)}, not against experiment: the teacher's own error "
        "comes on top.",
        *facts.notes,
    ]
    return "\n".join(f"- {_line(line)}" for line in lines)


def _table(rows: dict[str, str]) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _line(text: str) -> str:
    """Text on one line, with nothing that Markdown renders as HTML."""
    return re.sub(r"\s+", " ", text).replace("<", "&lt;").strip()


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")
