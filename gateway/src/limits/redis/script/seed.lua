-- Puts in what was used of a budget before its count began here. KEYS: the line. ARGV: kind, milliseconds for which it is
-- kept, the first millisecond of what was asked for, k or -1 as it was when that was asked, then pairs of the first
-- millisecond of a window or step and an amount. What was known already stays as it is; what was counted before anything
-- was known is added to. Where another gateway put in something meanwhile, what was asked for may not reach to it.
local key, kind, from = KEYS[1], ARGV[1], tonumber(ARGV[3])
local known = tonumber(redis.call('HGET', key, 'k') or nil)
if known and known <= from then return {'ok'} end
if kind == 'o' and (known or -1) ~= tonumber(ARGV[4]) then return {'moved'} end
-- An older window of the calendar: its own field says that it is known.
local is_older = known and kind == 'b'
if is_older and redis.call('HEXISTS', key, ARGV[3]) == 1 then return {'ok'} end
if is_older then redis.call('HSET', key, ARGV[3], '0') end
for at = 5, #ARGV, 2 do
  if not known or tonumber(ARGV[at]) < known then
    local grown = redis.pcall('HINCRBY', key, ARGV[at], ARGV[at + 1])
    if type(grown) == 'table' and grown.err then redis.call('HSET', key, ARGV[at], '9223372036854775807') end
  end
end
if not is_older then redis.call('HSET', key, 'k', ARGV[3]) end
if redis.call('PTTL', key) < tonumber(ARGV[2]) then redis.call('PEXPIRE', key, ARGV[2]) end
return {'ok'}
