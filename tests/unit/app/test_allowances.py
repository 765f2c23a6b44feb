from __future__ import annotations

from pathlib import Path

import pytest

from penstock.app.allowances import allowances_of
from penstock.errors import ConfigurationError
from penstock.settings import load_settings
from penstock.uploads.allowances import Allowance, Allowances

USERS = {"PENSTOCK_USER_HEADER": "X-User", "PENSTOCK_TRUSTED_PROXIES": "127.0.0.1"}


def read(folder: Path, toml: str = "", **environ: str) -> Allowances:
    path = folder / "penstock.toml"
    path.write_text(toml)
    return allowances_of(load_settings(config=path, environ=environ))


def test_without_a_word_nothing_is_limited(tmp_path: Path) -> None:
    assert read(tmp_path) == Allowances()


def test_a_rule_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    rules = """
        max_size = "5GiB"
        limits = { max_unfinished = 1000 }
        space_limits = { quota = "1KiB", max_receiving = 5 }
        [[limit_rules]]
        space = ["lab", "hall"]
        quota = "2KiB"
        [[limit_rules]]
        user = "alice"
        max_unfinished = 0
    """
    environ = {**USERS, "PENSTOCK_USER_LIMITS": "max_unfinished=3,quota=9"}
    assert read(tmp_path, rules, **environ) == Allowances(
        instance=Allowance(max_size_bytes=5 * 1024**3, max_unfinished=1000),
        each_space=Allowance(quota_bytes=1024, max_receiving=5),
        each_user=Allowance(max_unfinished=3, quota_bytes=9),
        spaces=dict.fromkeys(("lab", "hall"), Allowance(quota_bytes=2048, max_receiving=5)),
        users={"alice": Allowance(quota_bytes=9)},
    )


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("quota = 1", r"rule 1: names nobody\. Give it a `space` or a `user`"),
        ('space = "a"\nuser = "b"\nquota = 1', "rule 1: names both"),
        ('space = "a"', r"rule 1: sets no limit\. Write some of max_size, quota"),
        ('space = "a"\nqota = 1', r"rule 1: 'qota': there is no such limit here\. Did you mean quota\?"),
        ("space = [1]\nquota = 1", "rule 1: space must be a name in quotes"),
        ('space = "a"\nquota = 1\n[[limit_rules]]\nspace = "a"\nmax_size = 1', "rule 2: space 'a' has a rule already"),
    ],
)
def test_what_is_wrong_with_a_rule_is_told(tmp_path: Path, rule: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        read(tmp_path, f"[[limit_rules]]\n{rule}", **USERS)


def test_users_can_only_be_limited_where_they_have_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"user_limits .* nobody says who they are\. Set user_header"):
        read(tmp_path, PENSTOCK_USER_LIMITS="quota=1")
    with pytest.raises(ConfigurationError, match=r"limit_rules .* nobody says who they are"):
        read(tmp_path, '[[limit_rules]]\nuser = "a"\nquota = 1')
    with pytest.raises(ConfigurationError, match="counts only from trusted_proxies, and there are none"):
        read(tmp_path, PENSTOCK_USER_HEADER="X-User")
