-- “Refine”: a stem that is in the project is made once more, as well as the model can, and the result takes its place.
local sb = ...

local SAME_S = 1e-9

-- What a stem was made from, written on its takes: all that is needed to ask for it again.
function sb.origin_of(entry)
	local request = {}
	for key, value in pairs(entry.request) do request[key] = value end
	request.rid, request.name, request.quality, request.playhead = nil, nil, nil, nil
	return { piece = entry.piece, request = request, capture = entry.capture, offset_s = entry.offset_s }
end

local function mark_of(take)
	local _, text = reaper.GetSetMediaItemTakeInfo_String(take, "P_EXT:stembridge", "", false)
	local mark = text ~= "" and sb.decode(text)
	if type(mark) ~= "table" or type(mark.rid) ~= "string" or type(mark.kind) ~= "string" then return nil end
	local origin = mark.origin
	return type(origin) == "table" and type(origin.piece) == "table" and type(origin.request) == "table" and mark or nil
end

-- The selected stems by the request they came from, in order: {mark, files}; and whether something was selected at all.
local function selected_stems()
	local stems, of_rid, n = {}, {}, reaper.CountSelectedMediaItems(sb.PROJECT)
	for i = 0, n - 1 do
		local take = reaper.GetActiveTake(reaper.GetSelectedMediaItem(sb.PROJECT, i))
		local mark = take and mark_of(take)
		if mark and not of_rid[mark.rid] then
			of_rid[mark.rid] = { mark = mark, files = {} }
			stems[#stems + 1] = of_rid[mark.rid]
		end
	end
	return stems, of_rid, n > 0
end

-- The files that the takes of those requests play, by kind: the result takes the place of both stems.
local function find_files(of_rid)
	for t = 0, reaper.CountTracks(sb.PROJECT) - 1 do
		local track = reaper.GetTrack(sb.PROJECT, t)
		for i = 0, reaper.CountTrackMediaItems(track) - 1 do
			local take = reaper.GetActiveTake(reaper.GetTrackMediaItem(track, i))
			local mark = take and mark_of(take)
			if mark and of_rid[mark.rid] then
				local source = reaper.GetMediaItemTake_Source(take)
				of_rid[mark.rid].files[mark.kind] = reaper.GetMediaSourceFileName(source, "")
			end
		end
	end
end

-- Whether what was read from REAPER can be read again: the item must be as it was.
local function can_be_read(piece)
	local take = reaper.GetMediaItemTakeByGUID(sb.PROJECT, piece.take_id)
	local item = take and reaper.GetMediaItemTake_Item(take)
	if not item then return false end
	local function is(value, expected) return math.abs(value - expected) < SAME_S end
	return is(reaper.GetMediaItemInfo_Value(item, "D_POSITION"), piece.item_position_s)
		and is(reaper.GetMediaItemInfo_Value(item, "D_LENGTH"), piece.item_length_s)
		and is(reaper.GetMediaItemTakeInfo_Value(take, "D_STARTOFFS"), piece.start_s)
		and is(reaper.GetMediaItemTakeInfo_Value(take, "D_PLAYRATE"), piece.playrate)
end

function sb.gestures.refine()
	local engine, version = sb.engine_or_start()
	if engine == "stopped" then return sb.tell({ sb.engine_stopped() .. " Nothing was sent." }) end
	if engine == "other" then return sb.tell({ sb.engine_other(version) }) end
	local stems, of_rid, some = selected_stems()
	if #stems == 0 then
		return sb.tell({ some and "None of the selected items is a stem of Stembridge's."
			or "Nothing is selected. Select a stem that came in, and try again." })
	end
	find_files(of_rid)
	local orders, problems, gesture = {}, {}, sb.new_id()
	for _, stem in ipairs(stems) do
		local origin = stem.mark.origin
		if origin.capture and not can_be_read(origin.piece) then
			problems[#problems + 1] = string.format("“%s”: the item the stem was made from is no longer as it was. Use "
				.. "“Extract” on it again.", tostring(origin.piece.track))
		else
			orders[#orders + 1] = {
				again = { piece = origin.piece, request = origin.request, capture = origin.capture,
					offset_s = origin.offset_s, op = stem.mark.op, drafted = stem.files, refines = true,
					drafts = { { files = stem.files, part = stem.mark.part } } }, -- a cancelled request leaves a part
				prompt = stem.mark.prompt, gesture = gesture, quality = "best", held = engine ~= "running" or nil,
			}
		end
	end
	for _, text in ipairs(sb.send_again(orders)) do problems[#problems + 1] = text end
	if #orders > 0 then sb.start_results() end
	if #problems > 0 then sb.tell(problems) end
end
