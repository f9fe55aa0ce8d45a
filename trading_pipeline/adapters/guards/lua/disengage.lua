-- Disengages the kill switch. It must not touch the breaker. ARGV: the change, reason.
local sequence, kill_switch = open_change('kill_switch')
if not sequence then
  return kill_switch
end
if kill_switch == 'disengaged' then
  return {'unchanged'}
end
return commit_change(sequence, 'kill_switch', 'disengaged', 'kill_switch_reason', ARGV[4])
