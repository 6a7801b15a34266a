-- @description Stembridge: take one sound out of a mix, by name
-- @author Stembridge
-- @version 0.1.0
-- @about
--   Select a range, press a key: what the track's name says comes back on a new track, aligned to the sample. The work is
--   done by the Stembridge engine on this computer, which is installed on its own: pip install 'stembridge[cpu]'
-- @provides
--   [main] stembridge_*.lua
--   [nomain] stembridge_results.lua
--   [nomain] stembridge/*.lua
--   [nomain] ../ardour/stembridge/json.lua > stembridge/json.lua
--   [nomain] ../ardour/stembridge/mailbox.lua > stembridge/mailbox.lua
--   [nomain] ../ardour/stembridge/engine.lua > stembridge/engine.lua
-- Stembridge: Setup. Load and run this one: it puts all of Stembridge's actions into the action list.
local folder = select(2, reaper.get_action_context()):match("^(.*[/\\])")
local MAIN = 0 -- the main section of the action list
local names, missing = {
	"extract_selection", "extract_by_example", "extract_items", "remove", "batch_tracks", "regions_to_jobs", "repeat_last",
	"refine", "cancel", "show_progress", "results",
}, {}
for i, name in ipairs(names) do
	-- The list is written to disk once, with the last.
	local id = reaper.AddRemoveReaScript(true, MAIN, folder .. "stembridge_" .. name .. ".lua", i == #names)
	if id == 0 then missing[#missing + 1] = name end
end
reaper.ShowMessageBox(#missing == 0
	and "Stembridge's actions are in the action list: search it for “stembridge” and give them keys."
	or "REAPER did not take: " .. table.concat(missing, ", ") .. ". Install again with: stembridge install reaper",
	"Stembridge", 0)
reaper.defer(function() end)
