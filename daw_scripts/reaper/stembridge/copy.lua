-- Copies stems into the project's media folder, a little in each tick, so that the project stays whole when the
-- engine's output folder is emptied.
local sb = ...

local BLOCK = 131072 -- bytes

-- A copy that `sb.copy_some` carries on, or nil and why not. `name` is the copy's file name.
function sb.begin_copy(from, name)
	local folder = reaper.GetProjectPathEx(sb.PROJECT, "") .. "/Stembridge"
	local source, why = io.open(from, "rb")
	if not source then return nil, why end
	local to = folder .. "/" .. name
	local draft
	draft, why = io.open(to .. ".part", "wb")
	if not draft then
		reaper.RecursiveCreateDirectory(folder, 0)
		draft, why = io.open(to .. ".part", "wb")
	end
	if not draft then
		source:close()
		return nil, why
	end
	return { source = source, draft = draft, to = to }
end

function sb.end_copy(work)
	work.source:close()
	work.draft:close()
	os.remove(work.to .. ".part")
end

-- One block. Returns true while there is more, false when the copy is whole, or nil and why it never will be.
function sb.copy_some(work)
	local bytes = work.source:read(BLOCK)
	if bytes then
		local ok, why = work.draft:write(bytes)
		if ok then return true end
		sb.end_copy(work)
		return nil, why
	end
	work.source:close()
	local ok, why = work.draft:close()
	if ok then ok, why = os.rename(work.to .. ".part", work.to) end
	if not ok then return nil, why end
	return false
end
