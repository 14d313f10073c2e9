import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import sealed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip
OBJECTS = st.dictionaries(st.text(), JSON, max_size=4)


@given(OBJECTS)
def test_what_was_sealed_is_read_as_it_was(value):
    assert sealed.load(sealed.dump(value)) == value


@given(OBJECTS, st.data())
def test_no_flipped_bit_changes_a_value_unseen(value, data):
    whole = bytearray(sealed.dump(value))
    place = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[place // 8] ^= 1 << (place % 8)
    try:
        found = sealed.load(bytes(whole))
    except ValueError:
        return
    # The seal itself was hit, and is no more than a field that nobody knows.
    assert {k: v for k, v in found.items() if k in value} == value
    assert len(found) <= len(value) + 1


@given(OBJECTS)
def test_objects_of_before_there_were_seals_are_read(value):
    if list(value)[:1] != ["sha256"]:
        assert sealed.load(json.dumps(value).encode()) == value


@pytest.mark.parametrize("data", [b"", b"{", b'{"sha256":"', b'{"sha256":"00","a":1}', b"\xff"])
def test_what_is_cut_off_is_no_json(data):
    with pytest.raises(ValueError, match=r"Expecting|not those|decode"):
        sealed.load(data)


def test_a_number_that_json_has_not_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        sealed.dump({"loss": float("nan")})
