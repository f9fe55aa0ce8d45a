-- Disengages the kill switch. It must not touch the breaker.
local sequence, kill_switch = open_book('kill_switch')
if not sequence then
  return {MISSING}
end
if kill_switch == 'disengaged' then
  return {'unchanged'}
end
return commit(sequence, 'kill_switch', 'disengaged', 'kill_switch_reason', ARGV[1])
