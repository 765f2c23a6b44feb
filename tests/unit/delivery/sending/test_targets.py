from __future__ import annotations

from collections.abc import Sequence

import pytest

from penstock.delivery.sending.targets import TargetRefused, Targets, TargetUnknown
from penstock.errors import ConfigurationError

NOT_OUT_IN_THE_WORLD = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "fe80::1",
    "fe80::1%lo",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
]


def named(*addresses: str, allowed: Sequence[str] = ()) -> Targets:
    async def resolve(host: str, port: int) -> Sequence[str]:
        del host, port
        return addresses

    return Targets(allowed, resolve=resolve)


@pytest.mark.parametrize("address", NOT_OUT_IN_THE_WORLD)
async def test_what_is_not_out_in_the_world_is_refused(address: str) -> None:
    with pytest.raises(TargetRefused, match="PENSTOCK_DELIVERY_PUSH_ALLOW=worker"):
        await named(address).addresses("worker", 443)
    # One bad address among good ones is enough: which one is taken must not be left to chance.
    with pytest.raises(TargetRefused):
        await named("93.184.216.34", address).addresses("worker", 443)


@pytest.mark.parametrize("address", NOT_OUT_IN_THE_WORLD)
def test_it_is_refused_at_the_start_where_it_is_written_so(address: str) -> None:
    with pytest.raises(TargetRefused):
        Targets().check_written(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"])
async def test_what_is_out_in_the_world_is_not(address: str) -> None:
    assert await named(address).addresses("worker", 443) == [address]
    Targets().check_written(address)


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f.1", "2130706433", "0x7f000001", "017700000001", "localhost", "LOCALHOST", "0", "::1"]
)
async def test_however_it_is_written(host: str) -> None:
    """The system itself says what these mean."""
    with pytest.raises((TargetRefused, TargetUnknown)) as found:
        await Targets().addresses(host, 80)
    assert isinstance(found.value, TargetRefused), found.value


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.0/8", "Worker.Internal.", "::1,127.0.0.0/30"])
async def test_what_the_operator_names_is_allowed(allowed: str) -> None:
    targets = named("127.0.0.1", allowed=allowed.split(","))
    assert await targets.addresses("worker.internal", 80) == ["127.0.0.1"]
    if "." not in allowed[:1] and allowed[0] in "1:":
        with pytest.raises(TargetRefused):
            await named("10.0.0.1", allowed=allowed.split(",")).addresses("worker.internal", 80)


async def test_another_host_is_not_allowed_with_it() -> None:
    with pytest.raises(TargetRefused):
        await named("127.0.0.1", allowed=["worker"]).addresses("worker.example.org", 80)


async def test_a_mapped_address_is_in_the_network_that_it_maps() -> None:
    assert await named("::ffff:10.0.0.1", allowed=["10.0.0.0/8"]).addresses("w", 80) == ["::ffff:10.0.0.1"]


async def test_a_name_is_looked_up_once_and_that_address_is_used() -> None:
    """DNS rebinding: the second answer would be another one."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])

    async def resolve(host: str, port: int) -> Sequence[str]:
        del host, port
        return next(answers)

    assert await Targets(resolve=resolve).addresses("worker", 443) == ["93.184.216.34"]


async def test_a_name_without_an_address_may_get_one() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        del host, port
        raise OSError("Name or service not known")

    with pytest.raises(TargetUnknown, match="not known"):
        await Targets(resolve=resolve).addresses("worker", 443)
    with pytest.raises(TargetUnknown):
        await named().addresses("worker", 443)


@pytest.mark.parametrize("wrong", ["10.0.0.0/33", "10.0.0.1/8", "wörker"])
def test_what_is_no_network_is_said(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="neither a host nor a network"):
        Targets([wrong])
