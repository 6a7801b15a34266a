-- Loads Stembridge's parts into one table. Called with the folder this file lies in. The parts that are the same for
-- every DAW that uses the mailbox lie beside it, and config.lua where the installer put it all here.
local folder = ...
local sb = { folder = folder, api = 1, version = "0.1.0" }

-- The engine's own rule, for scripts that ReaPack brought.
local function usual_mailbox()
	local system, home = reaper.GetOS(), os.getenv("HOME") or ""
	if system:find("^Win") then return (os.getenv("LOCALAPPDATA") or "") .. "\\stembridge\\mailbox" end
	if system:find("OS", 1, true) then return home .. "/Library/Application Support/stembridge/mailbox" end
	return (os.getenv("XDG_STATE_HOME") or home .. "/.local/state") .. "/stembridge/mailbox"
end

local settings = loadfile(folder .. "/config.lua")
for key, value in pairs(settings and settings() or { mailbox = usual_mailbox() }) do
	sb[key] = value -- mailbox (a folder), version, and the line that starts the engine
end
for _, part in ipairs({ "json", "mailbox", "engine", "project", "ledger", "messages", "selection", "regions", "requests", "gestures", "refine", "capture", "copy", "tracks", "drafts", "arriving", "results", "progress" }) do
	assert(loadfile(folder .. "/" .. part .. ".lua"))(sb)
end
return sb
