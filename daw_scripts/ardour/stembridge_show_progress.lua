ardour {
	["type"] = "EditorAction",
	name = "Stembridge: Show progress",
	license = "Apache-2.0",
	author = "Stembridge",
	description = [[Shows how far the requests of this session are.]],
}

-- Ardour keeps only what is inside factory. The gesture itself is read from Stembridge's folder each time it is
-- used, so an update takes effect without adding this action again.
function factory() return function()
	local folder = ARDOUR.LuaAPI.build_filename(ARDOUR.user_config_directory(-1), "stembridge")
	local ok, problem = pcall(function() assert(loadfile(folder .. "/main.lua"))(folder).gestures.progress() end)
	if not ok then
		LuaDialog.Message("Stembridge", "Stembridge could not run: " .. tostring(problem):gsub("[<&]", " ")
			.. "\n\nInstall it again with: stembridge install ardour",
			LuaDialog.MessageType.Error, LuaDialog.ButtonType.Close):run()
	end
end end
