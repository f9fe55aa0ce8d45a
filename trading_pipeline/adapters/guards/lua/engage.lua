-- Engages the kill switch: from here on nothing clears but a flatten.
local sequence, kill_switch = open_book('kill_switch')
if not sequence then
  return {MISSING}
end
if kill_switch ~= 'disengaged' then
  return {'unchanged'}
end
return commit(sequence, 'kill_switch', 'engaged', 'kill_switch_reason', ARGV[1])
