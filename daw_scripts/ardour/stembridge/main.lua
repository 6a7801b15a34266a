-- Loads Stembridge's parts into one table. Called with the folder this file lies in.
local folder = ...
local sb = { folder = folder, api = 1 }

for key, value in pairs(assert(loadfile(folder .. "/config.lua"))()) do
	sb[key] = value -- mailbox (a folder) and version, written by the installer
end
for _, part in ipairs({ "json", "mailbox", "engine", "messages", "selection", "gestures", "session", "drafts", "results" }) do
	assert(loadfile(folder .. "/" .. part .. ".lua"))(sb)
end
return sb
