-- What every script of the counter begins with: exact numbers, the time, the call's hold and its lines.
--
-- KEYS: the call's hold, its lines for whoever settles it in its gateway's place, the holds of its gateway, then one key
-- for each line. All of them carry the organisation's hash tag.
-- ARGV: now in microseconds or 0 for the server's own time, microseconds until the hold expires, milliseconds for which
-- an ended hold is remembered, four amounts of budgets, four of rates (requests, input tokens, output tokens,
-- nano-dollars), the hold's name among those of its gateway, then five words for each line: kind, quantity, cap, and two more that depend on the kind.
--
--   kind          key holds                                            words
--   r  rate       'level settled at' in tokens and µs, then pairs of    microseconds of its length, -
--                 a generation and what its holds hold
--   b  budget     hash: first ms of a window -> committed, k           milliseconds for which it is kept, first ms of the birth's
--   o  rolling    hash: first ms of a step -> committed, k             milliseconds of a step, first ms of the birth's
--   n  running    sorted set: call -> µs when its place is free        -, -
--
-- k is the moment from which on everything is counted in the hash; what was used before it was read from the ledger.

-- Lua's numbers are doubles, which are exact up to 2^53. Counters go up to 2^63, so they are never added here but by
-- HINCRBY, and compared as pairs: hi * 10^9 + lo, whose halves and their sums are far below 2^53.
local BASE = 1000000000

local function number(text)
  if not text then return {0, 0} end
  local sign = 1
  if string.sub(text, 1, 1) == '-' then
    sign = -1
    text = string.sub(text, 2)
  end
  local digits = #text
  if digits <= 9 then return {0, sign * tonumber(text)} end
  return {sign * tonumber(string.sub(text, 1, digits - 9)), sign * tonumber(string.sub(text, digits - 8))}
end

-- The same number with 0 <= lo < 10^9.
local function whole(n)
  local carry = math.floor(n[2] / BASE)
  return {n[1] + carry, n[2] - carry * BASE}
end

local function plus(a, b) return whole({a[1] + b[1], a[2] + b[2]}) end
local function minus(a, b) return whole({a[1] - b[1], a[2] - b[2]}) end
local function above(a, b) return a[1] > b[1] or (a[1] == b[1] and a[2] > b[2]) end
local function is_zero(n) return n[1] == 0 and n[2] == 0 end
local ZERO = {0, 0}

local function text(n)
  local hi, lo, sign = n[1], n[2], ''
  if hi < 0 then
    hi, lo, sign = -hi, -lo, '-'
    if lo < 0 then hi, lo = hi - 1, lo + BASE end
  end
  if hi == 0 then return sign .. string.format('%d', lo) end
  return sign .. string.format('%d%09d', hi, lo)
end

-- For rates, whose amounts are below 2^50.
local function double(n) return n[1] * BASE + n[2] end
local function digits(n) return string.format('%.0f', n) end

local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local ttl, remembered_ms = tonumber(ARGV[2]), tonumber(ARGV[3])

local function amounts(words, first)
  local of = {}
  for at = 1, 4 do of[at] = number(words[first + at - 1]) end
  return of
end
local budgets, rates = amounts(ARGV, 4), amounts(ARGV, 8)

-- Quantities: 1 requests and running calls, 2 input tokens, 3 output tokens, 4 nano-dollars, 5 tokens of both kinds.
local function of(them, quantity)
  if quantity == 5 then return plus(them[2], them[3]) end
  return whole(them[quantity])
end

local lines = {}
for at = 4, #KEYS do
  local word = 13 + (at - 4) * 5
  lines[at - 3] = {
    key = KEYS[at], kind = ARGV[word], quantity = tonumber(ARGV[word + 1]), cap = number(ARGV[word + 2]),
    a = tonumber(ARGV[word + 3]), b = tonumber(ARGV[word + 4]),
  }
end

-- Milliseconds for which a hold is kept that nobody settles: its gateway may come back and know what was used.
local LOST = 86400000
-- Milliseconds for which the lines of an ended hold are kept: its gateway may have died before its journal knew what it
-- told here, and then says what the journal does know.
local LINES = 120000

-- What the next start of the call's gateway needs to settle it.
local function remember_lines()
  local words = {}
  for at = 4, #KEYS do
    words[#words + 1] = KEYS[at]
    for word = 13 + (at - 4) * 5, 17 + (at - 4) * 5 do words[#words + 1] = ARGV[word] end
  end
  redis.call('SET', KEYS[2], cjson.encode(words), 'PX', digits(LOST))
  redis.call('SADD', KEYS[3], ARGV[12])
  redis.call('PEXPIRE', KEYS[3], digits(LOST))
end

-- A hold: 'L' while its call runs or 'S' once it is settled, when it expires, what is charged to budgets and to rates.
local function read_hold()
  local kept = redis.call('GET', KEYS[1])
  if not kept then return nil end
  local words = {}
  for word in string.gmatch(kept, '%S+') do words[#words + 1] = word end
  local hold = {state = words[1], expires = tonumber(words[2]), budgets = amounts(words, 3), rates = amounts(words, 7)}
  hold.is_late = hold.state == 'L' and hold.expires <= now
  return hold
end

local function write_hold(state, expires, of_budgets, of_rates)
  local words = {state, digits(expires)}
  for at = 1, 4 do words[2 + at] = text(whole(of_budgets[at])) end
  for at = 1, 4 do words[6 + at] = text(whole(of_rates[at])) end
  local ms = (state == 'L' and LOST or 0) + remembered_ms + math.max(0, math.ceil((expires - now) / 1000))
  redis.call('SET', KEYS[1], table.concat(words, ' '), 'PX', digits(ms))
end

-- A rate: a bucket that drains its cap in its length. What is held drains too, but giving it back never lowers the level
-- below what is settled and still held. Holds are kept by the time at which they expire, in generations of five seconds:
-- one that nobody renews or settles counts as a use from then on, without anybody who remembers it.
local GENERATION = 5000000
local function generation(expires) return digits(math.floor(expires / GENERATION)) end

-- What doubles lose on the way; so much is no token.
local function close(line) return math.max(1e-9, double(line.cap) * 1e-12) end

local function read_bucket(line)
  local bucket = {level = 0, settled = 0, held = 0, at = now, holds = {}}
  local words = {}
  for word in string.gmatch(redis.call('GET', line.key) or '', '%S+') do words[#words + 1] = word end
  if #words > 0 then
    bucket.level, bucket.settled, bucket.at = tonumber(words[1]), tonumber(words[2]), tonumber(words[3])
  end
  local drains = double(line.cap) / line.a
  local drained = math.max(0, now - bucket.at) * drains
  bucket.level = bucket.level - drained
  if bucket.level < close(line) then bucket.level = 0 end
  bucket.settled = math.max(0, bucket.settled - drained)
  bucket.at = math.max(bucket.at, now)
  for at = 4, #words, 2 do
    local over, amount = (tonumber(words[at]) + 1) * GENERATION, tonumber(words[at + 1])
    if over > now then
      bucket.holds[words[at]] = amount
      bucket.held = bucket.held + amount
    else
      bucket.settled = bucket.settled + math.max(0, amount - (now - over) * drains)
    end
  end
  return bucket
end

-- Microseconds, rounded up, but not for what doubles lose.
local function drained_in(line, tokens) return math.max(0, math.ceil(tokens * line.a / double(line.cap) - 1e-6)) + 0 end

local function write_bucket(line, bucket)
  local ms = math.ceil(drained_in(line, bucket.level) / 1000) + 1
  local words = {string.format('%.17g %.17g %.17g', bucket.level, bucket.settled, bucket.at)}
  for name, amount in pairs(bucket.holds) do
    if amount > close(line) then
      words[#words + 1] = string.format('%s %.17g', name, amount)
      ms = math.max(ms, math.ceil(((tonumber(name) + 1) * GENERATION - now) / 1000))
    end
  end
  redis.call('SET', line.key, table.concat(words, ' '), 'PX', digits(ms))
end

local function enter_bucket(bucket, expires, amount)
  local name = generation(expires)
  bucket.holds[name] = (bucket.holds[name] or 0) + amount
  bucket.held = bucket.held + amount
end

-- The hold is no part of what is held any more; how much of it still was.
local function leave_bucket(bucket, expires, amount)
  local name = generation(expires)
  local left = math.min(bucket.holds[name] or 0, amount)
  if left > 0 then bucket.holds[name] = bucket.holds[name] - left end
  bucket.held = math.max(0, bucket.held - left)
  return left
end

-- Puts what was used in the place of what was held, even into debt: of one more quota at most.
local function settle_bucket(line, bucket, held, used)
  local most = 2 * double(line.cap)
  bucket.settled = math.min(bucket.settled + used, most)
  local floor = math.min(bucket.level, bucket.settled + bucket.held)
  bucket.level = math.min(math.max(bucket.level + used - held, floor), most)
end

-- HINCRBY fails beyond 2^63 and leaves what is there; such a budget is full.
local function grow(key, field, amount)
  local grown = redis.pcall('HINCRBY', key, field, amount)
  if type(grown) == 'table' and grown.err then redis.call('HSET', key, field, '9223372036854775807') end
end

-- Milliseconds that use of a budget is kept whose past is not known yet. By then it is in the ledger, where the past is
-- read from.
local UNKNOWN_MS = 60000

-- Never sooner than before: calls of an older window come too.
local function expire_budget(line, is_known)
  local ms = UNKNOWN_MS
  if is_known then ms = line.kind == 'o' and line.a * 60 * 3 or line.a end
  if redis.call('PTTL', line.key) < ms then redis.call('PEXPIRE', line.key, digits(ms)) end
end

-- Windows of the calendar that are kept: the present one and those that calls still run in.
local WINDOWS = 4

local function forget_windows(line)
  if redis.call('HLEN', line.key) <= WINDOWS + 1 then return end
  local windows = {}
  for _, field in ipairs(redis.call('HKEYS', line.key)) do
    if field ~= 'k' then windows[#windows + 1] = tonumber(field) end
  end
  table.sort(windows)
  for at = 1, #windows - WINDOWS do redis.call('HDEL', line.key, digits(windows[at])) end
  local oldest, known = windows[#windows - WINDOWS + 1], redis.call('HGET', line.key, 'k')
  if known and tonumber(known) < oldest then redis.call('HSET', line.key, 'k', digits(oldest)) end
end
