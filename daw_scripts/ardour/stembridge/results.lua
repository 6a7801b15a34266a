-- Called ten times a second: reads the answers to this session's requests and brings in each gesture's stems, all of
-- them together, once the last one is answered.
local sb = ...
sb.results = {}

local FINAL = { done = true, failed = true, cancelled = true, refused = true }
local READS_PER_TICK = 50
local TICKS_PER_ENGINE_CHECK = 5

local busy, n_ticks = false, 0
local ledger, ledger_size, next_read = {}, nil, 1
local answers = {} -- rid → final status

local function exists(path)
	local file = path and io.open(path, "rb")
	if file then file:close() end
	return file ~= nil
end

local function line(entry, text) return string.format("“%s”: %s", entry.piece.track, text) end

local function close(entries)
	for _, entry in ipairs(entries) do
		sb.close_entry(entry.rid)
		sb.forget_status(entry.rid)
		answers[entry.rid] = nil
	end
end

-- The newest that is known of an entry: its answer, or its draft.
local function known(entry) return answers[entry.rid] or sb.drafts[entry.rid] end

-- Imports one answered request's files; nil and a line of text when something is wrong with them.
local function import_stems(entry, status)
	status.prompt = status.prompt or "stem"
	if status.channels and status.channels ~= entry.piece.n_channels then
		return nil, line(entry, string.format("the region has %d channels but its file has more (%d). Bounce it first.",
			entry.piece.n_channels, status.channels))
	end
	if status.sample_rate and status.sample_rate ~= entry.rate then
		return nil, line(entry, string.format("its file has %d Hz and the session %d Hz, so Ardour plays it at another speed. "
			.. "Import the file again as a copy.", status.sample_rate, entry.rate))
	end
	local stems = {}
	for _, kind in ipairs({ "target", "residual" }) do
		if not exists(status[kind]) then
			return nil, line(entry, "the stem " .. tostring(status[kind]) .. " is no longer on the disk. Please ask again.")
		end
		stems[kind] = sb.import(status[kind])
		if not stems[kind] then
			return nil, line(entry, "Ardour could not import the stem into the session's folder. It stays at " .. status[kind] .. ".")
		end
		stems[kind]:set_name(entry.piece.track .. (kind == "target" and " · " or " · no ") .. status.prompt)
	end
	return stems
end

-- Which stem lies on top and sounds: of "remove" it is what is left, otherwise what was asked for.
local function stem_order(op)
	if op == "remove" then return { "residual", "target" } end
	return { "target", "residual" }
end

-- Puts the pieces of one track and prompt on two tracks. Returns the work to be done inside the undo step.
local function plan_tracks(group, problems)
	local source = sb.track_by_id(group.track_id)
	local name = source and source:name() or group.items[1].entry.piece.track
	local names = { target = name .. " · " .. group.prompt, residual = name .. " · no " .. group.prompt }
	local places = {}
	for i, item in ipairs(group.items) do places[i] = { position = item.entry.position, length = item.entry.length } end
	local n_channels, tracks = 1, {}
	for _, item in ipairs(group.items) do n_channels = math.max(n_channels, item.entry.piece.n_channels) end
	for below, kind in ipairs(stem_order(group.op)) do
		local is_new
		tracks[kind], is_new = sb.stem_track(names[kind], source, below, n_channels, places)
		if not tracks[kind] then
			problems[#problems + 1] = line(group.items[1].entry, "Ardour could not make a new track.")
			return function() end
		end
		if is_new and below == 2 then sb.mute(tracks[kind]) end
	end
	return function()
		for _, item in ipairs(group.items) do
			for kind, region in pairs(item.stems) do
				sb.place(tracks[kind], region, names[kind], (sb.lies_at(item.entry, item.part)), item.entry.piece.gain)
				sb.annotate(tracks[kind], known(item.entry).note)
			end
			if group.op == "remove" and not (source and sb.silence(source, item.entry.piece, item.entry.position, item.entry.length)) then
				problems[#problems + 1] = line(item.entry, "the region was changed meanwhile, so it still sounds. Mute it by hand.")
			end
		end
	end
end

-- Puts drafts of more, and results, in their drafts' places. Returns a line for the log.
local function swap(swaps, problems)
	local changed, problem = sb.swap_drafts(swaps)
	for _, entry in ipairs(changed) do
		if not known(entry).is_draft then
			problems[#problems + 1] = line(entry, "the draft is no longer in the session as it came in, so the result was not "
				.. "brought in. It lies at " .. known(entry).target .. ".")
		end
	end
	if problem then problems[#problems + 1] = "Ardour could not place the stems: " .. problem end
	return string.format(known(swaps[1].entry).is_draft and "drafted more of %d" or "refined %d", #swaps - #changed)
end

-- Imports what is done, all in one undo step, and returns the problems as lines of text. What takes a draft's place has
-- a step of its own.
local function bring_in(done, problems)
	local groups, order, swaps, drafted, n_placed = {}, {}, {}, {}, 0
	for _, entry in ipairs(done) do
		local status = known(entry)
		local stems, problem
		-- Of a draft that was changed, it is said when the result comes.
		local unwanted = status.is_draft and entry.drafts and #sb.drafts_left(entry) == 0
		if not unwanted then stems, problem = import_stems(entry, status) end
		if stems and status.is_draft then drafted[#drafted + 1] = { entry = entry, stems = stems } end
		if stems and entry.drafts then
			swaps[#swaps + 1] = { entry = entry, stems = stems, part = status.part, note = status.note }
		elseif stems then
			local prompt = status.prompt
			local key = entry.piece.track_id .. "\0" .. prompt
			if not groups[key] then
				groups[key] = { track_id = entry.piece.track_id, prompt = prompt, op = entry.op, items = {} }
				order[#order + 1] = groups[key]
			end
			table.insert(groups[key].items, { entry = entry, stems = stems, part = status.part })
			n_placed = n_placed + 1
		elseif status.is_draft then
			sb.pass_draft(entry) -- what is wrong is said of the result, if it is wrong there, too
		else
			problems[#problems + 1] = problem
		end
	end
	local lines = {}
	if #swaps > 0 then lines[1] = swap(swaps, problems) end
	if #order > 0 then
		local works, prompts = {}, {}
		for i, group in ipairs(order) do works[i], prompts[i] = plan_tracks(group, problems), group.prompt end
		local what = (order[1].op == "remove" and "remove " or "extract ") .. table.concat(prompts, ", ")
		local problem = sb.undoable("Stembridge: " .. what, function()
			for _, work in ipairs(works) do work() end
		end)
		if problem then problems[#problems + 1] = "Ardour could not place the stems: " .. problem end
		lines[#lines + 1] = string.format("brought in %d", n_placed)
	end
	for _, one in ipairs(drafted) do sb.remember_draft(one.entry, one.stems) end
	for _, text in ipairs(lines) do sb.log(text) end
end

-- Asks for the prompts that no track name gave, and sends those requests again.
local function ask_and_resend(nameless)
	local pieces = {}
	for i, entry in ipairs(nameless) do pieces[i] = entry.piece end
	local question = nameless[1].op == "remove" and "What should be removed?" or "What should be extracted?"
	local prompts = sb.ask(question .. " The name of the track does not say.", sb.track_names(pieces), false)
	if not prompts then return {} end
	local orders, gesture = {}, sb.new_id()
	for i, entry in ipairs(nameless) do
		local prompt = prompts[entry.piece.track]
		if prompt then orders[#orders + 1] = { piece = pieces[i], op = entry.op, prompt = prompt, gesture = gesture } end
	end
	return sb.send(orders)
end

local function finish(entries)
	local done, nameless, problems, answered = {}, {}, {}, {}
	for _, entry in ipairs(entries) do
		local status = known(entry)
		if answers[entry.rid] then answered[#answered + 1] = entry end
		if not status then
			-- its draft is in, its result is yet to come
		elseif status.state == "done" then
			done[#done + 1] = entry
		elseif status.code == "no_prompt" then
			nameless[#nameless + 1] = entry
		elseif status.state ~= "cancelled" then
			problems[#problems + 1] = line(entry, tostring(status.text or status.code or status.state))
		end
	end
	local ok, problem = pcall(bring_in, done, problems)
	if not ok then problems[#problems + 1] = "Stembridge failed while it brought the stems in: " .. tostring(problem) end
	close(answered)
	if #nameless > 0 then
		for _, text in ipairs(ask_and_resend(nameless)) do problems[#problems + 1] = text end
	end
	if #problems > 0 then sb.tell(problems) end
end

local function read_answers()
	for _ = 1, math.min(READS_PER_TICK, #ledger) do
		if next_read > #ledger then next_read = 1 end
		local entry = ledger[next_read]
		next_read = next_read + 1
		local status = not answers[entry.rid] and sb.status(entry.rid)
		if status and FINAL[status.state] then
			answers[entry.rid] = status
		elseif status then
			sb.drafts[entry.rid] = sb.draft_of(entry, status) or sb.drafts[entry.rid]
		end
	end
end

local function look()
	n_ticks = n_ticks + 1
	local size = sb.ledger_size()
	if not size then
		ledger, ledger_size = {}, nil
		return
	end
	if size ~= ledger_size then ledger, ledger_size = sb.entries(), size end
	read_answers()
	local order, gestures, n_open = {}, {}, 0
	for _, entry in ipairs(ledger) do
		local answer = answers[entry.rid]
		if entry.cancel_of then
			if answer then close({ entry }) end
		else
			local gesture = gestures[entry.gesture]
			if not gesture then
				gesture = { entries = {}, ready = true, heard = true, news = false }
				gestures[entry.gesture], order[#order + 1] = gesture, gesture
			end
			table.insert(gesture.entries, entry)
			if not answer then gesture.ready, n_open = false, n_open + 1 end
			gesture.heard = gesture.heard and (known(entry) ~= nil or entry.drafts ~= nil)
			gesture.news = gesture.news or (not answer and known(entry) ~= nil)
		end
	end
	for _, gesture in ipairs(order) do
		-- One at a time: the ledger is read anew before the next. A running take is not disturbed.
		local ready = gesture.ready or (gesture.heard and gesture.news)
		if ready and not Session:actively_recording() then return finish(gesture.entries) end
	end
	if n_open > 0 and n_ticks % TICKS_PER_ENGINE_CHECK == 0 then sb.look_after_engine(ledger, n_open) end
end

-- Importing and dialogs serve Ardour's window, so this is called again while it still runs.
function sb.results.tick()
	if busy then return end
	busy = true
	local ok, problem = pcall(look)
	busy = false
	if not ok then error(problem, 0) end
end
