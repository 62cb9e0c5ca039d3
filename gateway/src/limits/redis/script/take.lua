-- Takes a hold at every line or at none; for a hold that is there already, brings its budgets to what is asked and renews
-- it. Everything is looked at before anything is written, so that a script that is killed has taken nothing.
--
-- Answers {'ok', place, remaining, reset, …} for each rate and budget; {'full', place, wait, remaining, reset, …} for each
-- line that has no room; {'unseeded', place, known from or -1, …} for budgets whose past is not known; {'over'} for an
-- ended call.
local hold = read_hold()
if hold and hold.state == 'S' then return {'over'} end
local is_first = ARGV[#ARGV] == 'reserve' and not hold
local needs_place = not hold or hold.is_late
-- A call that reserves again keeps what it has.
if ARGV[#ARGV] == 'reserve' and hold then budgets = hold.budgets end

local function wanted(line)
  if line.kind == 'r' then return is_first and of(rates, line.quantity) or nil end
  if line.kind == 'n' then return needs_place and {0, 1} or nil end
  return minus(of(budgets, line.quantity), hold and of(hold.budgets, line.quantity) or ZERO)
end

local unseeded, full = {'unseeded'}, {'full'}

local function no_room(at, wait, remaining, reset)
  full[#full + 1] = at
  full[#full + 1] = digits(wait)
  full[#full + 1] = remaining
  full[#full + 1] = digits(reset)
end

local function not_known(at, known)
  unseeded[#unseeded + 1] = at
  unseeded[#unseeded + 1] = known and digits(tonumber(known)) or '-1'
end

local look = {}

function look.r(at, line, tokens)
  line.bucket = read_bucket(line)
  local missing = line.bucket.level + double(tokens) - double(line.cap)
  if missing <= close(line) then return end
  local left = math.max(0, math.floor(double(line.cap) - line.bucket.level + close(line)))
  no_room(at, math.max(1, drained_in(line, missing)), digits(left), drained_in(line, line.bucket.level))
end

function look.n(at, line, places)
  local running = redis.call('ZCOUNT', line.key, '(' .. digits(now), '+inf')
  if double(line.cap) < running + double(places) then no_room(at, -1, '0', -1) end
end

-- A hold that shrinks, or grows by nothing, needs no room; a new one does, even for nothing.
local function needs_room(amount) return not hold or above(amount, ZERO) end

function look.b(at, line, amount)
  local kept = redis.call('HMGET', line.key, digits(line.b), 'k')
  if not kept[2] or (tonumber(kept[2]) > line.b and not kept[1]) then return not_known(at, kept[2]) end
  local committed = whole(number(kept[1]))
  line.after, line.reset = plus(committed, amount), -1
  if not needs_room(amount) or not above(plus(committed, amount), line.cap) then return end
  local left = minus(line.cap, committed)
  no_room(at, -1, text(above(left, ZERO) and left or ZERO), -1)
end

function look.o(at, line, amount)
  local steps, known = read_steps(line)
  if not known or math.max(0, line.b - behind(line)) < known then return not_known(at, known) end
  local committed = fullest(line, steps, line.b)
  line.after, line.reset = plus(committed, amount), empty_from(line, steps)
  if not needs_room(amount) or not above(plus(committed, amount), line.cap) then return end
  local left = minus(line.cap, committed)
  no_room(at, fits_from(line, steps, amount), text(above(left, ZERO) and left or ZERO), empty_from(line, steps))
end

for at, line in ipairs(lines) do
  line.wanted = wanted(line)
  if line.wanted then look[line.kind](at, line, line.wanted) end
end
if #unseeded > 1 then return unseeded end
if ARGV[#ARGV] == 'look' then return {'ok'} end
if #full > 1 then return full end

local expires = now + ttl
local take = {}

function take.r(line, tokens)
  line.bucket.level = line.bucket.level + double(tokens)
  enter_bucket(line.bucket, expires, double(tokens))
  write_bucket(line, line.bucket)
end

function take.n(line)
  redis.call('ZREMRANGEBYSCORE', line.key, '-inf', digits(now))
end

function take.b(line, amount)
  if not is_zero(amount) then
    grow(line.key, digits(line.b), text(amount))
    forget_windows(line)
  end
  expire_budget(line, true)
end

function take.o(line, amount)
  if not is_zero(amount) then
    grow(line.key, digits(line.b), text(amount))
    forget_steps(line)
  end
  expire_budget(line, true)
end

for _, line in ipairs(lines) do
  if line.wanted then take[line.kind](line, line.wanted) end
  if line.kind == 'n' then
    redis.call('ZADD', line.key, digits(expires), KEYS[1])
    redis.call('PEXPIRE', line.key, digits(math.ceil(ttl / 1000) + 1))
  end
  if line.kind == 'r' and hold and not is_zero(of(hold.rates, line.quantity)) then
    line.bucket = line.bucket or read_bucket(line)
    leave_bucket(line.bucket, hold.expires, double(of(hold.rates, line.quantity)))
    enter_bucket(line.bucket, expires, double(of(hold.rates, line.quantity)))
    write_bucket(line, line.bucket)
  end
end
if hold then redis.call('PEXPIRE', KEYS[2], digits(LOST)) else remember_lines() end
write_hold('L', expires, budgets, hold and hold.rates or (is_first and rates or {ZERO, ZERO, ZERO, ZERO}))

local answer = {'ok'}
local function left(at, remaining, reset)
  answer[#answer + 1] = at
  answer[#answer + 1] = remaining
  answer[#answer + 1] = digits(reset)
end
for at, line in ipairs(lines) do
  if line.kind == 'r' then
    local bucket = line.bucket or read_bucket(line)
    local tokens = math.max(0, math.floor(double(line.cap) - bucket.level + close(line)))
    left(at, digits(tokens), drained_in(line, bucket.level))
  elseif line.after then
    local rest = minus(line.cap, line.after)
    left(at, text(above(rest, ZERO) and rest or ZERO), line.reset)
  end
end
return answer
