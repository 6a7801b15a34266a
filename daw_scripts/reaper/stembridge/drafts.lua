-- Drafts: stems that are heard while the engine goes on. A draft of more, and at last the result, takes the place of the one
-- before in the very items it plays in.
local sb = ...

local SAME_S = 1e-9

sb.drafts = {} -- rid → what a final status would say of the draft's files that are to be brought in
sb.tried = {}  -- rid → the path of the last draft's target that was brought in, or could not be

function sb.forget_drafts() sb.drafts, sb.tried = {}, {} end

-- The draft that is in the project: {files, part}. A stem that is refined is one of the whole.
local function last_of(entry) return entry.drafts and entry.drafts[#entry.drafts] or { files = entry.drafted } end

-- Whether what is in the project is only a part of the stems.
function sb.is_part(entry) return last_of(entry).part ~= nil end

-- What a status says of a draft that is not in the project yet, or nil. One that holds no more than the one that is in is
-- that one, or comes of an engine that was started again.
function sb.draft_of(entry, status)
	local target, residual = status.draft_target, status.draft_residual
	if not (target and residual) or target == sb.tried[entry.rid] then return nil end
	local request, n, part = entry.request, status.draft_samples, nil
	if n and n < request["end"] - request.start then
		part = { offset_s = (status.draft_position_samples - request.position) / request.rate, length_s = n / request.rate }
	end
	local last = entry.drafted and last_of(entry)
	if last and not (last.part and (not part or part.length_s > last.part.length_s + SAME_S)) then return nil end
	return {
		rid = status.rid, state = "done", is_draft = true, job = status.job, prompt = status.prompt, target = target,
		residual = residual, part = part, n = #(entry.drafts or {}) + 1,
	}
end

-- The entry's draft will not be brought in, or is in: one of more may come.
function sb.pass_draft(entry)
	sb.tried[entry.rid] = sb.drafts[entry.rid] and sb.drafts[entry.rid].target
	sb.drafts[entry.rid] = nil
end

-- The newest that is known of an entry: its answer, or its draft.
function sb.known(entry) return sb.answers[entry.rid] or sb.drafts[entry.rid] end

-- The entry's draft is in the project: `files` are its copies. Written down, so that what takes its place finds it after a
-- restart; and those before it, which come back when something else is undone.
function sb.remember_draft(entry, files)
	local draft = sb.drafts[entry.rid]
	entry.drafted, entry.drafts = files, entry.drafts or {}
	table.insert(entry.drafts, { files = files, part = draft.part })
	sb.pass_draft(entry)
	return sb.open_entry(entry) -- the newest line of an entry counts
end

-- Where the person listens, in the file that is separated, where that is within what comes back; else nil. What is removed
-- sounds no more as soon as a draft is in, so that must be a draft of the whole.
function sb.playhead_of(entry)
	local piece, request = entry.piece, entry.request
	local is_playing = reaper.GetPlayState() & 1 == 1
	local at_s = is_playing and reaper.GetPlayPositionEx(sb.PROJECT) or reaper.GetCursorPositionEx(sb.PROJECT)
	at_s = at_s - piece.position_s
	if entry.op == "remove" or at_s < 0 or at_s >= piece.length_s then return nil end
	return math.min(request.start + math.floor((at_s + entry.offset_s) * request.rate), request["end"] - 1)
end

-- Where an item that plays a part of the stems lies, or all of them, and where in the file it begins: position, length,
-- offset.
function sb.lies_at(entry, part)
	local piece = entry.piece
	if not part then return piece.position_s, piece.length_s, entry.offset_s end
	local from_s = math.max(0, part.offset_s - entry.offset_s)
	local to_s = math.min(piece.length_s, part.offset_s + part.length_s - entry.offset_s)
	return piece.position_s + from_s, to_s - from_s, math.max(0, entry.offset_s - part.offset_s)
end

local function name_of(path) return path:match("([^/\\]+)$") end

local function is(value, expected) return math.abs(value - expected) < SAME_S end

-- The item goes on to play the same sound at the same time from a file that begins elsewhere. An edge that is still where
-- the part before ended moves out to where the new one does.
local function grow(entry, item, take, old, part)
	local old_s, old_length_s, old_offset_s = sb.lies_at(entry, old)
	local new_s, new_length_s, new_offset_s = sb.lies_at(entry, part)
	local from_s = reaper.GetMediaItemInfo_Value(item, "D_POSITION")
	local to_s = from_s + reaper.GetMediaItemInfo_Value(item, "D_LENGTH")
	local offset_s = reaper.GetMediaItemTakeInfo_Value(take, "D_STARTOFFS")
	local is_placed = is(offset_s - from_s, old_offset_s - old_s) and is(reaper.GetMediaItemTakeInfo_Value(take, "D_PLAYRATE"), 1)
	local left = is_placed and is(from_s, old_s) and new_s < old_s - SAME_S
	local right = is_placed and is(to_s, old_s + old_length_s) and new_s + new_length_s > to_s + SAME_S
	offset_s = offset_s + old.offset_s - (part and part.offset_s or 0)
	if left then from_s, offset_s = new_s, new_offset_s end
	if right then to_s = new_s + new_length_s end
	reaper.SetMediaItemInfo_Value(item, "D_POSITION", from_s)
	reaper.SetMediaItemInfo_Value(item, "D_LENGTH", to_s - from_s)
	reaper.SetMediaItemTakeInfo_Value(take, "D_STARTOFFS", offset_s)
	local fade_in_s, fade_out_s = sb.fades_of(entry.piece, from_s, to_s)
	if left then reaper.SetMediaItemInfo_Value(item, "D_FADEINLEN", fade_in_s) end
	if right then reaper.SetMediaItemInfo_Value(item, "D_FADEOUTLEN", fade_out_s) end
end

-- A piece's fades belong to its edges: those of an item that plays only a part of it have none.
function sb.fades_of(piece, from_s, to_s)
	return is(from_s, piece.position_s) and piece.fade_in_s or 0,
		is(to_s, piece.position_s + piece.length_s) and piece.fade_out_s or 0
end

-- Gives every take that still plays the entry's draft what takes its place; where it lies, how it was cut and what else was
-- changed stays. Returns how many there were.
function sb.swap_draft(entry, sources, mark_of)
	local kinds, parts, n = {}, {}, 0
	for _, draft in ipairs(entry.drafts or { last_of(entry) }) do
		for kind, path in pairs(draft.files) do kinds[name_of(path)], parts[name_of(path)] = kind, draft.part end
	end
	for i = 0, reaper.CountTracks(sb.PROJECT) - 1 do
		local track = reaper.GetTrack(sb.PROJECT, i)
		for j = 0, reaper.CountTrackMediaItems(track) - 1 do
			local item = reaper.GetTrackMediaItem(track, j)
			local take = reaper.GetActiveTake(item)
			local old = take and reaper.GetMediaItemTake_Source(take)
			local name = old and name_of(reaper.GetMediaSourceFileName(old, ""))
			local kind = name and kinds[name]
			if kind then
				reaper.SetMediaItemTake_Source(take, sources[kind])
				reaper.PCM_Source_Destroy(old)
				if parts[name] then grow(entry, item, take, parts[name], sb.known(entry).part) end
				reaper.GetSetMediaItemTakeInfo_String(take, "P_EXT:stembridge", mark_of(entry, kind), true)
				sb.annotate(item, entry)
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
