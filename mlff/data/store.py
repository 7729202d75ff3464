"""The label store: a folder of shards and a manifest, which no crash can leave half written.

    labels/manifest.json              what the labels are: teacher, licence, units; every shard with count and checksum
    labels/shards/<name>.safetensors  the labels; a shard is whole or absent (see ``shards.py``)

A finished shard file *is* the checkpoint: a shard that a killed process had finished but not yet listed is found when
the store is opened next. Structures are numbered by the sorted names of their shards, so that their order does not
depend on which worker was done first.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlff.data.manifest import FILE, SUFFIX, ShardEntry, checksum, examine, read_manifest, write_manifest
from mlff.data.records import Record
from mlff.data.shards import Shard, damaged, write_shard
from training.errors import InputError
from training.files import write_atomically

# Up to this size every checksum is compared when the store is opened (about half a second); beyond it, a shard's
# checksum is compared when the shard is first read.
VERIFY_AT_ONCE = 256 * 2**20  # bytes

# A temporary file this old belongs to no living writer: a shard takes well under a second to write.
ABANDONED_AFTER = 3600.0  # s


class LabelStore:
    """Labelled structures on disk, numbered from 0; made by `create` or `open`, not by the constructor.

    One process at a time may add; any number may read. A store can be sent to another process: it opens its own files.
    """

    def __init__(self, folder: Path, metadata: dict[str, Any], entries: Iterable[ShardEntry]) -> None:
        self.folder = Path(folder)
        self.metadata = metadata
        self._opened: dict[str, Shard] = {}
        self._unverified: set[str] = set()
        self._list(entries)

    @classmethod
    def create(cls, folder: Path, metadata: dict[str, Any]) -> LabelStore:
        """An empty store.

        Args:
            folder: made if absent.
            metadata: JSON values that hold for every label: ``fingerprint`` of the teacher, its name, licence, units.

        Raises:
            InputError: if the folder already holds a store or shards without a manifest, or cannot be written.
        """
        store = cls(folder, json.loads(json.dumps(metadata, allow_nan=False)), [])
        if (store.folder / FILE).exists():
            raise InputError(f"{store.folder} already holds a label store; open it, or choose another folder.")
        if any(store._shards.glob(f"*{SUFFIX}")):
            raise InputError(
                f"{store._shards} holds shards, but {FILE} is missing, so nothing says which teacher "
                "made them. Put the manifest back, or choose another folder."
            )
        store._write()
        return store

    @classmethod
    def open(cls, folder: Path) -> LabelStore:
        """The store of a folder, with every shard finished before a crash.

        Raises:
            InputError: if there is no store, it was written by a newer Limbeck, or a shard is damaged (named).
        """
        store = cls(folder, *read_manifest(Path(folder)))
        store._check_listed()
        store.refresh()
        store._remove_abandoned()
        return store

    @classmethod
    def open_or_create(cls, folder: Path, metadata: dict[str, Any]) -> LabelStore:
        """The store of a folder if there is one of the same teacher fingerprint, else an empty one.

        Raises:
            InputError: as `open`, `create` and `require_fingerprint` do.
        """
        if not (Path(folder) / FILE).exists():
            return cls.create(folder, metadata)
        store = cls.open(folder)
        if "fingerprint" in metadata:
            store.require_fingerprint(metadata["fingerprint"])
        return store

    # Adding

    def path_of(self, name: str) -> Path:
        """Where the shard of this name lies or would lie; a worker may `write_shard` there, then `adopt` it."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise InputError(f"{name!r} is no name for a shard: use letters, digits, '.', '_' and '-'.")
        return self._shards / f"{name}{SUFFIX}"

    def add(self, name: str, records: Sequence[Record]) -> bool:
        """Store records under a name; False, and nothing done, where the name is there already.

        When it returns, the records are on the disk and survive a loss of power.

        Raises:
            InputError: as `write_shard` does.
        """
        if name in self:
            return False
        path = self.path_of(name)
        if not path.exists():
            write_shard(path, records)
        return self.adopt(path)

    def adopt(self, path: Path) -> bool:
        """Take in a finished shard file under the name of the file; False where that name is there already.

        A file outside the store is copied in first and stays where it is.

        Raises:
            InputError: if the file is damaged.
        """
        path = Path(path)
        name = path.name.removesuffix(SUFFIX)
        if name in self:
            return False
        target = self.path_of(name)
        if path.resolve() != target.resolve():
            Shard(path).verify()
            write_atomically(target, lambda temporary: _copy(path, temporary))
        self._list([*self._entries, examine(self.folder, target)])
        self._write()
        return True

    def refresh(self) -> list[str]:
        """Take in finished shard files that the manifest does not list yet; returns their names.

        Raises:
            InputError: if one of them is damaged (named).
        """
        found = sorted(
            path for path in self._shards.glob(f"[!.]*{SUFFIX}") if path.name.removesuffix(SUFFIX) not in self
        )
        if found:
            self._list([*self._entries, *(examine(self.folder, path) for path in found)])
            self._write()
        return [path.name.removesuffix(SUFFIX) for path in found]

    def require_fingerprint(self, fingerprint: str) -> None:
        """Refuse to mix labels of two teachers.

        Raises:
            InputError: if the labels here were made by a teacher with another fingerprint.
        """
        present = self.metadata.get("fingerprint")
        if present != fingerprint:
            raise InputError(
                f"The labels in {self.folder} come from another teacher: {self.metadata.get('name', 'unnamed')} with "
                f"fingerprint {present}, and {fingerprint} is asked for. Labels of two teachers never mix: choose "
                "another folder, or the former teacher, version and settings."
            )

    # Reading

    def __len__(self) -> int:
        return self._starts[-1]

    def __contains__(self, name: object) -> bool:
        return name in self._position

    def __getitem__(self, index: int) -> Record:
        """The record at a position, counted from 0, or from the end where negative."""
        shard, local = self._locate(index)
        return self._open(shard)[local]

    def __iter__(self) -> Iterator[Record]:
        return (record for entry in self._entries for record in self._open(entry))

    def fetch(self, indices: Sequence[int] | np.ndarray) -> list[Record]:
        """Records in the order asked for; only their pages of the memory maps are read."""
        return [self._open(entry)[local] for entry, local in map(self._locate, indices)]

    @property
    def names(self) -> list[str]:
        """The names of the shards, in the order in which their structures are numbered."""
        return [entry.name for entry in self._entries]

    @property
    def atoms_per_structure(self) -> np.ndarray:
        """(n,) atoms of every structure; needs no shard to be opened."""
        return np.array([count for entry in self._entries for count in entry.atoms], dtype=np.int64)

    @property
    def trajectories(self) -> list[str]:
        """The trajectory of every structure."""
        return [name for entry in self._entries for name in self._open(entry).trajectories]

    @property
    def sources(self) -> list[str]:
        """The source of every structure."""
        return [name for entry in self._entries for name in self._open(entry).sources]

    @property
    def rejections(self) -> list[str]:
        """Why a structure is not used, empty where it is."""
        return [reason for entry in self._entries for reason in self._open(entry).rejections]

    @property
    def accepted(self) -> np.ndarray:
        """Indices of the structures that have a label and are not rejected."""
        return np.flatnonzero(np.concatenate([[], *(self._open(entry).accepted for entry in self._entries)]))

    @property
    def content_fingerprint(self) -> str:
        """SHA-256 over the names and checksums of all shards: which data a student has seen."""
        lines = "\n".join(f"{entry.name} {entry.sha256}" for entry in self._entries)
        return hashlib.sha256(lines.encode()).hexdigest()

    def verify(self) -> None:
        """Compare the checksum of every shard with the manifest.

        Raises:
            InputError: naming the first damaged shard.
        """
        for entry in self._entries:
            self._verify(entry)

    def __getstate__(self) -> dict[str, Any]:
        """Without memory maps: another process opens its own."""
        return {**self.__dict__, "_opened": {}}

    # Inner workings

    @property
    def _shards(self) -> Path:
        return self.folder / "shards"

    def _list(self, entries: Iterable[ShardEntry]) -> None:
        self._entries = sorted(entries, key=lambda entry: entry.name)
        self._position = {entry.name: number for number, entry in enumerate(self._entries)}
        self._starts = [0, *np.cumsum([entry.count for entry in self._entries], dtype=np.int64).tolist()]

    def _write(self) -> None:
        write_manifest(self.folder, self.metadata, self._entries)

    def _locate(self, index: int) -> tuple[ShardEntry, int]:
        position = int(index) + len(self) if index < 0 else int(index)
        if not 0 <= position < len(self):
            raise IndexError(f"Structure {index} of a store of {len(self)}.")
        number = bisect_right(self._starts, position) - 1
        return self._entries[number], position - self._starts[number]

    def _open(self, entry: ShardEntry) -> Shard:
        shard = self._opened.get(entry.name)
        if shard is None:
            if entry.name in self._unverified:
                self._verify(entry)
            shard = self._opened[entry.name] = Shard(self.folder / entry.file)
        return shard

    def _verify(self, entry: ShardEntry) -> None:
        path = self.folder / entry.file
        if not path.exists():
            raise damaged(path, "the file is gone")
        if checksum(path) != entry.sha256:
            raise damaged(path, "its checksum differs from the manifest's")
        self._unverified.discard(entry.name)

    def _check_listed(self) -> None:
        """Shards deleted by hand are struck off with a warning; the others have their size, or checksum, compared."""
        gone = [entry for entry in self._entries if not (self.folder / entry.file).exists()]
        if gone:
            names = ", ".join(entry.file for entry in gone)
            warnings.warn(
                f"{sum(entry.count for entry in gone)} labels are gone from {self.folder}, because these files are: "
                f"{names}. They will be made anew where they are needed.",
                stacklevel=3,
            )
            self._list(entry for entry in self._entries if entry not in gone)
            self._write()
        for entry in self._entries:
            size = (self.folder / entry.file).stat().st_size
            if size != entry.bytes:
                raise damaged(self.folder / entry.file, f"it has {size} bytes instead of {entry.bytes}")
        self._unverified = {entry.name for entry in self._entries}
        if sum(entry.bytes for entry in self._entries) <= VERIFY_AT_ONCE:
            self.verify()

    def _remove_abandoned(self) -> None:
        for path in self._shards.glob(".*.partial"):
            if time.time() - path.stat().st_mtime > ABANDONED_AFTER:
                path.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
