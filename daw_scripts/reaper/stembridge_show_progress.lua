-- @noindex
-- Stembridge: Show progress. A small window; also begins to bring in what came meanwhile.
local folder = select(2, reaper.get_action_context()):match("^(.*[/\\])") .. "stembridge"
if reaper.set_action_options then reaper.set_action_options(3) end -- started twice: the second takes over, unasked
local ok, problem = pcall(function()
	local sb = assert(loadfile(folder .. "/main.lua"))(folder)
	if not sb.progress.open() then return end
	reaper.atexit(function() gfx.quit() end)
	local function tick()
		if sb.progress.tick() then reaper.defer(tick) end
	end
	tick()
end)
if not ok then
	reaper.ShowMessageBox("Stembridge could not run: " .. tostring(problem)
		.. "\n\nInstall it again with: stembridge install reaper", "Stembridge", 0)
end
reaper.defer(function() end) -- a script that ends without this leaves an undo point of its own
