-- Loads Stembridge's parts into one table. Called with the folder this file lies in. The installer lays json.lua and
-- mailbox.lua, which are the same for every DAW that uses the mailbox, and config.lua beside it.
local folder = ...
local sb = { folder = folder, api = 1 }

for key, value in pairs(assert(loadfile(folder .. "/config.lua"))()) do
	sb[key] = value -- mailbox (a folder) and version, written by the installer
end
for _, part in ipairs({ "json", "mailbox", "engine", "project", "messages", "selection", "regions", "requests", "gestures", "capture", "copy", "tracks", "drafts", "arriving", "results", "progress" }) do
	assert(loadfile(folder .. "/" .. part .. ".lua"))(sb)
end
return sb
