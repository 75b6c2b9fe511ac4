"""Arrays and frames come back bit by bit; what is not an array is refused, never unpickled."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from al_engine.errors import InputError
from al_engine.frames import Frame
from db.columns import id_bytes, pack, unpack
from db.engine import Database
from db.frames import get_frames, put_frames
from db.store import Store

arrays = st.sampled_from(["<f8", "<f4", "<i4", "?"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
)
coordinates = st.floats(-1e4, 1e4, allow_subnormal=True)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    n = draw(st.integers(1, 5))
    periodic = draw(st.booleans())
    numbers = draw(hnp.arrays("i4", n, elements=st.integers(1, 118)))
    positions = draw(hnp.arrays("f8", (n, 3), elements=coordinates))
    fixed = draw(hnp.arrays("?", n))
    cell = np.diag(draw(hnp.arrays("f8", 3, elements=st.floats(1, 30)))) if periodic else np.zeros((3, 3))
    pbc = draw(hnp.arrays("?", 3)) if periodic else np.zeros(3, bool)
    return Frame(numbers, positions, cell, pbc, draw(st.integers(-3, 3)), draw(st.integers(1, 4)), fixed)


@given(arrays)
def test_an_array_comes_back_bit_by_bit(array: np.ndarray) -> None:
    back = unpack(pack(array))
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert back.flags.writeable


def test_the_bytes_are_little_endian_whatever_the_array_is() -> None:
    array = np.array([1.0, -2.5])
    assert pack(array.astype(">f8")) == pack(array)
    assert pack(array) == bytes([1, 1, 2, 0, 0, 0]) + array.astype("<f8").tobytes()
    assert pack(np.asfortranarray([[1, 2], [3, 4]], dtype="i4")) == pack(
        np.array([[1, 2], [3, 4]], dtype="i4")
    )


@given(st.binary(max_size=40))
def test_bytes_that_are_no_array_are_refused(blob: bytes) -> None:
    try:
        array = unpack(blob)
    except ValueError:
        return
    assert len(pack(array)) == len(blob)


def test_arrays_of_other_kinds_are_refused() -> None:
    with pytest.raises(KeyError):
        pack(np.array([object()]))


@pytest.mark.parametrize("frame_id", ["", "ab", "x" * 64, "ab " * 32, "é" * 64])
def test_ids_have_64_digits(frame_id: str) -> None:
    with pytest.raises(InputError):
        id_bytes(frame_id)


def test_frames_come_back_bit_by_bit(url: str) -> None:
    with Store.open(url) as store:

        @settings(max_examples=40, deadline=None)
        @given(st.lists(frames(), min_size=1, max_size=4))
        def round_trip(some: list[Frame]) -> None:
            check(store.database, some)

        round_trip()


def check(database: Database, some: list[Frame]) -> None:
    with database.write() as connection:
        put_frames(connection, some)
        back = get_frames(connection, [frame.frame_id for frame in some])
    for a, b in zip(some, back, strict=True):
        assert a.frame_id == b.frame_id
        for name in ("numbers", "positions", "cell", "pbc", "fixed"):
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
        assert (a.charge, a.multiplicity) == (b.charge, b.multiplicity)
