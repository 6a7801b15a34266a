-- From what is selected in Ardour to pieces: one piece for each audio region on each track, in samples.
local sb = ...

-- The region's files and nil, or nil and why it cannot be read. Ardour keeps a stereo take as two mono files; a file
-- that was embedded as it is comes once, with all its channels.
local function files_of(region, n_channels)
	local files, first = {}, nil
	for channel = 0, n_channels - 1 do
		local source = region:source(channel):to_filesource()
		if source:isnil() then return nil, "is a compound of other regions. Bounce it first" end
		local path, place = source:path(), source:channel()
		local file = io.open(path, "rb")
		if not file then return nil, "plays a file that cannot be read (" .. path .. "). Is its disk there?" end
		file:close()
		first = first or path
		if path == first and place == channel then
			files[1] = path
		elseif path ~= first and place == 0 and #files == channel then
			files[#files + 1] = path
		else
			return nil, "uses single channels of a file with several. Bounce it first"
		end
	end
	return files
end

-- The part of a region between two timeline samples as a piece. Otherwise nil; then, unless the region lies outside, a
-- reason, and whether the person will want to know it even when there are other pieces.
local function piece_of(track, region, from, to)
	local audio = region:to_audioregion()
	local position, start, length = region:position():samples(), region:start():samples(), region:length():samples()
	local a, b = math.max(from, position), math.min(to, position + length)
	if b <= a then return nil end
	if audio:isnil() then return nil, "holds MIDI. Bounce it to audio first" end
	if region:muted() then return nil, "is muted" end
	local files, problem = files_of(region, audio:n_channels())
	if not files then return nil, problem, true end
	return {
		track = track:name(), track_id = track:to_stateful():id():to_s(), region_id = region:to_stateful():id():to_s(),
		files = files, n_channels = audio:n_channels(), layer = region:layer(), gain = audio:scale_amplitude(),
		region_position = position, region_start = start, region_length = length, -- of the whole region
		position = a, length = b - a,                                              -- of the selected part
	}
end

-- Ardour selects a group's tracks together, and stems lie in their source's group: a stem selected along with its
-- source is not asked for again.
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

local function playlist_id(owner) return owner:playlist():to_stateful():id():to_s() end

-- The selected pieces in the order they should be layered, the problems found as lines of text, and whether they come
-- from a range ("range"), from selected regions ("regions") or from nothing ("nothing").
function sb.selected_pieces()
	local selection, pieces, problems, passed_over = Editor:get_selection(), {}, {}, {}
	local function add(track, region, from, to)
		local piece, problem, matters = piece_of(track, region, from, to)
		if piece then pieces[#pieces + 1] = piece end
		if problem then
			local lines = matters and problems or passed_over
			lines[#lines + 1] = string.format("“%s” on “%s” %s.", region:name(), track:name(), problem)
		end
	end
	local from, to = selection.time:start_sample(), selection.time:end_sample()
	local kind = "nothing"
	if from < to then
		kind = "range"
		for route in selection.tracks:routelist():iter() do
			local track = route:to_track()
			if not track:isnil() then
				for region in track:playlist():region_list():iter() do add(track, region, from, to) end
			end
		end
	else
		local owners = {}
		for route in Session:get_tracks():iter() do
			local track = route:to_track()
			owners[playlist_id(track)] = track
		end
		for region in selection.regions:regionlist():iter() do
			kind = "regions"
			local track = owners[playlist_id(region)]
			if track then add(track, region, 0, math.maxinteger) end
		end
	end
	pieces = without_stems(pieces)
	table.sort(pieces, function(p, q)
		if p.layer ~= q.layer then return p.layer < q.layer end
		return p.position < q.position
	end)
	for _, piece in ipairs(pieces) do piece.in_range = kind == "range" end
	if #pieces == 0 and #problems == 0 then problems = passed_over end
	return pieces, problems, kind
end
