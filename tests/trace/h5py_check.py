#!/usr/bin/env python3
"""h5py_check.py TRACE_TESTS GOLDEN: reads kvtape's files with plain h5py and recomputes their fingerprints.

An independent second reader: it knows the documented format and shares no code with kvtape.
"""

import struct
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import h5py
    import numpy
    import xxhash
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(0)

NOT_HASHED = {"complete", "producer", "created_utc", "fingerprint"}


def stored_bytes(dataset):
    """The elements as they lie in the file, bfloat16 included."""
    if dataset.size == 0:
        return b""
    raw = numpy.empty(dataset.shape, f"V{dataset.id.get_type().get_size()}")
    bits = raw.view(f"u{raw.dtype.itemsize}")
    dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, bits, mtype=dataset.id.get_type())
    return bits.tobytes()


def groups_of(file):
    found = [file]
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Group) else None)
    return sorted(found, key=lambda group: group.name.encode())


def fingerprint_of(file):
    state = xxhash.xxh3_128()
    for group in groups_of(file):
        path = group.name.encode()
        for name in sorted(group.attrs, key=str.encode):
            if name in NOT_HASHED:
                continue
            value = group.attrs[name]
            value = value if isinstance(value, bytes) else numpy.asarray(value).tobytes()
            state.update(path + b"\0" + name.encode() + b"\0" + value + b"\0")
        for name in sorted(group, key=str.encode):
            item = group[name]
            if isinstance(item, h5py.Dataset):
                state.update(item.name.encode() + b"\0")
                state.update(struct.pack(f"<{1 + item.ndim}q", item.ndim, *item.shape))
                state.update(stored_bytes(item))
    return state.hexdigest()


def problems(file):
    if file.attrs["complete"] != 1:
        yield "it is not complete"
    if fingerprint_of(file) != file.attrs["fingerprint"].decode():
        yield "its fingerprint is another"
    datasets = []
    file.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
    for dataset in datasets:
        if dataset.size and not (dataset.fletcher32 and dataset.chunks):
            yield f"{dataset.name} has no checksums"
        dataset[...]  # h5py verifies them


def main(program, golden):
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([program, "[.h5py]"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        written = sorted(Path(folder).glob("*.h5"))
        assert len(written) == 4, written
        for path in written + sorted(Path(golden).glob("*.h5")):
            with h5py.File(path, "r") as file:
                for problem in problems(file):
                    print(f"{path}: {problem}")
                    failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
