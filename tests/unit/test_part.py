"""Fields that came later: they leave the keys of what was asked for before as they were."""

from typing import get_args

import pytest

from shared.spec import AnyWindow, Model, Noise

KINDS = [*get_args(AnyWindow), *get_args(get_args(Model)[0])]
LATER = [(kind, field) for kind in KINDS for field in sorted(kind.ADDED)]


def made(kind, **values):
    name = get_args(kind.model_fields["name"].annotation)[0]
    window = {"start": 0, "end": 1} if "start" in kind.model_fields else {}
    return kind.model_validate({"name": name} | window | values)


@pytest.mark.parametrize(("kind", "field"), LATER)
def test_a_later_field_enters_the_key_only_where_it_is_not_its_default(kind, field):
    facts = kind.model_fields[field]
    assert field not in made(kind).keyed()
    assert field not in made(kind, **{field: facts.default}).keyed()
    choices = get_args(facts.annotation) or (True,)
    (other,) = [choice for choice in choices if choice != facts.default]
    assert made(kind, **{field: other}).keyed()[field] == other


@pytest.mark.parametrize("kind", KINDS)
def test_every_other_default_is_written_out(kind):
    assert made(kind).keyed().keys() == kind.model_fields.keys() - kind.ADDED


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_to_have_come_later_is_a_field(kind):
    assert kind.model_fields.keys() >= kind.ADDED


def test_the_stimulus_has_no_window():
    noise = Noise(name="noise", start=3, length=5, augmented=True)
    assert noise.stimulus() == {"name": "noise", "redraw": "every_epoch", "augmented": True}
