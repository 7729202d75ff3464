"""What a report says about a run beside its measurements: which problem was solved, with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class SolveFacts:
    """Everything a reader needs to judge and repeat a run. Empty fields leave their lines out of the report.

    Attributes:
        title: of the problem, as "Burgers' equation, ν = 0.01/π".
        formula: the equations in LaTeX as matplotlib reads it, one per line.
        equations: the same in words or plain signs, for readers without pictures.
        coordinates: names, in order.
        bounds: lowest and highest value of every coordinate.
        domain: in words.
        conditions: what each one asks for, in words, by name; whether it holds exactly or is learned belongs there.
        ansatz: formula of the hard conditions, plain text.
        fields: names.
        reference: where the reference comes from, a few words; empty without one.
        network: its make (kind, width, depth, activation), in words or numbers.
        stages: what each stage does, in words, by name.
        sampling: how collocation points are chosen, in words.
        seeds: by what they decide.
        phases: wall time of each phase in seconds.
        environment: machine and versions.
        command: what repeats the run.
        files: what the run folder holds, by file name.
        network_file: the exported network's file name.
        notes: anything the reader must not miss, a sentence each.
    """

    title: str
    formula: str
    coordinates: tuple[str, ...]
    bounds: Mapping[str, tuple[float, float]]
    fields: tuple[str, ...]
    domain: str
    conditions: Mapping[str, str] = field(default_factory=dict)
    equations: str = ""
    ansatz: str = ""
    reference: str = ""
    network: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    sampling: str = ""
    seeds: Mapping[str, int] = field(default_factory=dict)
    phases: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    network_file: str = "network.safetensors"
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
