-- @noindex
-- Stembridge: Show progress. How far this project's requests are; also begins to bring in what came meanwhile.
local folder = select(2, reaper.get_action_context()):match("^(.*[/\\])") .. "stembridge"
local ok, problem = pcall(function() assert(loadfile(folder .. "/main.lua"))(folder).gestures.progress() end)
if not ok then
	reaper.ShowMessageBox("Stembridge could not run: " .. tostring(problem)
		.. "\n\nInstall it again with: stembridge install reaper", "Stembridge", 0)
end
reaper.defer(function() end) -- a script that ends without this leaves an undo point of its own
