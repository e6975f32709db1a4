"""HDF5 for reading: strict about what it follows, with errors that name file and object."""

from __future__ import annotations

import contextlib
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from kvtape.errors import FileError, FormatError, system_reason
from kvtape.numbers import DTYPES, Array, name_of, text_of
from kvtape.schema import LONGEST_TEXT

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PIECE_BYTES = 32 << 20
_MOST_ATTRIBUTE_BYTES = LONGEST_TEXT
_BEST_COMPRESSION = 1100
_CHECKED_FILTERS = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE)


def utf8(text: str) -> bytes:
    """The bytes of a name as h5py hands it out, invalid UTF-8 included."""
    return text.encode("utf-8", "surrogateescape")


class InputFile:
    """One open HDF5 file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        try:
            status = Path(self.name).stat()
            if not stat.S_ISREG(status.st_mode):
                raise FileError(f"opening {self.name}: it is not a regular file")
            with Path(self.name).open("rb") as file:
                head = file.read(len(_SIGNATURE))
        except FileError:
            raise
        except OSError as error:
            raise FileError(f"opening {self.name}: {system_reason(error)}") from None
        self.bytes = status.st_size
        if head != _SIGNATURE:
            raise FormatError(
                f"opening {self.name}: it is not an HDF5 file ({self.bytes} bytes); "
                "expected a trace or a decision file of kvtape"
            )
        try:
            self._h5 = h5py.File(self.name, "r")
        except OSError:
            raise FormatError(
                f"opening {self.name} ({self.bytes} bytes): it is cut off or its head is damaged; "
                "copy it again or make it anew"
            ) from None
        self.root = InputGroup(self, self._h5, "/")

    def close(self) -> None:
        """Closes the file; groups and arrays of it can no longer be read."""
        self._h5.close()

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[None]:
        """Turns what HDF5 raises while `path` is read into one line."""
        if not self._h5:
            raise FileError(f"reading {path} of {self.name}: the file was closed; open it again")
        try:
            yield
        except (OSError, RuntimeError, KeyError, UnicodeError) as error:
            if isinstance(error, (FileError, FormatError)):
                raise
            raise FormatError(
                f"{self.name}: reading {path}: the file is damaged there; copy it again or make it anew"
            ) from None


class InputGroup:
    """One group, by its path."""

    def __init__(self, file: InputFile, group: h5py.Group, path: str) -> None:
        self.file = file
        self.path = path
        self._group = group

    def fail(self, problem: str) -> NoReturn:
        """Refuses the file."""
        raise FormatError(f"{self.file.name}: {self.path} {problem}")

    def child_path(self, name: str) -> str:
        """The path of a child."""
        return f"/{name}" if self.path == "/" else f"{self.path}/{name}"

    def names(self) -> list[str]:
        """Of all children, in ascending byte order."""
        with self.file.reading(self.path):
            return sorted(self._group, key=utf8)

    def attribute_names(self) -> list[str]:
        """In ascending byte order."""
        with self.file.reading(self.path):
            return sorted(self._group.attrs, key=utf8)

    def has(self, name: str) -> bool:
        """Whether there is a child of that name."""
        return name in self._group

    def has_attribute(self, name: str) -> bool:
        """Whether there is an attribute of that name."""
        return name in self._group.attrs

    def address(self) -> tuple[int, int]:
        """Where the group lies: equal for two paths to one group."""
        info = h5py.h5o.get_info(self._group.id)
        return info.fileno, info.addr

    def _child(self, name: str) -> Any:
        with self.file.reading(self.child_path(name)):
            link = self._group.get(name, getlink=True)
            if link is None:
                self.fail(f"has no {name}")
            if not isinstance(link, h5py.HardLink):
                self.fail(f"reaches {name} through a soft or external link; links are not followed")
            return self._group[name]

    def is_group(self, name: str) -> bool:
        """Whether the child is a group."""
        return isinstance(self._child(name), h5py.Group)

    def group(self, name: str) -> InputGroup:
        """The child, which must be a group."""
        child = self._child(name)
        if not isinstance(child, h5py.Group):
            self.fail(f"has {name} as something else than a group")
        return InputGroup(self.file, child, self.child_path(name))

    def array(self, name: str) -> InputArray:
        """The child, which must be a dataset of numbers."""
        child = self._child(name)
        if not isinstance(child, h5py.Dataset):
            kind = "a group" if isinstance(child, h5py.Group) else "a named type"
            self.fail(f"has {name} as {kind}, expected a dataset")
        return InputArray(self.file, child, self.child_path(name))

    def _attribute(self, name: str) -> h5py.h5a.AttrID:
        if not self.has_attribute(name):
            self.fail(f"has no attribute {name}")
        return h5py.h5a.open(self._group.id, utf8(name))

    def raw_attribute(self, name: str) -> bytes:
        """The stored bytes of a number; the UTF-8 of a text without what ends it."""
        with self.file.reading(f"attribute {name} of {self.path}"):
            attribute = self._attribute(name)
            kind = attribute.get_type()
            count = math.prod(attribute.shape)
            if kind.get_class() == h5py.h5t.STRING and kind.is_variable_str():
                if count != 1:
                    self.fail(f"has attribute {name} with {count} texts, expected one")
                text = self._group.attrs[name]
                text = text if attribute.shape == () else text.flat[0]
                return text if isinstance(text, bytes) else utf8(text)
            if kind.detect_class(h5py.h5t.VLEN) or count * kind.get_size() > _MOST_ATTRIBUTE_BYTES:
                self.fail(f"has attribute {name} of a type or size that kvtape does not use")
            raw = np.empty(attribute.shape, f"V{kind.get_size()}")
            attribute.read(raw, mtype=kind)
            data = raw.tobytes()
            return data.split(b"\0", 1)[0] if kind.get_class() == h5py.h5t.STRING else data

    def _expect_attribute(self, name: str, expected: str) -> None:
        with self.file.reading(f"attribute {name} of {self.path}"):
            attribute = self._attribute(name)
            found = name_of(attribute.get_type())
            if found != expected:
                self.fail(f"has attribute {name} of type {found}, expected {expected}")
            if math.prod(attribute.shape) != 1:
                self.fail(f"has attribute {name} as a list, expected one")

    def text(self, name: str) -> str:
        """A text attribute."""
        self._expect_attribute(name, "string")
        return self.raw_attribute(name).decode("utf-8", "replace")

    def number(self, name: str, expected: str) -> Any:
        """A number attribute of exactly the type `expected`."""
        self._expect_attribute(name, expected)
        return np.frombuffer(self.raw_attribute(name), DTYPES[expected])[0].item()

    def attribute(self, name: str, expected: str) -> Any:
        """An attribute of type `text` or of a number type."""
        return self.text(name) if expected == "text" else self.number(name, expected)


class InputArray:
    """One dataset of numbers."""

    def __init__(self, file: InputFile, dataset: h5py.Dataset, path: str) -> None:
        self.file = file
        self.path = path
        self._id = dataset.id
        with file.reading(path):
            self._type = self._id.get_type()
            self.type_name = name_of(self._type)
            self.shape: tuple[int, ...] = self._id.shape or ()
            self.item_bytes: int = self._type.get_size()
            self._inspect()

    def fail(self, problem: str) -> NoReturn:
        """Refuses the file."""
        raise FormatError(f"{self.file.name}: {self.path} {problem}")

    def _inspect(self) -> None:
        if self._type.get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
            self.fail(f"holds {self.type_name}, expected numbers")
        creation = self._id.get_create_plist()
        if creation.get_layout() == h5py.h5d.VIRTUAL or creation.get_external_count():
            self.fail("keeps its data in other files; kvtape reads one file alone")
        filters = [creation.get_filter(index)[0] for index in range(creation.get_nfilters())]
        for index, code in enumerate(filters):
            last = index == len(filters) - 1
            if code not in _CHECKED_FILTERS and not (last and code == h5py.h5z.FILTER_FLETCHER32):
                self.fail(f"uses HDF5 filter {code}; kvtape reads shuffle, deflate and, last, fletcher32")
        if not math.prod(self.shape):
            return
        most = self.file.bytes * (_BEST_COMPRESSION if h5py.h5z.FILTER_DEFLATE in filters else 1)
        if math.prod(self.shape) * self.item_bytes > most:
            self.fail(
                f"has shape {text_of(self.shape)}, more than a file of {self.file.bytes} bytes can hold"
            )
        if self._id.get_storage_size() == 0:
            self.fail("was never written")
        if creation.get_layout() == h5py.h5d.CHUNKED:
            chunks = zip(self.shape, creation.get_chunk(), strict=True)
            expected = math.prod(-(-size // chunk) for size, chunk in chunks)
            if self._id.get_num_chunks() != expected:
                self.fail(f"has {self._id.get_num_chunks()} chunks, expected {expected}")

    def expect(self, kind: str, shape: tuple[int | None, ...]) -> InputArray:
        """Refuses another type or shape; None stands for any size."""
        if self.type_name != kind:
            self.fail(f"holds {self.type_name}, expected {kind}")
        if len(self.shape) != len(shape):
            self.fail(f"has shape {text_of(self.shape)}, expected {len(shape)} dimensions")
        if any(wanted not in (None, found) for found, wanted in zip(self.shape, shape, strict=True)):
            wanted = tuple(f if w is None else w for f, w in zip(self.shape, shape, strict=True))
            self.fail(f"has shape {text_of(self.shape)}, expected {text_of(wanted)}")
        return self

    def read(self) -> Array:
        """Everything, in the numpy type of the same bits; checksums are verified on the way."""
        return self._part(tuple(0 for _ in self.shape), self.shape).view(DTYPES[self.type_name])

    def raw_pieces(self) -> Iterator[bytes]:
        """The stored bytes in row-major order, some megabytes at a time."""
        for start, count in pieces(self.shape, self.item_bytes, _PIECE_BYTES):
            yield self._part(start, count).tobytes()

    def _part(self, start: tuple[int, ...], count: tuple[int, ...]) -> Array:
        bits = np.empty(count, f"V{self.item_bytes}")
        if bits.size:
            with self.file.reading(self.path):
                memory = h5py.h5s.create_simple(count) if count else h5py.h5s.create(h5py.h5s.SCALAR)
                place = self._id.get_space()
                if count:
                    place.select_hyperslab(start, count)
                self._id.read(memory, place, bits, mtype=self._type)
        return bits


def pieces(
    shape: tuple[int, ...], item_bytes: int, limit: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Starts and sizes of blocks that follow each other in row-major order, of `limit` bytes or one row."""
    if not math.prod(shape):
        return
    axis, rest = 0, math.prod(shape[1:]) * item_bytes
    while rest > limit and axis + 1 < len(shape):
        axis += 1
        rest = math.prod(shape[axis + 1 :]) * item_bytes
    if not shape:
        yield (), ()
        return
    step = max(1, limit // max(1, rest))
    for outer in np.ndindex(*shape[:axis]):
        for begin in range(0, shape[axis], step):
            count = min(step, shape[axis] - begin)
            tail = shape[axis + 1 :]
            yield (*outer, begin, *(0 for _ in tail)), (*(1 for _ in outer), count, *tail)
