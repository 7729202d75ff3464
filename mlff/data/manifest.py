"""The manifest of a label store: JSON that a person can read; what the labels are, and which shards hold them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlff.data.shards import UNITS, Shard
from training.errors import InputError
from training.files import write_text_atomically

FORMAT = "limbeck label store"
VERSION = 1
FILE = "manifest.json"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class ShardEntry:
    """A line of the manifest: one shard.

    Attributes:
        name: unique in the store.
        file: relative to the store's folder.
        count: structures it holds, rejected ones included.
        accepted: those with a label that are not rejected.
        bytes: size of the file.
        sha256: checksum of the file.
        atoms: atoms of each structure, for batches balanced by size.
    """

    name: str
    file: str
    count: int
    accepted: int
    bytes: int
    sha256: str
    atoms: list[int]


def examine(folder: Path, path: Path) -> ShardEntry:
    """The manifest's line for a finished shard file of the store in ``folder``.

    Raises:
        InputError: if the file is damaged.
    """
    shard = Shard(path)
    shard.verify()
    return ShardEntry(
        name=path.name.removesuffix(SUFFIX),
        file=path.relative_to(folder).as_posix(),
        count=len(shard),
        accepted=int(shard.accepted.sum()),
        bytes=path.stat().st_size,
        sha256=checksum(path),
        atoms=shard.atom_counts.tolist(),
    )


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, metadata: dict[str, Any], entries: Sequence[ShardEntry]) -> None:
    """Replace the manifest of a store in one step."""
    structures = sum(entry.count for entry in entries)
    head = {"format": FORMAT, "version": VERSION, "units": UNITS, "structures": structures, "metadata": metadata}
    # one line per shard, so that the list of atoms does not take a line per structure
    lines = ",\n".join("    " + json.dumps(asdict(entry), ensure_ascii=False) for entry in entries)
    opened = json.dumps(head, indent=2, ensure_ascii=False, allow_nan=False).removesuffix("\n}")
    write_text_atomically(folder / FILE, f'{opened},\n  "shards": [\n{lines}\n  ]\n}}\n')


def read_manifest(folder: Path) -> tuple[dict[str, Any], list[ShardEntry]]:
    """Metadata and shards of a store.

    Raises:
        InputError: if there is no manifest, it is no manifest, or a newer Limbeck wrote it.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        version = int(content["version"])
        entries = [ShardEntry(**entry) for entry in content["shards"]] if version <= VERSION else []
        metadata = dict(content["metadata"])
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no label store: {FILE} is missing.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no manifest of a label store ({type(error).__name__}: {error}).") from error
    if version > VERSION:
        raise InputError(f"{path} has format {version}; this Limbeck reads up to {VERSION}. Update Limbeck to read it.")
    return metadata, entries
