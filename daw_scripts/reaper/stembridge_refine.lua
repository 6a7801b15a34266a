-- @noindex
-- Stembridge: Refine. The selected stems once more, as well as the model can, in their places.
local folder = select(2, reaper.get_action_context()):match("^(.*[/\\])") .. "stembridge"
local ok, problem = pcall(function() assert(loadfile(folder .. "/main.lua"))(folder).gestures.refine() end)
if not ok then
	reaper.ShowMessageBox("Stembridge could not run: " .. tostring(problem)
		.. "\n\nInstall it again with: stembridge install reaper", "Stembridge", 0)
end
reaper.defer(function() end) -- a script that ends without this leaves an undo point of its own
