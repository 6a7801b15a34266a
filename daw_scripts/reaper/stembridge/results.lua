-- Called about thirty times a second while something is under way: reads takes, and brings each gesture's
-- stems in, all together, once the last is answered. Each call does at most one small piece of work.
local sb = ...
sb.results = {}

local FINAL = { done = true, failed = true, cancelled = true, refused = true }
local BUDGET_S = 0.0004 -- for reading and copying, of the millisecond a tick may take
local READS_PER_TICK, CLOSED_PER_TICK = 3, 2
local BEAT_S, CHECK_S = 0.5, 0.5

local beat_s, check_s = -math.huge, -math.huge
local project, ledger, next_read = nil, {}, 1
local posted = {}              -- by rid
local capturing                -- {entry, work}
local waiting = {}             -- projects that were left with something under way

-- Carries one take's reading on; its request goes out when the file is whole.
local function capture_some(deadline_s)
	local entry = capturing.entry
	repeat
		local more, why = sb.capture_some(capturing.work)
		if not more then
			capturing = nil
			if more == nil then sb.answers[entry.rid] = { state = "failed", text = "The item " .. why .. "." } end
			return
		end
	until reaper.time_precise() > deadline_s
end

local function is_open(rid)
	for _, entry in ipairs(ledger) do
		if entry.rid == rid then return true end
	end
	return false
end

-- The next request whose file must be read first, or was read and has not gone out.
local function next_capture()
	for _, entry in ipairs(ledger) do
		if entry.capture and not sb.answers[entry.rid] and not posted[entry.rid] then
			if sb.exists(entry.capture.path) then
				local ok, why = sb.post(entry.request, entry.held)
				posted[entry.rid] = true
				if not ok then sb.answers[entry.rid] = { state = "failed", text = "A request could not be written: " .. why } end
			else
				local work, why = sb.begin_capture(entry)
				if work then
					capturing = { entry = entry, work = work }
				else
					sb.answers[entry.rid] = { state = "failed", text = "The item " .. why .. "." }
				end
			end
			return true
		end
	end
	return false
end

local function read_answers()
	for _ = 1, math.min(READS_PER_TICK, #ledger) do
		if next_read > #ledger then next_read = 1 end
		local entry = ledger[next_read]
		next_read = next_read + 1
		local status = not sb.answers[entry.rid] and sb.status(entry.rid)
		if status and status.rid == entry.rid then
			if FINAL[status.state] then
				sb.answers[entry.rid] = status
			else
				sb.drafts[entry.rid] = sb.draft_of(entry, status) or sb.drafts[entry.rid]
			end
		end
	end
end

-- The first gesture whose requests are all answered, or can all be heard as a draft, and how many requests are open.
local function look_for_ready()
	local order, gestures, n_open, n_closed = {}, {}, 0, 0
	for _, entry in ipairs(ledger) do
		local answer = sb.answers[entry.rid]
		if entry.cancel_of then
			if answer and n_closed < CLOSED_PER_TICK then
				n_closed = n_closed + 1
				sb.close({ entry })
			end
		else
			local gesture = gestures[entry.gesture]
			if not gesture then
				gesture = { entries = {}, ready = true, heard = true, news = false }
				gestures[entry.gesture], order[#order + 1] = gesture, gesture
			end
			table.insert(gesture.entries, entry)
			if not answer then gesture.ready, n_open = false, n_open + 1 end
			gesture.heard = gesture.heard and (sb.known(entry) ~= nil or entry.drafted ~= nil)
			gesture.news = gesture.news or (not answer and sb.known(entry) ~= nil)
		end
	end
	for _, gesture in ipairs(order) do
		if gesture.ready or (gesture.heard and gesture.news) then return gesture.entries, n_open end
	end
	return nil, n_open
end

-- The ledger of the project in front; what was begun for another is begun again when that one comes back.
-- False while there is more to read.
local function read_ledger(deadline_s)
	local id = sb.project_id(false)
	if id ~= project then
		if project then waiting[project] = #ledger > 0 or nil end
		if capturing then sb.end_capture(capturing.work) end
		sb.stop_arriving()
		project, ledger, sb.answers, posted, capturing = id, {}, {}, {}, nil
		sb.forget_drafts()
	end
	local entries = {}
	if id then
		entries = sb.follow_ledger(deadline_s)
		if not entries then return false end
	end
	if entries ~= ledger then
		ledger = entries
		if capturing and not is_open(capturing.entry.rid) then -- cancelled
			sb.end_capture(capturing.work)
			capturing = nil
		end
	end
	if id then waiting[id] = #ledger > 0 or nil end
	return true
end

-- Returns whether to call again.
function sb.results.tick()
	local now_s = reaper.time_precise()
	if now_s - beat_s > BEAT_S then
		beat_s = now_s
		reaper.SetExtState("stembridge", "beat", string.format("%.3f", now_s), false)
	end
	if not read_ledger(now_s + BUDGET_S) then return true end
	if sb.is_arriving() then
		if not sb.copy_stems(now_s + BUDGET_S) and reaper.GetPlayState() & 4 == 0 then sb.finish_arriving() end
	elseif capturing then
		capture_some(now_s + BUDGET_S)
	elseif not next_capture() then
		read_answers()
		local ready, n_open = look_for_ready()
		if ready then
			sb.begin_arriving(ready)
		elseif n_open > 0 then
			if now_s - check_s > CHECK_S then
				check_s = now_s
				sb.look_after_engine(ledger, n_open)
			end
		elseif #ledger == 0 and not sb.build_peaks() and next(waiting) == nil then
			return false
		end
	end
	return true
end

-- Called by REAPER when the script ends, however it ends.
function sb.results.stop()
	if capturing then sb.end_capture(capturing.work) end
	sb.stop_arriving()
	reaper.DeleteExtState("stembridge", "beat", false)
end
