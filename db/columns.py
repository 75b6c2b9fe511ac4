"""Column types: content ids as 32 bytes, arrays as raw little-endian bytes with dtype and shape."""

from __future__ import annotations

import math
import re
import struct
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Dialect, Double, Integer, LargeBinary
from sqlalchemy.types import TypeDecorator

from al_engine.errors import InputError

ID_BYTES = 32
MIN_DIGITS = 6
"""Digits that the beginning of an id needs."""
_DTYPES: dict[int, np.dtype[Any]] = dict(enumerate(map(np.dtype, ("<f8", "<f4", "<i4", "?")), start=1))
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


def utc_now() -> str:
    """Return the time as ISO text in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def id_range(digits: str) -> tuple[str, str]:
    """Return the first and the last id that begin with these digits.

    Raises:
        InputError: Too few, too many, or no hexadecimal ones.
    """
    n_digits = 2 * ID_BYTES
    if re.fullmatch(rf"[0-9a-fA-F]{{{MIN_DIGITS},{n_digits}}}", digits) is None:
        raise InputError(
            f"frame = {digits[:80]!r}: the first {MIN_DIGITS} to {n_digits} hexadecimal digits "
            "of a frame's id are needed; al-engine query shows ids"
        )
    return digits.lower().ljust(n_digits, "0"), digits.lower().ljust(n_digits, "f")


def id_bytes(frame_id: str) -> bytes:
    """Return the 32 bytes of a content id.

    Raises:
        InputError: Not 64 hexadecimal digits.
    """
    try:
        value = bytes.fromhex(frame_id)
    except ValueError:
        value = b""
    if len(value) != ID_BYTES or len(frame_id) != 2 * ID_BYTES:
        raise InputError(f"frame id = {frame_id[:80]!r}: a frame id has 64 hexadecimal digits")
    return value


def pack(array: NDArray[Any]) -> bytes:
    """Return an array as bytes: code of the dtype, number of axes, lengths (uint32), little-endian data.

    Raises:
        KeyError: A dtype that is not float64, float32, int32 or bool.
    """
    code = _CODES[array.dtype.newbyteorder("<")]
    header = struct.pack(f"<BB{array.ndim}I", code, array.ndim, *array.shape)
    return header + array.astype(_DTYPES[code]).tobytes()


def unpack(blob: bytes) -> NDArray[Any]:
    """Return the array that `pack` wrote, in the machine's byte order; it owns its memory.

    Raises:
        ValueError: The bytes are not an array: unknown dtype, or a length that is not the shape's.
    """
    try:
        code, ndim = struct.unpack_from("<BB", blob)
        shape = struct.unpack_from(f"<{ndim}I", blob, 2)
        dtype = _DTYPES[code]
    except (struct.error, KeyError):
        raise ValueError("unreadable array: wrong header") from None
    data = blob[2 + 4 * ndim :]
    if len(data) != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise ValueError(f"unreadable array: {len(data)} bytes for shape {shape} of {dtype}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


class Whole(TypeDecorator[int]):
    """An integer, NumPy's included (SQLite would store those as bytes)."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Any integer to Python's."""
        return None if value is None else int(value)


class Real(TypeDecorator[float]):
    """A float64, NumPy's included; NaN is NULL, as SQLite has no other."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:  # noqa: ARG002
        """Any number to Python's float."""
        return None if value is None or math.isnan(value) else float(value)


class RealOrNan(Real):
    """A float64 that may be NaN, where NULL means nothing else."""

    cache_ok = True

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:  # noqa: ARG002
        """NULL to NaN."""
        return math.nan if value is None else value


class ContentId(TypeDecorator[str]):
    """A SHA-256: hexadecimal outside, 32 bytes inside."""

    impl = LargeBinary(ID_BYTES)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        """Hexadecimal to bytes."""
        return None if value is None else id_bytes(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Bytes to hexadecimal."""
        return None if value is None else value.hex()


class Array(TypeDecorator[NDArray[Any]]):
    """A NumPy array, bit by bit; never pickled."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: NDArray[Any] | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        """Array to bytes."""
        return None if value is None else pack(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> NDArray[Any] | None:  # noqa: ARG002
        """Bytes to array."""
        return None if value is None else unpack(value)
