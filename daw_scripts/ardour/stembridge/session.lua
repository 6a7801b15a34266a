-- Putting stems into the session: tracks under their source, regions at their sample, one undo step.
local sb = ...

local function id_of(object) return object:to_stateful():id():to_s() end

function sb.track_by_id(id)
	for route in Session:get_tracks():iter() do
		if id_of(route) == id then return route:to_track() end
	end
	return nil
end

local function group_of(track)
	for group in Session:route_groups():iter() do
		for route in group:route_list():iter() do
			if id_of(route) == id_of(track) then return group end
		end
	end
	return nil
end

-- Copies a sound file into the session and returns its region, not yet on any track; nil if Ardour could not read it.
-- Ardour serves its window meanwhile, so timers and actions run inside this call.
function sb.import(path)
	local before = {}
	for id in ARDOUR.RegionFactory.regions():iter() do before[id:to_s()] = true end
	local files = C.StringVector()
	files:push_back(path)
	Editor:do_import(files, Editing.ImportDistinctFiles, Editing.ImportAsRegion, ARDOUR.SrcQuality.SrcBest,
		ARDOUR.MidiTrackNameSource.SMFTrackName, ARDOUR.MidiTempoMapDisposition.SMFTempoIgnore,
		Temporal.timepos_t(0), ARDOUR.PluginInfo(), ARDOUR.Track(), false)
	for id, region in ARDOUR.RegionFactory.regions():iter() do
		if not before[id:to_s()] then return region end
	end
	return nil
end

local function is_free(track, from, to)
	for region in track:playlist():region_list():iter() do
		local start = region:position():samples()
		if start < to and from < start + region:length():samples() then return false end
	end
	return true
end

-- The track for a stem: one of that name which is free at all the places, or a new one, `below` strips under its
-- source, in its group and colour. A source that was deleted meanwhile (nil) leaves the stem at the end. Returns nil if
-- Ardour makes no track, and whether the track is new. The first, which sounds, is none that was muted.
function sb.stem_track(name, source, below, n_channels, places)
	local existing = Session:route_by_name(name)
	local track = not existing:isnil() and existing:to_track()
	local silent = track and not track:isnil() and below == 1 and track:muted()
	if track and not track:isnil() and not silent and track:n_outputs():n_audio() >= 1 and track:n_inputs():n_audio() == n_channels then
		local free = true
		for _, place in ipairs(places) do free = free and is_free(track, place.position, place.position + place.length) end
		if free then return track, false end
	end
	local master = Session:master_out()
	local n_out = master:isnil() and n_channels or master:n_inputs():n_audio()
	local order = source and source:presentation_info_ptr():order() + below or ARDOUR.PresentationInfo.max_order
	for new in Session:new_audio_track(n_channels, n_out, nil, 1, name, order, ARDOUR.TrackMode.Normal, false, false):iter() do
		if source then
			local group = group_of(source)
			if group then group:add(new) end
			new:presentation_info_ptr():set_color(source:presentation_info_ptr():color())
		end
		return new:to_track(), true
	end
	return nil
end

function sb.mute(track) track:mute_control():set_value(1, PBD.GroupControlDisposition.NoGroup) end

-- One undo step around `work`; its error comes back as text.
function sb.undoable(name, work)
	Session:begin_reversible_command(name)
	local ok, problem = pcall(work)
	if not Session:abort_empty_reversible_command() then Session:commit_reversible_command(nil) end
	return not ok and tostring(problem) or nil
end

local function recorded(object, change)
	object:to_stateful():clear_changes()
	change()
	Session:add_stateful_diff_command(object:to_statefuldestructible())
end

-- Inside `sb.undoable`: puts a copy of an imported region on a track, as loud as the region it was made from.
function sb.place(track, region, name, position, gain)
	local copy = ARDOUR.RegionFactory.clone_region(region, true, false)
	copy:set_name(name)
	copy:to_audioregion():set_scale_amplitude(gain)
	recorded(track:playlist(), function() track:playlist():add_region(copy, Temporal.timepos_t(position), 1, false) end)
end

-- What the engine says of a stem ("not found", "not measured") stands in the comments of its track, behind what is there.
function sb.annotate(track, note)
	local old = track:comment()
	if not note or old:find(note, 1, true) then return end
	track:set_comment(old == "" and note or old .. "\n" .. note, nil)
end

local function region_where(playlist, test)
	for region in playlist:region_list():iter() do
		if test(region) then return region end
	end
	return nil
end

-- Inside `sb.undoable`: silences the part of the source that a piece was made from; the region is cut at the part's
-- edges. False when the region is no longer where it was, and nothing is changed.
function sb.silence(track, piece, position, length)
	local playlist = track:playlist()
	local region = region_where(playlist, function(r) return id_of(r) == piece.region_id end)
	if not region or region:position():samples() ~= piece.region_position or region:start():samples() ~= piece.region_start
		or region:length():samples() ~= piece.region_length then
		return false
	end
	local source = id_of(region:source(0))
	local function part_from(sample)
		local start = piece.region_start + sample - piece.region_position
		return region_where(playlist, function(r)
			return r:position():samples() == sample and r:start():samples() == start and id_of(r:source(0)) == source
		end)
	end
	recorded(playlist, function()
		playlist:split_region(region, Temporal.timepos_t(position))
		playlist:split_region(part_from(position) or region, Temporal.timepos_t(position + length))
	end)
	local part = part_from(position)
	if part then recorded(part, function() part:set_muted(true) end) end
	return part ~= nil
end

-- What tells an imported region's own regions from all others, after a restart too.
function sb.source_id(region) return id_of(region:source(0)) end

-- The regions that play a source, with their tracks, and are still as they were placed.
function sb.untouched(source_id, position, length)
	local found = {}
	for route in Session:get_tracks():iter() do
		local track = route:to_track()
		for region in track:playlist():region_list():iter() do
			if not region:to_audioregion():isnil() and sb.source_id(region) == source_id and region:start():samples() == 0
				and region:position():samples() == position and region:length():samples() == length then
				found[#found + 1] = { track = track, region = region }
			end
		end
	end
	return found
end

-- Inside `sb.undoable`: puts a copy of an imported region in another's place, from `position` on, as loud, and muted if that
-- was.
function sb.replace(place, region, position)
	local playlist, old = place.track:playlist(), place.region
	local copy = ARDOUR.RegionFactory.clone_region(region, true, false)
	copy:set_name(old:name())
	copy:to_audioregion():set_scale_amplitude(old:to_audioregion():scale_amplitude())
	if old:muted() then copy:set_muted(true) end
	recorded(playlist, function()
		playlist:remove_region(old)
		playlist:add_region(copy, Temporal.timepos_t(position), 1, false)
	end)
end
