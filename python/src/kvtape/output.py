"""HDF5 for writing: `<name>.partial` first, then the fingerprint, then the name.

What a killed writer leaves is what its last `settle` wrote: metadata never reaches the disk in
between. No object stores times, so equal content gives equal files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from kvtape.errors import FileError, UsageError, first_line, system_reason
from kvtape.hashing import fingerprint
from kvtape.input import utf8
from kvtape.numbers import DTYPES, STORED, Array
from kvtape.schema import NO_FINGERPRINT, VERSION

_ROWS_PER_CHUNK = 512
_COLUMNS_PER_CHUNK = 65536
_WHOLE_FILE_LOCK = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class OutputFile:
    """A file on its way. As a context manager it is finished at the end, and left as
    `<name>.partial` when an error passes through."""

    def __init__(self, path: str | os.PathLike[str], mark: str, producer: str, overwrite: bool) -> None:
        self.path = Path(path)
        self.partial = Path(f"{os.fspath(path)}.partial")
        self._overwrite = overwrite
        self._refuse_existing()
        self._descriptor = _create_locked(self.partial)
        try:
            with self.writing("/"):
                self._file: h5py.h5f.FileID | None = h5py.h5f.create(
                    utf8(str(self.partial)),
                    h5py.h5f.ACC_TRUNC,
                    _without_times(h5py.h5p.FILE_CREATE),
                    _access(),
                )
            root = self.root
            root.attribute(mark, "text", VERSION)
            root.attribute("complete", "uint8", 0)
            root.attribute("producer", "text", producer)
            root.attribute("fingerprint", "text", NO_FINGERPRINT)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _refuse_existing(self) -> None:
        if self.path.is_dir():
            raise UsageError(f"writing {self.path}: it is a directory; name a file to write")
        if not self._overwrite and (self.path.exists() or self.path.is_symlink()):
            raise UsageError(f"writing {self.path}: it exists; overwrite=True replaces it")

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[None]:
        """Turns what HDF5 raises while `path` is written into one line."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            if isinstance(error, FileError):
                raise
            raise FileError(f"writing {self.partial}: {path}: {first_line(error)}") from None

    @property
    def root(self) -> OutputGroup:
        """The group everything hangs on."""
        if self._file is None:
            raise UsageError(f"writing {self.path}: the file was finished; nothing can be added")
        return OutputGroup(self, h5py.h5g.open(self._file, b"/"), "/")

    def settle(self) -> None:
        """What was written so far survives a crash."""
        self.close()
        with self.writing("/"):
            self._file = h5py.h5f.open(utf8(str(self.partial)), h5py.h5f.ACC_RDWR, _access())

    def close(self) -> None:
        """Leaves what there is as `<name>.partial`."""
        if self._file is not None:
            with self.writing("/"):
                h5py.h5f.flush(self._file)
                self._file.close()
            self._file = None

    def finish(self) -> str:
        """Computes the fingerprint, marks the file complete, renames it; returns the fingerprint."""
        self.close()
        digits = fingerprint(self.partial)
        self.settle()
        for name in ("fingerprint", "complete"):
            h5py.h5a.delete(h5py.h5g.open(self._file, b"/"), utf8(name))
        self.root.attribute("fingerprint", "text", digits)
        self.root.attribute("complete", "uint8", 1)
        self.close()
        try:
            os.fsync(self._descriptor)
            self._refuse_existing()
            self.partial.rename(self.path)
        except OSError as error:
            raise FileError(f"completing {self.partial}: {system_reason(error)}") from None
        self.release()
        return digits

    def discard(self) -> None:
        """Leaves nothing."""
        if self._descriptor >= 0:
            self.close()
            self.partial.unlink(missing_ok=True)
            self.release()

    def release(self) -> None:
        """Gives the lock back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class OutputGroup:
    """One group of a file on its way."""

    def __init__(self, file: OutputFile, group: h5py.h5g.GroupID, path: str) -> None:
        self.path = path
        self._file = file
        self._id = group

    def group(self, name: str) -> OutputGroup:
        """The child of that name, made where it is not there."""
        path = f"/{name}" if self.path == "/" else f"{self.path}/{name}"
        with self._file.writing(path):
            if utf8(name) in self._id:
                return OutputGroup(self._file, h5py.h5g.open(self._id, utf8(name)), path)
            creation = _without_times(h5py.h5p.GROUP_CREATE)
            return OutputGroup(self._file, h5py.h5g.create(self._id, utf8(name), gcpl=creation), path)

    def attribute(self, name: str, kind: str, value: str | int | float) -> None:
        """Adds an attribute: `text`, or a number of the type `kind`."""
        scalar = h5py.h5s.create(h5py.h5s.SCALAR)
        if kind == "text":
            data = str(value).replace("\0", "\ufffd").encode("utf-8", "replace")
            stored = h5py.h5t.C_S1.copy()
            stored.set_size(len(data) + 1)
            stored.set_cset(h5py.h5t.CSET_UTF8)
            array = np.array(data, f"S{len(data) + 1}")
        else:
            stored, array = STORED[kind], np.array(value, DTYPES[kind])
        with self._file.writing(f"{self.path} {name}"):
            h5py.h5a.create(self._id, utf8(name), stored, scalar).write(array, mtype=stored)

    def array(self, name: str, kind: str, values: Array, heads: bool = False) -> None:
        """Adds a dataset of the numbers `values`, whose dtype is `DTYPES[kind]`.

        `heads`: chunks hold rows of one index of the first axis, as in tensors; otherwise rows.
        """
        creation = _without_times(h5py.h5p.DATASET_CREATE)
        creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        if values.size:
            creation.set_chunk(_chunk_of(values.shape, heads))
            creation.set_fletcher32()
        data = np.ascontiguousarray(values).view(f"V{values.dtype.itemsize}")
        with self._file.writing(f"{self.path}/{name}"):
            space = h5py.h5s.create_simple(values.shape)
            dataset = h5py.h5d.create(self._id, utf8(name), STORED[kind], space, dcpl=creation)
            if values.size:
                dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, data, mtype=STORED[kind])


def _chunk_of(shape: tuple[int, ...], heads: bool) -> tuple[int, ...]:
    if len(shape) < 2:
        return shape
    if not heads:
        return (min(shape[0], _COLUMNS_PER_CHUNK), *shape[1:])
    return (1, min(shape[1], _COLUMNS_PER_CHUNK if len(shape) == 2 else _ROWS_PER_CHUNK), *shape[2:])


def _without_times(kind: h5py.h5p.PropClassID) -> h5py.h5p.PropCreateID:
    creation = h5py.h5p.create(kind)
    creation.set_obj_track_times(False)
    return creation


def _access() -> h5py.h5p.PropFAID:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V18, h5py.h5f.LIBVER_V110)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_file_locking(False, True)
    cache = access.get_mdc_config()
    cache.evictions_enabled = False
    cache.incr_mode = cache.flash_incr_mode = cache.decr_mode = 0
    access.set_mdc_config(cache)
    return access


def _create_locked(partial: Path) -> int:
    """Makes the file anew under a lock that lasts as long as it is open."""
    _refuse_written_elsewhere(partial)
    try:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise FileError(f"creating {partial}: {system_reason(error)}") from None
    # Some file systems know no locks.
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE_LOCK)
    return descriptor


def _refuse_written_elsewhere(partial: Path) -> None:
    try:
        descriptor = os.open(partial, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _WHOLE_FILE_LOCK)
    except OSError:
        return
    finally:
        os.close(descriptor)
    if struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK:
        raise UsageError(
            f"creating {partial}: another kvtape is writing it; wait for its end or name another file"
        )
