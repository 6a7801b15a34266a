-- Brings one gesture's stems in: copies them into the project a little in each tick, then places all in one undo point.
-- Stems of a draft come in the same way; what takes their place later changes the file that their items play, and how much.
local sb = ...

sb.answers = {} -- rid → final status
sb.peaks = {}   -- sources whose waveform is being drawn
local arriving  -- {entries, stems, problems, nameless, to_copy, copy, building}

local function line(entry, text) return string.format("“%s”: %s", entry.piece.track, text) end

function sb.close(entries)
	for _, entry in ipairs(entries) do
		sb.close_entry(entry.rid)
		sb.forget_status(entry.rid)
		if entry.capture then os.remove(entry.capture.path) end
		sb.answers[entry.rid] = nil
	end
end

-- Which stem comes first and sounds: of "remove" it is what is left, otherwise what was asked for.
local function stem_order(op)
	if op == "remove" then return { "residual", "target" } end
	return { "target", "residual" }
end

local function stem_name(entry, kind)
	return entry.piece.track .. (kind == "target" and " · " or " · no ") .. (sb.known(entry).prompt or "stem")
end

-- The copies of drafts have names of their own: REAPER keeps what it has drawn of a file, and Redo needs the earlier ones.
local function draft_mark(status)
	if not status.is_draft then return "" end
	return status.n > 1 and ".draft." .. status.n or ".draft"
end

-- The copies of a draft that does not come in.
local function drop(stems)
	for kind, path in pairs(stems.files) do
		if stems.sources[kind] then reaper.PCM_Source_Destroy(stems.sources[kind]) end
		os.remove(path)
	end
	stems.failed = true
	sb.pass_draft(stems.entry)
end

-- Begins to bring one gesture in: what is to be copied, what is wrong.
function sb.begin_arriving(entries)
	arriving = { entries = {}, stems = {}, problems = {}, to_copy = {}, nameless = {} }
	for _, entry in ipairs(entries) do
		local status = sb.known(entry)
		if status and not status.is_draft then table.insert(arriving.entries, entry) end
		if not status then
			-- its draft is in, its result is yet to come
		elseif status.state == "done" then
			local stems = { entry = entry, files = {}, sources = {} }
			local gone
			for _, kind in ipairs(stem_order(entry.op)) do
				if not sb.exists(status[kind]) then gone = gone or tostring(status[kind]) end
				table.insert(arriving.to_copy, { stems = stems, kind = kind, from = status[kind] })
			end
			if gone then
				for _ = 1, 2 do table.remove(arriving.to_copy) end
				if status.is_draft then
					sb.pass_draft(entry) -- another draft, or the result, has just taken its place
				else
					table.insert(arriving.problems, line(entry, "the stem " .. gone .. " is no longer on the disk. Please ask again."))
				end
			else
				table.insert(arriving.stems, stems)
			end
		elseif status.code == "no_prompt" then
			table.insert(arriving.nameless, entry)
		elseif status.state ~= "cancelled" then
			table.insert(arriving.problems, line(entry, tostring(status.text or status.code or status.state)))
		end
	end
end

-- Copies a little; false when all is copied. A copy that cannot be made ends its whole entry.
function sb.copy_stems(deadline_s)
	repeat
		local copy = arriving.copy
		if not copy then
			repeat copy = table.remove(arriving.to_copy, 1) until not copy or not copy.stems.failed
			if not copy then return false end
			local name = sb.file_name(stem_name(copy.stems.entry, copy.kind)) .. " " -- which may have been cut short
				.. copy.stems.entry.rid:gsub("^reaper%-", "") .. draft_mark(sb.known(copy.stems.entry)) .. "." .. copy.kind .. ".wav"
			local why
			copy.work, why = sb.begin_copy(copy.from, name)
			copy.failed = not copy.work and why
			arriving.copy = copy
		end
		local more, why
		if copy.work then more, why = sb.copy_some(copy.work) end
		if not more then
			arriving.copy = nil
			if more == nil then
				copy.stems.failed = true
				if sb.known(copy.stems.entry).is_draft then
					drop(copy.stems) -- said of the result, if that cannot be copied either
				else
					table.insert(arriving.problems, line(copy.stems.entry, "the stem cannot be copied into the project's folder: "
						.. tostring(copy.failed or why) .. ". It stays at " .. copy.from .. "."))
				end
			else
				copy.stems.files[copy.kind] = copy.work.to
				copy.stems.sources[copy.kind] = reaper.PCM_Source_CreateFromFile(copy.work.to)
			end
		end
	until reaper.time_precise() > deadline_s
	return true
end

-- The stems of the gesture by track and prompt, in order; REAPER has opened each file.
local function groups_of(stems_list)
	local groups, order = {}, {}
	for _, stems in ipairs(stems_list) do
		local entry = stems.entry
		local prompt = (sb.known(entry) or {}).prompt or "stem"
		local key = entry.piece.track_id .. "\0" .. prompt
		if stems.failed then
			-- it was said
		elseif not (stems.sources.target and stems.sources.residual) then
			table.insert(arriving.problems, line(entry, "REAPER could not open " .. stems.files.target .. "."))
		elseif entry.drafted then
			table.insert(arriving.swaps, stems)
		else
			if not groups[key] then
				groups[key] = { prompt = prompt, op = entry.op, track_id = entry.piece.track_id, stems = {} }
				order[#order + 1] = groups[key]
			end
			table.insert(groups[key].stems, stems)
		end
	end
	return order
end

-- What is written on a take of a stem, or, without its origin, on a track.
local function mark_of(entry, kind, is_track)
	local status = sb.known(entry)
	return sb.encode({
		job = status.job, kind = kind, op = entry.op, prompt = status.prompt, rid = entry.rid, draft = status.is_draft,
		origin = not is_track and sb.origin_of(entry) or nil, part = not is_track and status.part or nil,
	})
end

local function place_group(group)
	local source, places, n_channels = sb.track_by_id(group.track_id), {}, 1
	for i, stems in ipairs(group.stems) do
		local piece = stems.entry.piece
		places[i] = { from_s = piece.position_s, to_s = piece.position_s + piece.length_s }
		n_channels = math.max(n_channels, piece.n_channels)
	end
	local above = source
	for n, kind in ipairs(stem_order(group.op)) do
		local first = group.stems[1].entry
		local name = stem_name(first, kind)
		local track = sb.free_stem_track(name, places, n == 1)
		if not track then
			track = sb.new_track(name, above, mark_of(first, kind, true), n_channels)
			if n == 2 then reaper.SetMediaTrackInfo_Value(track, "B_MUTE", 1) end
		end
		if source then above = track end
		for _, stems in ipairs(group.stems) do
			sb.place(track, stems.sources[kind], name, stems.entry, mark_of(stems.entry, kind), sb.known(stems.entry).part)
			table.insert(arriving.building, stems.sources[kind])
		end
	end
	if group.op ~= "remove" then return end
	for _, stems in ipairs(group.stems) do
		if not sb.silence(stems.entry.piece) then
			table.insert(arriving.problems, line(stems.entry, "the item was changed meanwhile, so it still sounds. Mute it by hand."))
		end
	end
end

-- Drafts of more, and results, take their drafts' places. That is no undo step: undo takes the gesture back as a whole. It is
-- one where the items end up other than they were in the gesture's own, else undo of what came later would cut them again.
local function swap_all()
	local first = arriving.swaps[1]
	local refined = first and first.entry.refines -- then all of the gesture are
	local step = refined and "refine" or first and not sb.known(first.entry).is_draft and sb.is_part(first.entry) and "the whole stem"
	if step then reaper.Undo_BeginBlock2(sb.PROJECT) end
	for _, stems in ipairs(arriving.swaps) do
		local ok, found = pcall(sb.swap_draft, stems.entry, stems.sources, mark_of)
		if ok and found == 0 and sb.known(stems.entry).is_draft then
			drop(stems) -- said when the result comes
		else
			if not ok then
				table.insert(arriving.problems, "REAPER could not place the stems: " .. tostring(found))
			elseif found == 0 then
				local what = stems.entry.refines and "the stem" or "the draft"
				table.insert(arriving.problems, line(stems.entry, what .. " is no longer in the project, so the result was not "
					.. "brought in. It lies at " .. stems.files.target .. "."))
			end
			for _, source in pairs(stems.sources) do table.insert(arriving.building, source) end
		end
	end
	if step then reaper.Undo_EndBlock2(sb.PROJECT, "Stembridge: " .. step, -1) end
	if #arriving.swaps > 0 then sb.log(string.format("refined %d", #arriving.swaps)) end
end

-- One undo point for the whole gesture.
local function place_all()
	arriving.building, arriving.swaps = {}, {}
	local groups = groups_of(arriving.stems)
	swap_all()
	if #groups == 0 then return end
	local prompts = {}
	for i, group in ipairs(groups) do prompts[i] = group.prompt end
	reaper.Undo_BeginBlock2(sb.PROJECT)
	reaper.PreventUIRefresh(1)
	local ok, problem = pcall(function()
		for _, group in ipairs(groups) do place_group(group) end
	end)
	reaper.PreventUIRefresh(-1)
	local what = (groups[1].op == "remove" and "remove " or "extract ") .. table.concat(prompts, ", ")
	reaper.Undo_EndBlock2(sb.PROJECT, "Stembridge: " .. what, -1)
	reaper.TrackList_AdjustWindows(false)
	reaper.UpdateArrange()
	if not ok then table.insert(arriving.problems, "REAPER could not place the stems: " .. tostring(problem)) end
	sb.log(string.format("brought in %d", #arriving.stems))
end

-- Asks for the prompts that no track name gave, and sends those requests again.
local function ask_and_resend(nameless)
	local pieces = {}
	for i, entry in ipairs(nameless) do pieces[i] = entry.piece end
	local question = nameless[1].op == "remove" and "What should be removed?" or "What should be extracted?"
	local prompts = sb.ask(question .. " The name of the track does not say.", sb.track_names(pieces), false)
	if not prompts then return {} end
	local orders, gesture = {}, sb.new_id()
	for _, entry in ipairs(nameless) do
		local prompt = prompts[entry.piece.track]
		if prompt then orders[#orders + 1] = { again = entry, prompt = prompt, gesture = gesture } end
	end
	return sb.send_again(orders)
end

function sb.finish_arriving()
	place_all()
	local all, building = arriving, arriving.building
	arriving = nil
	local nameless, problems = all.nameless, all.problems
	local resend = #nameless > 0 and ask_and_resend(nameless) or {}
	for _, text in ipairs(resend) do problems[#problems + 1] = text end
	for _, stems in ipairs(all.stems) do
		local status = sb.known(stems.entry)
		if status and status.is_draft and not stems.failed then sb.remember_draft(stems.entry, stems.files) end
	end
	sb.close(all.entries)
	for _, source in ipairs(building) do
		if reaper.PCM_Source_BuildPeaks(source, 0) ~= 0 then table.insert(sb.peaks, source) end
	end
	if #problems > 0 then sb.tell(problems) end
end

function sb.build_peaks()
	local source = sb.peaks[1]
	if source and reaper.PCM_Source_BuildPeaks(source, 1) == 0 then
		reaper.PCM_Source_BuildPeaks(source, 2)
		table.remove(sb.peaks, 1)
		reaper.UpdateArrange()
	end
	return source ~= nil
end

function sb.is_arriving() return arriving ~= nil end

-- Leaves it as it is; it is begun again when the project is looked at again.
function sb.stop_arriving()
	if arriving and arriving.copy and arriving.copy.work then sb.end_copy(arriving.copy.work) end
	arriving = nil
end
