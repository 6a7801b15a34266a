-- Putting stems into the project: tracks under their source, items at their time.
local sb = ...

local SAME_S = 1e-9

local function get(track, key) return reaper.GetMediaTrackInfo_Value(track, key) end
local function set(track, key, value) reaper.SetMediaTrackInfo_Value(track, key, value) end

function sb.track_by_id(id)
	for i = 0, reaper.CountTracks(sb.PROJECT) - 1 do
		local track = reaper.GetTrack(sb.PROJECT, i)
		if sb.track_id(track) == id then return track end
	end
	return nil
end

local function is_free(track, places)
	for i = 0, reaper.CountTrackMediaItems(track) - 1 do
		local item = reaper.GetTrackMediaItem(track, i)
		local from_s = reaper.GetMediaItemInfo_Value(item, "D_POSITION")
		local to_s = from_s + reaper.GetMediaItemInfo_Value(item, "D_LENGTH")
		for _, place in ipairs(places) do
			if from_s < place.to_s - SAME_S and place.from_s < to_s - SAME_S then return false end
		end
	end
	return true
end

-- A track of ours with that name which is free at all the places, and not muted where it must be `audible`; or nil.
function sb.free_stem_track(name, places, audible)
	for i = 0, reaper.CountTracks(sb.PROJECT) - 1 do
		local track = reaper.GetTrack(sb.PROJECT, i)
		local _, its_name = reaper.GetSetMediaTrackInfo_String(track, "P_NAME", "", false)
		if its_name == name and not (audible and get(track, "B_MUTE") == 1) then
			local _, mark = reaper.GetSetMediaTrackInfo_String(track, "P_EXT:stembridge", "", false)
			if mark ~= "" and is_free(track, places) then return track end
		end
	end
	return nil
end

-- A new track under another (nil: at the end), in its colour and in the same folder.
function sb.new_track(name, above, mark, n_channels)
	local index = above and math.floor(get(above, "IP_TRACKNUMBER")) or reaper.CountTracks(sb.PROJECT)
	reaper.InsertTrackAtIndex(index, false)
	local track = reaper.GetTrack(sb.PROJECT, index)
	reaper.GetSetMediaTrackInfo_String(track, "P_NAME", name, true)
	reaper.GetSetMediaTrackInfo_String(track, "P_EXT:stembridge", mark, true)
	set(track, "I_NCHAN", math.max(2, n_channels + n_channels % 2))
	if above then
		set(track, "I_CUSTOMCOLOR", get(above, "I_CUSTOMCOLOR"))
		local depth = get(above, "I_FOLDERDEPTH")
		if depth < 0 then -- it closed a folder; now the new one does
			set(above, "I_FOLDERDEPTH", 0)
			set(track, "I_FOLDERDEPTH", depth)
		end
	end
	return track
end

-- What the engine says of a stem ("not found", "not measured") stands in its item's notes, behind what a person wrote there.
function sb.annotate(item, entry)
	local note = sb.known(entry).note
	local _, old = reaper.GetSetMediaItemInfo_String(item, "P_NOTES", "", false)
	if not note or old:find(note, 1, true) then return end
	reaper.GetSetMediaItemInfo_String(item, "P_NOTES", old == "" and note or old .. "\n" .. note, true)
end

-- An item that plays a stem, or a part of it, where, and as loud as, its piece does.
function sb.place(track, source, name, entry, mark, part)
	local piece, item = entry.piece, reaper.AddMediaItemToTrack(track)
	local position_s, length_s, offset_s = sb.lies_at(entry, part)
	local fade_in_s, fade_out_s = sb.fades_of(piece, position_s, position_s + length_s)
	local take = reaper.AddTakeToMediaItem(item)
	reaper.SetMediaItemTake_Source(take, source)
	for key, value in pairs({
		D_POSITION = position_s, D_LENGTH = length_s, D_VOL = piece.volume, B_LOOPSRC = 0,
		D_FADEINLEN = fade_in_s, D_FADEOUTLEN = fade_out_s, C_FADEINSHAPE = piece.fade_in_shape,
		C_FADEOUTSHAPE = piece.fade_out_shape,
	}) do
		reaper.SetMediaItemInfo_Value(item, key, value)
	end
	for key, value in pairs({ D_STARTOFFS = offset_s, D_VOL = piece.take_volume, D_PAN = piece.pan }) do
		reaper.SetMediaItemTakeInfo_Value(take, key, value)
	end
	reaper.GetSetMediaItemTakeInfo_String(take, "P_NAME", name, true)
	reaper.GetSetMediaItemTakeInfo_String(take, "P_EXT:stembridge", mark, true)
	sb.annotate(item, entry)
end

-- Mutes the part of the source that a piece was made from; the item is cut at the part's edges. False when the item is
-- no longer as it was, and nothing is changed.
function sb.silence(piece)
	local take = reaper.GetMediaItemTakeByGUID(sb.PROJECT, piece.take_id)
	local item = take and reaper.GetMediaItemTake_Item(take)
	if not item then return false end
	local function is(value, expected) return math.abs(value - expected) < SAME_S end
	if not (is(reaper.GetMediaItemInfo_Value(item, "D_POSITION"), piece.item_position_s)
		and is(reaper.GetMediaItemInfo_Value(item, "D_LENGTH"), piece.item_length_s)
		and is(reaper.GetMediaItemTakeInfo_Value(take, "D_STARTOFFS"), piece.start_s)
		and is(reaper.GetMediaItemTakeInfo_Value(take, "D_PLAYRATE"), piece.playrate)) then
		return false
	end
	local to_s = piece.position_s + piece.length_s
	if to_s < piece.item_position_s + piece.item_length_s - SAME_S then reaper.SplitMediaItem(item, to_s) end
	if piece.position_s > piece.item_position_s + SAME_S then item = reaper.SplitMediaItem(item, piece.position_s) end
	if not item then return false end
	reaper.SetMediaItemInfo_Value(item, "B_MUTE", 1)
	return true
end
