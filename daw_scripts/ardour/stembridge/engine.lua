-- Whether an engine runs, how one is started, and the requests that wait for one. Nothing here waits.
local sb = ...

local STALE_S = 10 -- an engine writes its sign of life every 2 s
local START_S = 60 -- how long an engine may take to start

-- "running", "stopped" or "other" (an engine of another API, with its version as the second value).
function sb.engine()
	local sign = sb.decode(sb.read_file(sb.mailbox .. "/engine.json") or "")
	if type(sign) ~= "table" or type(sign.time_s) ~= "number" or os.time() - sign.time_s > STALE_S then
		return "stopped"
	end
	if sign.api ~= sb.api then return "other", tostring(sign.version) end
	return "running"
end

-- When a DAW on this machine last began to start the engine lies in a file, so that several do not do it at once. (The
-- engine itself sees to it that there is only one: a second ends at once.)
local function mark_path() return sb.mailbox .. "/clients/engine.started" end

local function started_s_ago()
	local time_s = tonumber(sb.read_file(mark_path()) or "")
	return time_s and os.time() - time_s
end

function sb.engine_is_starting()
	local age_s = started_s_ago()
	return age_s ~= nil and age_s >= 0 and age_s < START_S
end

-- Runs a line in the background; true when that could be done. A DAW may have a better way. (Ardour has an os.execute of
-- its own, which returns a number.)
function sb.run_apart(line)
	local result = os.execute(line)
	return result == true or result == 0
end

-- As `sb.engine`, but where none runs and the installer wrote down how to start it, that is done: "starting".
function sb.engine_or_start()
	local engine, version = sb.engine()
	if engine ~= "stopped" or not sb.start_line then return engine, version end
	if sb.engine_is_starting() then return "starting" end
	local mark = io.open(mark_path(), "wb")
	if not mark then return "stopped" end
	mark:write(string.format("%d", os.time()))
	mark:close()
	if sb.run_apart(sb.start_line) then return "starting" end
	os.remove(mark_path())
	return "stopped"
end

local told = false -- that no engine runs
local handed_over = {} -- by rid

local function tell_of_stopped(n_open)
	local why = started_s_ago() and "The Stembridge engine was started but does not answer;"
		or "The Stembridge engine has stopped;"
	sb.tell({ string.format("%s %d of this session's requests wait for it. They go on when it runs; in a terminal, this "
		.. "starts it and says what is wrong:  stembridge serve\nTo give them up, use “Stembridge: Cancel”.", why, n_open) })
end

-- Called now and then with the open entries: hands over those that were held until an engine runs, withdraws them from
-- one they do not fit, and says once that there is none.
function sb.look_after_engine(entries, n_open)
	local engine, version = sb.engine()
	if engine == "stopped" then
		if told or sb.engine_is_starting() then return end
		told = true
		return tell_of_stopped(n_open)
	end
	told = false
	local refused = false
	for _, entry in ipairs(entries) do
		if entry.held and not handed_over[entry.rid] then
			if engine == "running" then
				handed_over[entry.rid] = sb.hand_over_held(entry.rid)
			elseif sb.withdraw(entry.rid) then
				refused = true
				sb.close_entry(entry.rid)
			end
		end
	end
	if started_s_ago() then os.remove(mark_path()) end
	if refused then sb.tell({ sb.engine_other(version) }) end
end
