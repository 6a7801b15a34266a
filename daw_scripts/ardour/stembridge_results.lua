ardour {
	["type"] = "EditorHook",
	name = "Stembridge: Bring in results",
	license = "Apache-2.0",
	author = "Stembridge",
	description = [[Ten times a second, looks whether a request of this session is answered and brings its stems in.]],
}

function signals() return LuaSignal.Set():add({ [LuaSignal.LuaTimerDS] = true }) end

-- A hook that raises is removed by Ardour for the rest of the session, so nothing may escape from here.
function factory()
	local stembridge, told = nil, false
	return function()
		local ok, problem = pcall(function()
			if not stembridge then
				local folder = ARDOUR.LuaAPI.build_filename(ARDOUR.user_config_directory(-1), "stembridge")
				stembridge = assert(loadfile(folder .. "/main.lua"))(folder)
			end
			stembridge.results.tick()
		end)
		if not ok and not told then
			told = true
			print("Stembridge: " .. tostring(problem))
		end
	end
end
