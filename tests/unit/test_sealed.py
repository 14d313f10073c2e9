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
def test_no_flipped_bit_stays_unseen(value, data):
    whole = bytearray(sealed.dump(value))
    place = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[place // 8] ^= 1 << (place % 8)
    with pytest.raises(ValueError, match=r"JSON|not those|seal|decode|Expecting|Invalid|delimiter"):
        sealed.load(bytes(whole))


def test_no_bit_of_a_seal_can_be_hit_unseen():
    whole = sealed.dump({"state": "succeeded"})
    for place in range(8 * 76):
        hit = bytearray(whole)
        hit[place // 8] ^= 1 << (place % 8)
        with pytest.raises(ValueError):  # noqa: PT011 - how it is seen depends on the bit
            sealed.load(bytes(hit))


@pytest.mark.parametrize("data", [b"null", b"[1]", b'"a"', b"1", b"true"])
def test_what_is_no_object_is_none_of_ours(data):
    with pytest.raises(ValueError, match="no object"):
        sealed.load(data)


@pytest.mark.parametrize("name", ["key", "parent", "segment", "asked", "id", "format"])
def test_an_object_of_before_that_begins_with_a_digest_is_no_damaged_seal(name):
    before = {name: "0" * 64, "start": 0}
    compact = json.dumps(before, separators=(",", ":")).encode()
    assert sealed.load(compact) == sealed.load(json.dumps(before).encode()) == before


@given(OBJECTS)
def test_objects_of_before_there_were_seals_are_read(value):
    if not any(len(name) == 6 for name in list(value)[:1]):
        assert sealed.load(json.dumps(value).encode()) == value


@pytest.mark.parametrize("data", [b"", b"{", b'{"sha256":"', b'{"sha256":"00","a":1}', b"\xff"])
def test_what_is_cut_off_is_no_json(data):
    with pytest.raises(ValueError, match=r"Expecting|not those|decode"):
        sealed.load(data)


def test_a_number_that_json_has_not_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        sealed.dump({"loss": float("nan")})
