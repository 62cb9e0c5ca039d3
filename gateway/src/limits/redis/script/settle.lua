-- Ends the hold at what was used: the budgets' amounts of ARGV. Told again, it puts the new use in the place of the old.
-- A hold that is not known (it was counted elsewhere meanwhile, or its data is lost) is charged what was used, and is
-- ended before it can begin.
local hold = read_hold()
local used = budgets
local settle = {}

function settle.r(line)
  local bucket = read_bucket(line)
  local use = double(of(used, line.quantity))
  local charged = hold and double(of(hold.rates, line.quantity)) or 0
  if not hold or hold.state == 'S' then
    settle_bucket(line, bucket, 0, math.max(0, use - charged))
  elseif hold.is_late then
    -- It has drained as a use since: only what is missing is added.
    bucket.settled = bucket.settled + leave_bucket(bucket, hold.expires, charged)
    settle_bucket(line, bucket, 0, math.max(0, use - charged))
  else
    leave_bucket(bucket, hold.expires, charged)
    settle_bucket(line, bucket, charged, use)
  end
  write_bucket(line, bucket)
end

local function settle_budget(line)
  local field = digits(line.b)
  local kept = redis.call('HMGET', line.key, field, 'k')
  local known = tonumber(kept[2] or nil)
  -- Of a window that is forgotten nothing is left to change.
  if known and known > line.b and not kept[1] then return end
  local change = of(used, line.quantity)
  -- Where the count was lost, what was held went with it.
  if hold and (known or hold.state == 'S') then change = minus(change, of(hold.budgets, line.quantity)) end
  if not is_zero(change) then grow(line.key, field, text(change)) end
  expire_budget(line, known)
end

function settle.b(line)
  settle_budget(line)
  forget_windows(line)
end

function settle.o(line)
  settle_budget(line)
  forget_steps(line)
end

function settle.n(line) redis.call('ZREM', line.key, KEYS[1]) end

for _, line in ipairs(lines) do settle[line.kind](line) end
write_hold('S', now, used, used)
redis.call('SREM', KEYS[3], ARGV[12])
redis.call('PEXPIRE', KEYS[2], digits(LINES))
return {'ok'}
