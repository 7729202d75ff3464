"""Where the first geometries come from: the library, ASE's molecules, SMILES, bulk crystals, or any file ASE reads."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell, molecule
from ase.build.molecule import extra
from ase.collections import g2
from ase.io import read

from training.errors import InputError

CONFORMER_SEED = 2026
"""Start of RDKit's random embedding, so that a SMILES string always gives the same geometry."""

CHARGE_TOLERANCE = 0.02
"""Charges of atoms that add up to a whole number within this are meant to."""


def load_seeds(source: str, supercell: Sequence[int] = (1, 1, 1)) -> list[Atoms]:
    """The structures a run starts from.

    Args:
        source: ``aspirin`` or another molecule of the library; a molecule of ASE (``CH3CH2OH``); ``smiles:CCO`` (or a
            bare SMILES string that is no molecule's name); ``bulk:Si`` (ASE's bulk crystal); or a file that ASE reads,
            each of whose frames is a seed.
        supercell: repetitions of periodic seeds along their lattice vectors.

    Returns:
        Structures as `as_seed` makes them.

    Raises:
        InputError: if the source is unknown (names the nearest molecules), a file cannot be read, or RDKit is missing.
    """
    seeds = [as_seed(atoms, source) for atoms in _find(source.strip())]
    if not seeds:
        raise InputError(f"structures.source={source} holds no structure.")
    for number, atoms in enumerate(seeds):
        if len(atoms) == 0 or not np.isfinite(atoms.positions).all():
            raise InputError(
                f"structures.source={source}: frame {number} has no atoms or positions that are not finite."
            )
    return [repeated(atoms, supercell) for atoms in seeds]


def library() -> dict[str, Path]:
    """The built-in geometries by name."""
    folder = Path(str(resources.files("mlff.structures"))) / "library"
    return {path.stem: path for path in sorted(folder.glob("*.xyz"))}


def molecule_names() -> list[str]:
    """Every name that is no file, SMILES string or crystal."""
    return [*library(), *g2.names, *extra]


def _find(source: str) -> list[Atoms]:
    kind, _, rest = source.partition(":")
    if kind == "smiles" and rest:
        return [_from_smiles(rest)]
    if kind == "bulk" and rest:
        return [_crystal(rest)]
    if source in library():
        return list(read(library()[source], index=":", format="extxyz"))
    if source in molecule_names():
        return [molecule(source)]
    if Path(source).is_file():
        return _from_file(Path(source))
    if _is_smiles(source):
        return [_from_smiles(source)]
    raise InputError(f"structures.source={source}: {_unknown(source)}")


def _from_file(path: Path) -> list[Atoms]:
    try:
        return list(read(path, index=":"))
    except Exception as error:
        # ASE's many readers raise errors of every kind
        raise InputError(
            f"structures.source={path}: ASE cannot read this file ({type(error).__name__}: {error}). It goes by the "
            "name's ending; ase.io.formats lists what it knows."
        ) from error


def _crystal(symbol: str) -> Atoms:
    try:
        return bulk(symbol)
    except (ValueError, KeyError, RuntimeError) as error:
        raise InputError(
            f"structures.source=bulk:{symbol}: ASE knows no bulk crystal of it ({error}); give a file."
        ) from error


def _is_smiles(text: str) -> bool:
    try:
        from rdkit import Chem, rdBase
    except ModuleNotFoundError:
        return False
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(text) is not None


def _from_smiles(text: str) -> Atoms:
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem import Descriptors, rdDistGeom, rdForceFieldHelpers
    except ModuleNotFoundError as error:
        raise InputError(
            f"structures.source=smiles:{text} needs RDKit: pip install 'limbeck[smiles]' (or pip install rdkit)."
        ) from error
    with rdBase.BlockLogs():
        parsed = Chem.MolFromSmiles(text)
        if parsed is None:
            raise InputError(f"structures.source=smiles:{text}: RDKit cannot read this SMILES string.")
        full = Chem.AddHs(parsed)
        if rdDistGeom.EmbedMolecule(full, randomSeed=CONFORMER_SEED) != 0:
            raise InputError(f"structures.source=smiles:{text}: RDKit finds no geometry; give a file instead.")
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(full):
            rdForceFieldHelpers.MMFFOptimizeMolecule(full)
    atoms = Atoms([atom.GetSymbol() for atom in full.GetAtoms()], full.GetConformer().GetPositions())
    atoms.info["charge"] = Chem.GetFormalCharge(full)
    atoms.info["multiplicity"] = Descriptors.NumRadicalElectrons(full) + 1
    return atoms


def as_seed(atoms: Atoms, source: str) -> Atoms:
    """A structure as sampling takes it: without velocities, constraints and calculator.

    Charges of atoms are dropped, because files hold partial charges that a teacher would add up to a charge of the
    whole; a total charge that differs from zero is kept as ``info["charge"]``, and the teacher must be told of it.

    Args:
        atoms: not changed.
        source: where it comes from, kept as ``info["source"]``.
    """
    seed = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if atoms.has("initial_magmoms"):
        seed.set_initial_magnetic_moments(atoms.get_initial_magnetic_moments())
    implied = {key: atoms.info[key] for key in ("charge", "multiplicity") if isinstance(atoms.info.get(key), int)}
    total = float(atoms.get_initial_charges().sum())
    if round(total) != 0 and abs(total - round(total)) < CHARGE_TOLERANCE:
        implied.setdefault("charge", round(total))
    seed.info = {"source": source, **implied}
    return seed


def repeated(atoms: Atoms, supercell: Sequence[int]) -> Atoms:
    """A periodic structure repeated along its lattice vectors; the structure itself for (1, 1, 1).

    Raises:
        InputError: if it is not periodic.
    """
    if tuple(supercell) == (1, 1, 1):
        return atoms
    if not atoms.pbc.any():
        raise InputError(
            f"structures.supercell={list(supercell)}: {atoms.get_chemical_formula()} is not periodic, so it cannot be "
            "repeated."
        )
    return make_supercell(atoms, np.diag(supercell))


def _unknown(source: str) -> str:
    if "/" in source or Path(source).suffix:
        return "there is no such file."
    close = get_close_matches(source, molecule_names(), n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "aspirin, or a name of ASE's such as CH3CH2OH, is one."
    smiles = "no SMILES string (reading those needs RDKit: pip install rdkit)"
    return f"no molecule of that name, no such file, and {smiles}; {hint}"
