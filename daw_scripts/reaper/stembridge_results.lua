-- @noindex
-- Stembridge: Bring in results. Started by the gestures; runs until nothing is under way.
local folder = select(2, reaper.get_action_context()):match("^(.*[/\\])") .. "stembridge"
if reaper.set_action_options then reaper.set_action_options(3) end -- started twice: the second takes over, unasked
local ok, problem = pcall(function()
	local sb = assert(loadfile(folder .. "/main.lua"))(folder)
	reaper.atexit(sb.results.stop)
	local function tick()
		if sb.results.tick() then reaper.defer(tick) end
	end
	tick()
end)
if not ok then
	reaper.ShowMessageBox("Stembridge could not run: " .. tostring(problem)
		.. "\n\nInstall it again with: stembridge install reaper", "Stembridge", 0)
end
