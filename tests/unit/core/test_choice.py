from __future__ import annotations

from typing import Any

import pytest

from penstock.core.choice import StepRule, choose, parse_rules
from penstock.errors import ConfigurationError
from penstock.events.types import BytesReceived, ResourceId, User, UserId

FILE = BytesReceived(
    upload_id="u",
    filename="Scan 7.TIF",
    filesize=2_000_000,
    resource_id=ResourceId(space_id="lab-a", opaque_id="r7"),
    executing_user=User(id=UserId(opaque_id="4c51"), username="einstein", groups=("physics", "sailing")),
)
BARE = BytesReceived(upload_id="u")


def rules(*tables: dict[str, Any]) -> tuple[StepRule, ...]:
    return parse_rules(tables, "here")


def rule(**table: Any) -> StepRule:
    return rules({"steps": ["x"], **table})[0]


def problems(*tables: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        rules(*tables)
    told = str(caught.value).splitlines()
    assert all(line.startswith("step_rules (here): rule ") for line in told)
    return [line.removeprefix("step_rules (here): rule ") for line in told]


FITS: list[dict[str, Any]] = [
    {},
    {"space": "lab-a"},
    {"space": ["other", "lab-*"]},
    {"resource": "r?"},
    {"user": "einstein"},
    {"user": "4c51"},
    {"group": "sailing"},
    {"media_type": "image/tiff"},
    {"media_type": "IMAGE/*"},
    {"extension": "tif"},
    {"extension": [".jpg", ".Tif"]},
    {"extension": "t*"},
    {"min_size": "2MB"},
    {"max_size": 2_000_000},
    {"min_size": 1, "max_size": "1GiB", "space": "lab-a", "user": "einstein", "extension": "tif"},
]
DOES_NOT_FIT: list[dict[str, Any]] = [
    {"space": "lab-b"},
    {"space": "LAB-A"},
    {"resource": "r"},
    {"user": "Einstein"},
    {"group": "phys"},
    {"media_type": "image/jpeg"},
    {"media_type": "tiff"},
    {"extension": "jpg"},
    {"extension": ""},
    {"min_size": 2_000_001},
    {"max_size": "1999999"},
    {"extension": "tif", "space": "lab-b"},
]


@pytest.mark.parametrize("table", FITS, ids=str)
def test_a_rule_fits_when_all_its_conditions_hold(table: dict[str, Any]) -> None:
    assert rule(**table).fits(FILE)


@pytest.mark.parametrize("table", DOES_NOT_FIT, ids=str)
def test_a_rule_does_not_fit_when_one_does_not(table: dict[str, Any]) -> None:
    assert not rule(**table).fits(FILE)


@pytest.mark.parametrize("condition", ["space", "resource", "user", "group"])
def test_an_upload_that_says_nothing_meets_no_condition(condition: str) -> None:
    assert not rule(**{condition: "*"}).fits(BARE)


def test_what_is_unknown_of_a_user_is_no_match_for_an_empty_name() -> None:
    assert rule(user="e*").fits(FILE)
    assert not rule(user="*").fits(BytesReceived(upload_id="u", executing_user=User()))
    assert not rule(space="*").fits(BytesReceived(upload_id="u", resource_id=ResourceId()))


@pytest.mark.parametrize(
    ("filename", "extension", "fits"),
    [
        ("a.tar.gz", "tar.gz", True),
        ("a.tar.gz", "gz", True),
        ("a.tgz", "gz", False),
        ("README", "", True),
        (".profile", "", True),
        ("a.b", "", False),
        (".tif", "tif", False),
        ("", "", True),
    ],
)
def test_endings_of_names(filename: str, extension: str, fits: bool) -> None:
    assert rule(extension=extension).fits(BytesReceived(upload_id="u", filename=filename)) is fits


def test_the_first_rule_that_fits_decides() -> None:
    chosen = rules(
        {"space": "lab-b", "steps": ["b"]},
        {"space": "lab-a", "steps": ["a"]},
        {"extension": "tif", "steps": ["tif"]},
        {"steps": []},
    )
    found = choose(chosen, FILE)
    assert found is not None
    assert found.steps == ("a",)
    last = choose(chosen, BARE)
    assert last is not None
    assert last.steps == ()
    assert choose(chosen[:3], BARE) is None


def test_all_that_is_wrong_is_told() -> None:
    assert problems(
        {"extension": "tif", "setps": ["a"]},
        {"name": "big", "min_size": "10B", "steps": ["a", "", "a", "finished"]},
        {"min_size": "2KB", "max_size": "1KB", "steps": "a"},
        {"space": [], "user": "", "group": 7, "steps": ["a"], "quota": 1},
        {"name": 7, "max_size": True, "steps": 7, "extension": "a"},
        {"steps": []},
        {"steps": ["a"]},
    ) == [
        "1: setps: there is no such condition. Did you mean steps?",
        "1: steps is missing. Write steps = [] where none shall run.",
        (
            "2 'big': min_size = 10B: not a size. Write a whole number of bytes, or one with a unit, such as "
            "100MB (1000 x 1000) or 100MiB (1024 x 1024)."
        ),
        "2 'big': step 'a' is listed twice; name each step once.",
        "2 'big': '' cannot be the name of a step; choose another word.",
        "2 'big': 'finished' cannot be the name of a step; choose another word.",
        "3: min_size is more than max_size, so nothing fits.",
        (
            "4: quota: there is no such condition. Write one of name, space, resource, user, group, media_type, "
            "extension, min_size, max_size, steps."
        ),
        "4: space must name something. Leave it out where anything will do.",
        "4: user must name something. Leave it out where anything will do.",
        "4: group must be text in quotes, or an array of them.",
        "5: max_size must be a size, such as 10485760 or '10MiB'.",
        "5: name must be text in quotes.",
        "5: steps must be text in quotes, or an array of them.",
        "7: is never reached: the one before it has no condition. Move that one to the end.",
    ]


def test_a_rule_says_what_it_does() -> None:
    told = rule(name="pictures", media_type="image/*", space=["a", "b"], min_size="10MiB", max_size=20_000_000)
    assert told.explain() == ("pictures: space 'a' or 'b', media_type 'image/*', 10MiB or more, 20MB or less → x")
    assert rules({"steps": []})[0].explain() == "everything → no steps"
