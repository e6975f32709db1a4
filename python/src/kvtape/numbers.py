"""Number types in files and in memory.

HDF5 has no bfloat16 of its own and converts small floats number by number, so both small types are
always moved as they are: the memory type is the type in the file.
"""

from __future__ import annotations

from typing import Any

import h5py
import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

#: Names of types as messages show them, with their little-endian numpy types.
DTYPES: dict[str, np.dtype] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float64": np.dtype("<f8"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "uint64": np.dtype("<u8"),
}


def _small_float(exponent_bits: int, mantissa_bits: int, bias: int) -> h5py.h5t.TypeFloatID:
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(15, mantissa_bits, exponent_bits, 0, mantissa_bits)
    kind.set_size(2)
    kind.set_ebias(bias)
    return kind


STORED: dict[str, h5py.h5t.TypeID] = {
    "float32": h5py.h5t.IEEE_F32LE,
    "float16": _small_float(5, 10, 15),
    "bfloat16": _small_float(8, 7, 127),
    "float64": h5py.h5t.IEEE_F64LE,
    "int8": h5py.h5t.STD_I8LE,
    "uint8": h5py.h5t.STD_U8LE,
    "int32": h5py.h5t.STD_I32LE,
    "int64": h5py.h5t.STD_I64LE,
    "uint64": h5py.h5t.STD_U64LE,
}


def name_of(kind: h5py.h5t.TypeID) -> str:
    """The name of a type in a file, for messages and for `DTYPES`."""
    for name, stored in STORED.items():
        if kind.equal(stored):
            return name
    bits = 8 * kind.get_size()
    if kind.get_class() == h5py.h5t.STRING:
        return "string"
    if kind.get_class() in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
        order = "big-endian " if kind.get_order() == h5py.h5t.ORDER_BE else ""
        return f"{order}{bits}-bit {'float' if kind.get_class() == h5py.h5t.FLOAT else 'integer'}"
    return "a type that kvtape does not use"


def text_of(shape: tuple[int, ...]) -> str:
    """`4x128x64`, as messages show shapes."""
    return "x".join(str(size) for size in shape) if shape else "scalar"
