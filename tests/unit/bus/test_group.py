"""The queues of a group, against a plain model."""

from __future__ import annotations

import tracemalloc

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.bus.group import Entry, Group, Member
from penstock.events.types import BytesReceived, Envelope, Opaque, OpaqueEntry, RestartPostprocessing, User

KINDS = (BytesReceived, RestartPostprocessing)


def envelope(upload_id: str, *, event_id: str = "", kind: type = BytesReceived) -> Envelope:
    return Envelope(event=kind(upload_id=upload_id), event_id=event_id)


def member(*types: type) -> Member:
    return Member(frozenset(types or KINDS), None)


def admit(group: Group[Member], sent: Envelope) -> None:
    group.admit(sent, group.wanted_by(sent))


def upload_of(entry: Entry | None) -> str | None:
    return entry.envelope.event.upload_id if entry else None


def test_events_come_out_in_order_over_all_queues_of_a_member() -> None:
    group: Group[Member] = Group("g")
    picky, greedy = member(BytesReceived), member()
    group.join(picky)
    group.join(greedy)
    for number in range(6):
        admit(group, envelope(f"u{number}", kind=KINDS[number % 2]))
    assert [upload_of(group.take(greedy)) for _ in range(3)] == ["u0", "u1", "u2"]
    assert [upload_of(group.take(picky)) for _ in range(2)] == ["u4", None]
    assert [upload_of(group.take(greedy)) for _ in range(3)] == ["u3", "u5", None]


def test_an_id_is_known_until_its_event_was_handled() -> None:
    group: Group[Member] = Group("g")
    one = member()
    group.join(one)
    admit(group, envelope("u1", event_id="e1"))
    assert group.holds("e1")
    entry = group.take(one)
    assert entry is not None
    assert group.holds("e1")
    group.give_back(entry, first=False)
    assert group.take(one) is entry
    group.finish(entry)
    assert not group.holds("e1")


def test_many_events_wait_in_little_room_and_come_out_as_they_were() -> None:
    def sent(number: int) -> Envelope:
        user = User(username="einstein", opaque=Opaque(map={"k": OpaqueEntry(value=bytes([number % 256]) * 900)}))
        name = "\ud800" if number == 1500 else f"u{number}"  # which cannot be written
        event = BytesReceived(upload_id=name, executing_user=user)
        return Envelope(event=event, event_id=f"e{number}", timestamp="2026-11-21T12:00:00Z")

    group: Group[Member] = Group("g")
    one = member()
    group.join(one)
    tracemalloc.start()
    try:
        for number in range(1000):
            admit(group, sent(number))
        near = tracemalloc.get_traced_memory()[0]
        for number in range(1000, 3000):
            admit(group, sent(number))
        far = tracemalloc.get_traced_memory()[0] - near
    finally:
        tracemalloc.stop()
    assert far < near  # twice as many
    for number in range(3000):
        entry = group.take(one)
        assert entry is not None
        assert entry.envelope == sent(number)
        assert group.holds(f"e{number}")
        group.finish(entry)
        assert not group.holds(f"e{number}")


def test_what_nobody_wants_any_more_waits_for_somebody_who_does() -> None:
    group: Group[Member] = Group("g")
    first = member()
    group.join(first)
    admit(group, envelope("u1"))
    admit(group, envelope("u2", kind=RestartPostprocessing))
    group.leave(first)
    assert group.pending == 2
    second = member(RestartPostprocessing)
    group.join(second)
    assert upload_of(group.take(second)) == "u2"
    assert group.take(second) is None
    third = member()
    group.join(third)
    assert upload_of(group.take(third)) == "u1"


class GroupMachine(RuleBasedStateMachine):
    """Members come and go, events are taken, handled and given back: none is lost, none handed out twice."""

    def __init__(self) -> None:
        super().__init__()
        self.group: Group[Member] = Group("g")
        self.members: list[Member] = []
        self.out: list[Entry] = []
        self.waiting: dict[str, type] = {}
        self.admitted = 0

    @precondition(lambda self: len(self.members) < 4)
    @rule(types=st.sampled_from([(), (BytesReceived,), (RestartPostprocessing,)]))
    def join(self, types: tuple[type, ...]) -> None:
        self.members.append(member(*types))
        self.group.join(self.members[-1])

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(self.members))
        self.members.remove(gone)
        self.group.leave(gone)

    @rule(kind=st.sampled_from(KINDS))
    def publish(self, kind: type) -> None:
        upload = f"u{self.admitted}"
        sent = envelope(upload, event_id=upload, kind=kind)
        if members := self.group.wanted_by(sent):
            self.admitted += 1
            self.waiting[upload] = kind
            self.group.admit(sent, members)

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        taker = data.draw(st.sampled_from(self.members))
        entry = self.group.take(taker)
        wanted = [upload for upload, kind in self.waiting.items() if kind in taker.types]
        if entry is None:
            assert wanted == []
        else:
            upload = entry.envelope.event.upload_id
            assert upload in wanted
            del self.waiting[upload]
            self.out.append(entry)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), first=st.booleans())
    def give_back(self, data: st.DataObject, first: bool) -> None:
        entry = data.draw(st.sampled_from(self.out))
        self.out.remove(entry)
        self.group.give_back(entry, first=first)
        self.waiting[entry.envelope.event.upload_id] = type(entry.envelope.event)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.out))
        self.out.remove(entry)
        self.group.finish(entry)
        assert not self.group.holds(entry.envelope.event_id)

    @invariant()
    def everything_is_accounted_for(self) -> None:
        assert self.group.pending == len(self.waiting) + len(self.out)
        assert all(map(self.group.holds, self.waiting))

    def teardown(self) -> None:
        last = member()
        self.group.join(last)
        left = set()
        while (entry := self.group.take(last)) is not None:
            left.add(entry.envelope.event.upload_id)
        assert left == set(self.waiting)


TestGroupAgainstAModel = GroupMachine.TestCase
