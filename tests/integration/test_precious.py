"""What nothing can compute again survives damage to one of its two copies."""

import pytest

from shared import names
from shared.errors import Corrupt, NotFound
from shared.precious import Precious

pytestmark = pytest.mark.services

NAME = names.experiment_object("0" * 24, "outcome.json")


def spoil(storage, name):
    storage.write(name, storage.read(name).replace(b"succeeded", b"sucseeded"))


@pytest.fixture
def precious(storage):
    assert Precious(storage).create(NAME, {"state": "succeeded"})
    return Precious(storage)


def test_damage_is_mended_from_the_copy(precious, storage):
    spoil(storage, NAME)
    assert precious.read(NAME) == {"state": "succeeded"}
    assert storage.read_json(NAME) == {"state": "succeeded"}


def test_it_is_made_once_and_its_copy_stays_as_the_first_made_it(precious, storage):
    assert not precious.create(NAME, {"state": "cancelled"})
    assert precious.read(NAME) == storage.read_json(names.copy(NAME)) == {"state": "succeeded"}


def test_whoever_comes_second_makes_the_copy_that_the_first_could_not(storage):
    storage.create_json(NAME, {"state": "succeeded"})
    assert not Precious(storage).create(NAME, {"state": "cancelled"})
    assert storage.read_json(names.copy(NAME)) == {"state": "succeeded"}


def test_a_lost_copy_is_made_again_and_a_whole_one_is_left(precious, storage):
    assert not precious.copy(NAME)
    for lose in (spoil, lambda store, name: store.remove(name)):
        lose(storage, names.copy(NAME))
        assert precious.copy(NAME)
        assert storage.read_json(names.copy(NAME)) == {"state": "succeeded"}


def test_without_a_whole_copy_the_damage_is_said(precious, storage):
    spoil(storage, NAME)
    spoil(storage, names.copy(NAME))
    with pytest.raises(Corrupt, match=r"outcome\.json"):
        precious.read(NAME)
    with pytest.raises(NotFound):
        precious.read(names.experiment_object("0" * 24, "spec.json"))


def test_what_was_lost_is_found_in_its_copy_where_that_is_asked_for(precious, storage):
    storage.remove(NAME)
    with pytest.raises(NotFound):
        precious.read(NAME)
    assert precious.find(NAME) == storage.read_json(NAME) == {"state": "succeeded"}
    storage.remove(NAME)
    storage.remove(names.copy(NAME))
    with pytest.raises(NotFound):
        precious.find(NAME)
