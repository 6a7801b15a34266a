-- From a piece to a request in the engine's words; every time in it is a sample count at the file's own rate.
local sb = ...

local CONTEXT_S = 6 -- read on each side of a range; the engine hears 5 s of it
local MAX_BYTES = 0xFFFFFFFF - 1024 -- of a WAV file

-- A whole number of samples; times that are one but for rounding are that one.
local function down(samples)
	local near = math.floor(samples + 0.5)
	return math.abs(samples - near) < 1e-3 and near or math.floor(samples)
end
local function up(samples) return -down(-samples) end

-- A plain file name, short enough for every file system.
function sb.file_name(text)
	local name = text:gsub('[%c/\\:*?"<>|]', "_"):gsub("^[%s.]+", ""):sub(1, 60)
	while not utf8.len(name) and name ~= "" do name = name:sub(1, -2) end -- a character cut in half
	return (name:gsub("[%s.]+$", ""))
end

-- The item's own file: the path, the samples that the item and the part touch, and how far into its first sample each
-- begins, in seconds.
local function place_in_file(piece)
	local function touched(from_s, length_s)
		local first = math.max(0, down(from_s * piece.rate_hz))
		return { first, math.min(piece.n_samples, up((from_s + length_s) * piece.rate_hz)) }, from_s - first / piece.rate_hz
	end
	local item, item_offset_s = touched(piece.start_s, piece.item_length_s)
	local part, part_offset_s = touched(piece.start_s + piece.position_s - piece.item_position_s, piece.length_s)
	return { path = piece.path, item = item, part = part, item_offset_s = item_offset_s, part_offset_s = part_offset_s }
end

-- A file yet to be written from what the take plays: the whole item, or the part and what is around it on a grid on which
-- the part begins with a sample.
local function place_in_capture(piece, rid, whole)
	local hz = piece.rate_hz
	local a_s = piece.position_s - piece.item_position_s
	local capture = { path = sb.mailbox .. "/clients/" .. rid .. ".wav", rate_hz = hz, n_channels = piece.n_channels }
	local part
	if whole then
		capture.first_s, capture.n = 0, up(piece.item_length_s * hz)
		part = { down(a_s * hz), math.min(capture.n, up((a_s + piece.length_s) * hz)) }
	else
		local after_s = piece.item_length_s - a_s - piece.length_s
		local n_before, n_part = down(math.min(a_s, CONTEXT_S) * hz), up(piece.length_s * hz)
		capture.first_s = a_s - n_before / hz
		capture.n = n_before + n_part + math.max(0, down(math.min(after_s, CONTEXT_S) * hz))
		part = { n_before, n_before + n_part }
	end
	return { path = capture.path, item = { 0, capture.n }, part = part, item_offset_s = 0, part_offset_s = 0, capture = capture }
end

-- Stretches of the timeline as samples of the file, cut at the item; nil when none is left.
local function spans_of(piece, item, stretches)
	local spans, base_s = {}, (piece.plain and piece.start_s or 0) - piece.item_position_s
	for _, stretch in ipairs(stretches) do
		local a = math.max(item[1], down((base_s + stretch.from_s) * piece.rate_hz))
		local b = math.min(item[2], up((base_s + stretch.to_s) * piece.rate_hz))
		if a < b then spans[#spans + 1] = { a, b } end
	end
	return #spans > 0 and spans or nil
end

-- An entry for the ledger, with the request in it; or nil and why. `order` is {piece, op, prompt, gesture}, and where
-- regions say what sounds when, {present, absent} too.
function sb.entry_of(order)
	local piece, rid, whole = order.piece, sb.new_id(), order.op == "example" or order.present ~= nil
	local place = piece.plain and place_in_file(piece) or place_in_capture(piece, rid, whole)
	local capture = place.capture
	if capture and capture.n * capture.n_channels * 4 > MAX_BYTES then
		return nil, "is too long to be read at once. Glue it first"
	end
	local back = whole and place.item or place.part
	if whole then -- what comes back is the item
		piece.position_s, piece.length_s = piece.item_position_s, piece.item_length_s
		piece.fade_in_s, piece.fade_out_s = piece.item_fade_in_s, piece.item_fade_out_s
	end
	local present = (whole or piece.in_range) and { place.part } or nil
	if order.present then present = spans_of(piece, place.item, order.present) end
	return {
		rid = rid, gesture = order.gesture, op = order.op, piece = piece, capture = capture,
		offset_s = whole and place.item_offset_s or place.part_offset_s,
		request = {
			rid = rid, op = "submit", path = place.path, rate = piece.rate_hz, start = back[1], ["end"] = back[2],
			item = place.item, position = math.max(0, math.floor(piece.position_s * piece.rate_hz + 0.5)), keep = "both",
			track = not order.prompt and piece.track or nil, prompt = order.prompt,
			["span+"] = present, ["span-"] = order.absent and spans_of(piece, place.item, order.absent) or nil,
			name = sb.file_name(piece.track) .. " " .. rid:gsub("^reaper%-", ""),
		},
	}
end

-- Writes each order into the ledger and, when its file is there already, the request into the mailbox. Returns the
-- problems as lines of text.
function sb.send(orders)
	local problems, held = {}, sb.engine() ~= "running" or nil
	if #orders > 0 then sb.project_id(true) end
	for _, order in ipairs(orders) do
		local entry, why = sb.entry_of(order)
		-- Several stems come in together: drafts of the first would not be heard sooner.
		if entry and #orders == 1 then entry.request.quality, entry.request.playhead = "progressive", sb.playhead_of(entry) end
		if not entry then
			problems[#problems + 1] = string.format("An item on “%s” %s.", order.piece.track, why)
		else
			-- The ledger first: a result nobody waits for would be lost, a wait without a request is cancelled in a click.
			local ok
			entry.held = held
			ok, why = sb.open_entry(entry)
			if ok and not entry.capture then
				ok, why = sb.post(entry.request, held)
				if not ok then sb.close_entry(entry.rid) end
			end
			if not ok then
				problems[#problems + 1] = "A request could not be written: " .. tostring(why)
					.. ". Check the disk; if the folder is gone, type in a terminal:  stembridge install reaper"
			end
		end
	end
	return problems
end

local function copied(from, with)
	local to = {}
	for key, value in pairs(from) do to[key] = value end
	for key, value in pairs(with) do to[key] = value end
	return to
end

-- Sends answered requests again, with the words they lacked or in another `quality`: `orders` of {again = entry, prompt,
-- gesture}. What was read from REAPER and is still there is not read twice. Returns the problems as lines of text.
function sb.send_again(orders)
	local problems = {}
	for _, order in ipairs(orders) do
		local old, rid = order.again, sb.new_id()
		local entry = copied(old, { rid = rid, gesture = order.gesture })
		entry.held = order.held -- nil where an engine has just answered
		entry.request = copied(old.request, {
			rid = rid, prompt = order.prompt, name = sb.file_name(old.piece.track) .. " " .. rid:gsub("^reaper%-", ""),
		})
		entry.request.track = nil
		entry.request.quality = order.quality or entry.request.quality
		if old.capture then
			entry.capture = copied(old.capture, { path = sb.mailbox .. "/clients/" .. rid .. ".wav" })
			entry.request.path = entry.capture.path
			os.rename(old.capture.path, entry.capture.path) -- where it fails, it is read again
		end
		local ok, why = sb.open_entry(entry)
		if ok and not entry.capture then ok, why = sb.post(entry.request, entry.held) end
		if not ok then problems[#problems + 1] = "A request could not be written: " .. tostring(why) .. ". Check the disk." end
	end
	return problems
end
