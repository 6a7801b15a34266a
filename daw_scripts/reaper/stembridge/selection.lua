-- From what is selected in REAPER to pieces: one piece for each audio item, times in seconds of the project.
local sb = ...

-- File formats that every reader decodes to the same samples; the others are read through REAPER.
local EXACT = { WAVE = true, FLAC = true, AIFF = true }
local TINY_S = 1e-6

function sb.track_id(track) return (select(2, reaper.GetSetMediaTrackInfo_String(track, "GUID", "", false))) end
function sb.take_id(take) return (select(2, reaper.GetSetMediaItemTakeInfo_String(take, "GUID", "", false))) end

-- Channels a take gives: its source's, unless the take picks or mixes some (I_CHANMODE).
local function channels_of(take, source)
	local n, mode = reaper.GetMediaSourceNumChannels(source), reaper.GetMediaItemTakeInfo_Value(take, "I_CHANMODE")
	if mode <= 1 then return n end
	return mode >= 67 and 2 or 1 -- 2 to 66: one channel (mix, left, right, the nth); from 67: a pair
end

-- Whether the item plays its file sample for sample.
local function is_plain(item, take, source, start_s, length_s)
	if reaper.GetMediaSourceParent(source) or not EXACT[reaper.GetMediaSourceType(source, "")] then return false end
	local file_s, in_quarters = reaper.GetMediaSourceLength(source)
	local value = function(key) return reaper.GetMediaItemTakeInfo_Value(take, key) end
	return not in_quarters and value("D_PLAYRATE") == 1 and value("D_PITCH") == 0 and value("I_CHANMODE") == 0
		and reaper.GetTakeNumStretchMarkers(take) == 0
		and start_s >= -TINY_S and start_s + length_s <= file_s + TINY_S
end

local function file_of(source)
	local parent = reaper.GetMediaSourceParent(source)
	while parent do
		source, parent = parent, reaper.GetMediaSourceParent(parent)
	end
	return reaper.GetMediaSourceFileName(source, "")
end

local function readable(path)
	local file = path ~= "" and io.open(path, "rb")
	if file then file:close() end
	return file and true
end

-- The part of an item between two times as a piece. Otherwise nil; then, unless the item lies outside, a reason, and
-- whether the person will want to know it even when there are other pieces.
local function piece_of(item, from_s, to_s)
	local value = function(key) return reaper.GetMediaItemInfo_Value(item, key) end
	local position_s, length_s = value("D_POSITION"), value("D_LENGTH")
	local a, b = math.max(from_s, position_s), math.min(to_s, position_s + length_s)
	if b - a <= TINY_S then return nil end
	local take = reaper.GetActiveTake(item)
	if not take then return nil, "holds no audio" end
	if reaper.TakeIsMIDI(take) then return nil, "holds MIDI. Render it to audio first" end
	if value("B_MUTE") == 1 then return nil, "is muted" end
	local source = reaper.GetMediaItemTake_Source(take)
	local path = file_of(source)
	if not readable(path) then return nil, "plays a file that cannot be read (" .. path .. "). Is it offline?", true end
	local of_take = function(key) return reaper.GetMediaItemTakeInfo_Value(take, key) end
	local track = reaper.GetMediaItem_Track(item)
	local rate_hz = math.floor(reaper.GetMediaSourceSampleRate(source))
	if rate_hz <= 0 then return nil, "holds no audio" end
	local starts, ends = a - position_s < TINY_S, position_s + length_s - b < TINY_S
	return {
		track = select(2, reaper.GetTrackName(track)), track_id = sb.track_id(track), take_id = sb.take_id(take),
		path = path, rate_hz = rate_hz, n_channels = channels_of(take, source),
		plain = is_plain(item, take, source, of_take("D_STARTOFFS"), length_s),
		n_samples = math.floor(reaper.GetMediaSourceLength(source) * rate_hz + 0.5), -- of the file, if it is plain
		item_position_s = position_s, item_length_s = length_s, start_s = of_take("D_STARTOFFS"),
		playrate = of_take("D_PLAYRATE"),
		position_s = a, length_s = b - a, -- of the selected part
		volume = value("D_VOL"), take_volume = of_take("D_VOL"), pan = of_take("D_PAN"),
		-- A fade that the range cuts through is left out: it cannot be said of the part.
		fade_in_s = starts and math.min(value("D_FADEINLEN"), b - a) or 0,
		fade_out_s = ends and math.min(value("D_FADEOUTLEN"), b - a) or 0,
		item_fade_in_s = value("D_FADEINLEN"), item_fade_out_s = value("D_FADEOUTLEN"),
		fade_in_shape = value("C_FADEINSHAPE"), fade_out_shape = value("C_FADEOUTSHAPE"),
	}
end

-- Stems lie beside their source: one that is selected along with it is not asked for again.
local function without_stems(pieces)
	local names, kept = {}, {}
	for _, piece in ipairs(pieces) do names[piece.track] = true end
	for _, piece in ipairs(pieces) do
		local is_stem = false
		for name in pairs(names) do is_stem = is_stem or piece.track:find(name .. " · ", 1, true) == 1 end
		if not is_stem then kept[#kept + 1] = piece end
	end
	return kept
end

local function items_of_selected_tracks()
	local items = {}
	for t = 0, reaper.CountSelectedTracks(sb.PROJECT) - 1 do
		local track = reaper.GetSelectedTrack(sb.PROJECT, t)
		for i = 0, reaper.CountTrackMediaItems(track) - 1 do items[#items + 1] = reaper.GetTrackMediaItem(track, i) end
	end
	return items
end

local function selected_items()
	local items = {}
	for i = 0, reaper.CountSelectedMediaItems(sb.PROJECT) - 1 do
		items[#items + 1] = reaper.GetSelectedMediaItem(sb.PROJECT, i)
	end
	return items
end

-- The pieces, the problems found as lines of text, and what they come from: "range", "items" or "nothing".
-- `what` is "selection" (the time selection if there is one), "items" (whole selected items) or "tracks" (all items
-- of the selected tracks).
function sb.selected_pieces(what)
	local pieces, problems, passed_over, n_met = {}, {}, {}, 0
	local function add_all(items, from_s, to_s)
		for _, item in ipairs(items) do
			local piece, problem, matters = piece_of(item, from_s, to_s)
			if piece then pieces[#pieces + 1] = piece end
			if piece or problem then n_met = n_met + 1 end
			if problem then
				local lines = matters and problems or passed_over
				local _, name = reaper.GetTrackName(reaper.GetMediaItem_Track(item))
				lines[#lines + 1] = string.format("An item on “%s” %s.", name, problem)
			end
		end
	end
	local from_s, to_s = reaper.GetSet_LoopTimeRange2(sb.PROJECT, false, false, 0, 0, false)
	local kind = "nothing"
	if what == "selection" and from_s < to_s then
		kind = "range"
		-- REAPER's time selection has no tracks: the selected items that it meets say which are meant.
		add_all(selected_items(), from_s, to_s)
		if n_met == 0 then add_all(items_of_selected_tracks(), from_s, to_s) end
	else
		local items = what == "tracks" and items_of_selected_tracks() or selected_items()
		if #items > 0 then kind = "items" end
		add_all(items, -math.huge, math.huge)
	end
	pieces = without_stems(pieces)
	for _, piece in ipairs(pieces) do piece.in_range = kind == "range" end
	if #pieces == 0 and #problems == 0 then problems = passed_over end
	return pieces, problems, kind
end
