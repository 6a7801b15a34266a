-- Drafts: stems that are heard while the engine refines them. The result takes their place in the very items they play in.
local sb = ...

sb.drafts = {} -- rid → what a final status would say of the draft's files; false when there is none to bring in any more

-- What a status says of a draft that is not in the project yet, or nil.
function sb.draft_of(entry, status)
	if entry.drafted or sb.drafts[entry.rid] ~= nil then return nil end
	if not (status.draft_target and status.draft_residual) then return nil end
	return {
		rid = status.rid, state = "done", is_draft = true, job = status.job, prompt = status.prompt,
		target = status.draft_target, residual = status.draft_residual,
	}
end

-- The newest that is known of an entry: its answer, or its draft.
function sb.known(entry) return sb.answers[entry.rid] or sb.drafts[entry.rid] or nil end

-- The entry's draft is in the project: `files` are its copies. Written down, so that the result finds it after a restart.
function sb.remember_draft(entry, files)
	sb.drafts[entry.rid] = false
	entry.drafted = files
	return sb.open_entry(entry) -- the newest line of an entry counts
end

local function name_of(path) return path:match("([^/\\]+)$") end

-- Gives every take that still plays the entry's draft the result instead; where it lies, how it was cut and what else was
-- changed stays. It is no undo step of its own: undo takes the gesture back as a whole. Returns how many there were.
function sb.swap_draft(entry, sources, mark_of)
	local kinds, n = {}, 0
	for kind, path in pairs(entry.drafted) do kinds[name_of(path)] = kind end
	for i = 0, reaper.CountTracks(sb.PROJECT) - 1 do
		local track = reaper.GetTrack(sb.PROJECT, i)
		for j = 0, reaper.CountTrackMediaItems(track) - 1 do
			local take = reaper.GetActiveTake(reaper.GetTrackMediaItem(track, j))
			local old = take and reaper.GetMediaItemTake_Source(take)
			local kind = old and kinds[name_of(reaper.GetMediaSourceFileName(old, ""))]
			if kind then
				reaper.SetMediaItemTake_Source(take, sources[kind])
				reaper.PCM_Source_Destroy(old)
				reaper.GetSetMediaItemTakeInfo_String(take, "P_EXT:stembridge", mark_of(entry, kind), true)
				n = n + 1
			end
		end
	end
	if n > 0 then
		reaper.MarkProjectDirty(sb.PROJECT)
		reaper.UpdateArrange()
	end
	return n
end
