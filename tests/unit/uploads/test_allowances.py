from __future__ import annotations

from penstock.uploads.allowances import THE_INSTANCE, UNLIMITED, Allowance, Allowances, Subject, SubjectKind

LAB, HALL = Subject(SubjectKind.SPACE, "lab"), Subject(SubjectKind.SPACE, "hall")
ALICE, NOBODY = Subject(SubjectKind.USER, "alice"), Subject(SubjectKind.USER)
SOME = Allowances(
    instance=Allowance(max_size_bytes=100),
    each_space=Allowance(quota_bytes=1000),
    each_user=Allowance(max_receiving=3),
    spaces={"lab": Allowance(quota_bytes=5000, max_size_bytes=50)},
    users={"alice": Allowance(max_size_bytes=200)},
)


def test_a_name_has_its_own_limits_or_those_of_all() -> None:
    assert SOME.of(LAB).quota_bytes == 5000
    assert SOME.of(HALL).quota_bytes == 1000
    assert SOME.of(NOBODY).max_receiving == 3
    assert [subject for subject, _ in SOME.about("lab", "alice")] == [THE_INSTANCE, LAB, ALICE]


def test_the_smallest_of_the_largest_files_counts() -> None:
    assert SOME.largest("lab", "alice") == (50, LAB)
    assert SOME.largest("hall", "alice") == (100, THE_INSTANCE)
    assert UNLIMITED.largest("lab", "alice") is None


def test_accounts_are_kept_where_a_limit_needs_one() -> None:
    assert [subject for subject, _ in SOME.counted("lab", "alice")] == [LAB]
    assert SOME.named() == [LAB]
    assert SOME.any_counted
    assert not UNLIMITED.any_counted
    assert not Allowances(each_user=Allowance(max_per_minute=1, max_size_bytes=1)).any_counted


def test_they_are_named_for_people() -> None:
    assert [str(one) for one in (THE_INSTANCE, LAB, ALICE, NOBODY)] == [
        "this server",
        "space 'lab'",
        "user 'alice'",
        "users without a name",
    ]
