-- What the mailbox needs to know of REAPER: ids, which project this is, where its notes are kept, the log.
local sb = ...

sb.PROJECT = 0 -- the project in front, in REAPER's functions

local n_made = 0

-- Unique on this machine: all scripts share REAPER's main thread, so no two read the same microsecond.
function sb.new_id()
	n_made = n_made + 1
	return string.format("reaper-%x-%x-%d", os.time(), math.floor(reaper.time_precise() * 1e6), n_made)
end

-- An id that is kept in the project itself, so it stays when the project is renamed or saved for the first time.
-- nil where there is none and `make` is not set.
function sb.project_id(make)
	local _, id = reaper.GetProjExtState(sb.PROJECT, "stembridge", "id")
	if id:match("^[%w-]+$") then return id end
	if not make then return nil end
	id = reaper.genGuid(""):gsub("[^%w-]", "")
	reaper.SetProjExtState(sb.PROJECT, "stembridge", "id", id)
	return id
end

function sb.ledger_path() return sb.mailbox .. "/clients/reaper-" .. (sb.project_id(false) or "none") .. ".jsonl" end

function sb.project_name()
	local _, path = reaper.EnumProjects(-1, "")
	return path:match("([^/\\]+)$") or "unsaved project"
end

function sb.log(text)
	local path = sb.mailbox .. "/clients/reaper.log"
	local file = io.open(path, "ab")
	if not file then return end -- the message itself is shown; its copy is not worth another
	if file:seek("end") > 200000 then
		file:close()
		os.remove(path .. ".1")
		os.rename(path, path .. ".1")
		file = io.open(path, "ab")
		if not file then return end
	end
	file:write(os.date("!%Y-%m-%dT%H:%M:%SZ "), sb.project_name(), ": ", (text:gsub("\n", " / ")), "\n")
	file:close()
end

-- A line for the system's shell, in the background: on Windows, os.execute would open a terminal over REAPER.
function sb.run_apart(line)
	if package.config:sub(1, 1) == "/" then return os.execute(line) end
	return reaper.ExecProcess("cmd.exe /C " .. line, -2) ~= nil -- -2: minimised, and not waited for
end

-- Starts the script that brings results in, unless it runs.
function sb.start_results()
	local beat = tonumber(reaper.GetExtState("stembridge", "beat"))
	local age_s = beat and reaper.time_precise() - beat
	if age_s and age_s >= 0 and age_s < 3 then return end
	local id = reaper.AddRemoveReaScript(true, 0, sb.folder .. "_results.lua", true)
	if id == 0 then error("REAPER does not take " .. sb.folder .. "_results.lua") end
	reaper.Main_OnCommand(id, 0)
end
