"""What runs inside Redis, so that a record and the index of it change together or not at all.

The index lies beside the records, under keys that start with a prefix (the first argument of each script) and then:

    index       hash: upload → revision, and `:` with the step that it is filed under (nothing for what is no record)
    order       sorted set: upload → a number that counts up with every new record
    due         sorted set: upload → its earliest timer, in microseconds since 1970
    step:<name> sorted set: upload → the same number as in `order`, for the records in that step
    steps       set of the steps that have such a set, with the colon
    last        the number given last
    answers     hash: step → when somebody last answered for it, in microseconds since 1970
    read        nothing; is written with sentinels, to learn whether what was read has reached the replicas

A revision is the start of the SHA-1 of what lies under the record's key. So whatever somebody else writes there is
another revision, also when they know nothing of this.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

_SHARED: Final = """
local prefix = ARGV[1]
local INDEX, ORDER, DUE, STEPS = prefix .. 'index', prefix .. 'order', prefix .. 'due', prefix .. 'steps'

local function revision_of(value)
  return string.sub(redis.sha1hex(value), 1, 15)
end

local function leave_step(id, step)
  if step == '' then return end
  local members = prefix .. 'step' .. step
  redis.call('ZREM', members, id)
  if redis.call('EXISTS', members) == 0 then redis.call('SREM', STEPS, step) end
end

local function unfile(id)
  local filed = redis.call('HGET', INDEX, id)
  if filed then
    leave_step(id, string.sub(filed, 16))
    redis.call('HDEL', INDEX, id)
  end
  redis.call('ZREM', ORDER, id)
  redis.call('ZREM', DUE, id)
end

local function file(id, revision, step, due)
  local filed = redis.call('HGET', INDEX, id)
  local before = filed and string.sub(filed, 16) or ''
  local number = redis.call('ZSCORE', ORDER, id)
  if not number then
    number = redis.call('INCR', prefix .. 'last')
    redis.call('ZADD', ORDER, number, id)
  end
  if before ~= step then
    leave_step(id, before)
    if step ~= '' then
      redis.call('ZADD', prefix .. 'step' .. step, number, id)
      redis.call('SADD', STEPS, step)
    end
  end
  if due == '' then redis.call('ZREM', DUE, id) else redis.call('ZADD', DUE, due, id) end
  redis.call('HSET', INDEX, id, revision .. step)
end
"""


class Script:
    """A Lua script, and the name under which Redis remembers it once it has seen it."""

    def __init__(self, body: str) -> None:
        self.source = _SHARED + body
        self.name = sha1(self.source.encode()).hexdigest()  # noqa: S324  # a name, chosen by Redis


FETCH: Final = Script("""
local value = redis.call('GET', KEYS[1])
if value then redis.call('SET', prefix .. 'read', '') end
return value
""")
"""KEYS: the record. ARGV: prefix. The value; it was written before what this writes, and reaches the replicas
before that."""

SAVE: Final = Script("""
local id, expected, value, revision, step, due = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local held = redis.call('GET', KEYS[1])
if expected == '' then
  if held then return 0 end
elseif not held or revision_of(held) ~= expected then
  return 0
end
redis.call('SET', KEYS[1], value) -- before all else: it is refused when memory is short, and then nothing is done
if expected == '' then unfile(id) end
file(id, revision, step, due)
return 1
""")
"""KEYS: the record. ARGV: prefix, upload, expected revision or empty, value, its revision, step, due. 1 if written."""

DELETE: Final = Script("""
local held = redis.call('GET', KEYS[1])
if held then
  if revision_of(held) ~= ARGV[3] then return 0 end
  redis.call('DEL', KEYS[1])
end
unfile(ARGV[2])
return 1
""")
"""KEYS: the record. ARGV: prefix, upload, expected revision. 1 if it is gone."""

READ: Final = Script("""
local found = redis.call('ZRANGEBYSCORE', prefix .. ARGV[3], ARGV[4], ARGV[5], 'WITHSCORES', 'LIMIT', 0, ARGV[6])
local ids, scores, keys = {}, {}, {}
for i = 1, #found, 2 do
  ids[#ids + 1], scores[#scores + 1], keys[#keys + 1] = found[i], found[i + 1], ARGV[2] .. found[i]
end
if #ids == 0 then return {ids, ids, ids, ids} end
return {ids, scores, redis.call('MGET', unpack(keys)), redis.call('HMGET', INDEX, unpack(ids))}
""")
"""ARGV: prefix, table, sorted set, from, to, most (under 7000). Uploads, their scores, values, entries in `index`."""

COUNT: Final = Script("""
local counts = {}
for _, step in ipairs(redis.call('SMEMBERS', STEPS)) do
  counts[#counts + 1] = step
  counts[#counts + 1] = redis.call('ZCARD', prefix .. 'step' .. step)
end
return counts
""")
"""ARGV: prefix. Steps and how many records are filed under each, in turn."""

CHANGED: Final = Script("""
local page = redis.call('SCAN', ARGV[3], 'MATCH', ARGV[4], 'COUNT', ARGV[5])
local found = {page[1]}
for _, key in ipairs(page[2]) do
  if redis.pcall('GETRANGE', key, 0, 6) == '{"ID":"' then
    local id = string.sub(key, #ARGV[2] + 1)
    local value, filed = redis.call('GET', key), redis.call('HGET', INDEX, id)
    if not filed or string.sub(filed, 1, 15) ~= revision_of(value) then
      found[#found + 1], found[#found + 2] = id, value
    end
  end
end
return found
""")
"""ARGV: prefix, table, cursor, pattern, how many keys to look at. The next cursor, then uploads and values that may be
records, as Go services begin them, and are not filed as they are."""

REFILE: Final = Script("""
for i, key in ipairs(KEYS) do
  local id, revision = ARGV[4 * i - 2], ARGV[4 * i - 1]
  local held = redis.pcall('GET', key)
  if type(held) ~= 'string' then
    unfile(id)
  elseif revision_of(held) == revision then
    file(id, revision, ARGV[4 * i], ARGV[4 * i + 1])
  end
end
return #KEYS
""")
"""KEYS: records. ARGV: prefix, and for each record: upload, revision, step, due. Files those that are still like that
and takes out those that are gone; whoever has changed one since, has filed it."""
