-- A rolling window is the step of a birth and 60 before it: what was used leaves late, and never early. Calls may be born earlier than others that were counted already, on other clocks: every
-- window that the birth lies in has to have room.
local STEPS, KEPT = 61, 130

local function read_steps(line)
  local steps, known = {}, nil
  local flat = redis.call('HGETALL', line.key)
  for at = 1, #flat, 2 do
    if flat[at] == 'k' then
      known = tonumber(flat[at + 1])
    else
      steps[#steps + 1] = {from = tonumber(flat[at]), committed = number(flat[at + 1])}
    end
  end
  table.sort(steps, function(a, b) return a.from < b.from end)
  return steps, known
end

local function behind(line) return line.a * (STEPS - 1) end

-- Committed in the window whose last step begins at `last`.
local function ending(line, steps, last)
  local sum, first = {0, 0}, last - behind(line)
  for _, step in ipairs(steps) do
    if step.from >= first and step.from <= last then
      sum[1], sum[2] = sum[1] + step.committed[1], sum[2] + step.committed[2]
    end
  end
  return whole(sum)
end

-- Committed in the fullest window that holds the step which begins at `from`.
local function fullest(line, steps, from)
  local most = ending(line, steps, from)
  for _, step in ipairs(steps) do
    if step.from > from and step.from <= from + behind(line) then
      local sum = ending(line, steps, step.from)
      if above(sum, most) then most = sum end
    end
  end
  return most
end

-- The first millisecond from which on a call that asks for so much fits; -1: none is known.
local function fits_from(line, steps, wanted)
  for _, step in ipairs(steps) do
    local at = step.from + behind(line) + line.a
    if at > line.b and not above(plus(fullest(line, steps, at), wanted), line.cap) then return at end
  end
  return -1
end

-- When all of it is there again.
local function empty_from(line, steps)
  local last = steps[#steps]
  return (last and last.from or line.b) + behind(line) + line.a
end

local function forget_steps(line)
  if redis.call('HLEN', line.key) <= KEPT + 1 then return end
  local steps, known = read_steps(line)
  local oldest = steps[#steps].from - 2 * (behind(line) + line.a)
  for _, step in ipairs(steps) do
    if step.from < oldest then redis.call('HDEL', line.key, digits(step.from)) end
  end
  if known and known < oldest then redis.call('HSET', line.key, 'k', digits(oldest)) end
end
