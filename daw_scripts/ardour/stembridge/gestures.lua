-- What the person can do: each gesture reads the selection, asks what it must, and hands over requests. None waits.
local sb = ...
sb.gestures = {}

-- A plain file name made from a track's name, short enough for every file system.
local function file_name(text)
	local name = text:gsub('[%c/\\:*?"<>|]', "_"):gsub("^[%s.]+", ""):sub(1, 60)
	while not utf8.len(name) and name ~= "" do name = name:sub(1, -2) end -- a character cut in half
	return name:gsub("[%s.]+$", "")
end

-- The request for one piece, in the engine's words; every time is a sample count at the session's rate.
local function request_of(piece, op)
	local from = piece.region_start + piece.position - piece.region_position
	local item = { piece.region_start, piece.region_start + piece.region_length }
	local request = {
		path = #piece.files == 1 and piece.files[1] or piece.files,
		rate = math.floor(Session:nominal_sample_rate()),
		start = from, ["end"] = from + piece.length, item = item, position = piece.position,
		track = piece.track, keep = "both", op = "submit",
	}
	if op == "example" then
		request["span+"] = { { from, from + piece.length } }
		request.start, request["end"], request.position = item[1], item[2], piece.region_position
	elseif piece.in_range then
		request["span+"] = { { from, from + piece.length } }
	end
	return request
end

-- Writes one entry into the ledger and one request into the mailbox for each order {piece, op, prompt, gesture}.
-- Returns the problems as lines of text.
function sb.send(orders)
	local problems, held = {}, sb.engine() ~= "running"
	for _, order in ipairs(orders) do
		local request = request_of(order.piece, order.op)
		-- Several stems come in together: drafts of the first would not be heard sooner.
		if #orders == 1 then request.quality, request.playhead = "progressive", sb.playhead_of(request, order.op) end
		request.rid = sb.new_id()
		request.name = file_name(order.piece.track) .. " " .. request.rid:gsub("^ardour%-", "")
		if order.prompt then request.prompt, request.track = order.prompt, nil end
		local entry = {
			rid = request.rid, gesture = order.gesture, op = order.op, piece = order.piece,
			position = request.position, length = request["end"] - request.start, rate = request.rate, held = held or nil,
		}
		-- The ledger first: a result nobody waits for would be lost, a wait without a request is cancelled in a click.
		local ok, why = sb.open_entry(entry)
		if ok then
			ok, why = sb.post(request, held)
			if not ok then sb.close_entry(request.rid) end
		end
		if not ok then
			problems[#problems + 1] = "A request could not be written: " .. tostring(why)
				.. ". Check the disk; if the folder is gone, quit Ardour and type:  stembridge install ardour"
		end
	end
	return problems
end

-- The distinct track names of some pieces, in order.
function sb.track_names(pieces)
	local names, seen = {}, {}
	for _, piece in ipairs(pieces) do
		if not seen[piece.track] then names[#names + 1], seen[piece.track] = piece.track, true end
	end
	return names
end

-- The selected pieces, or nil after the person was told why there are none.
local function pieces_to_work_on()
	local engine, version = sb.engine_or_start()
	if engine == "stopped" then return sb.tell({ sb.engine_stopped() .. " Nothing was sent." }) end
	if engine == "other" then return sb.tell({ sb.engine_other(version) }) end
	local pieces, problems, kind = sb.selected_pieces()
	if #pieces == 0 and #problems == 0 then
		problems[1] = kind == "range"
			and "There is no audio region in the selected range on the selected tracks. Select the track as well as the range."
			or "Nothing is selected. Select a time range on a track, or one or more regions, and try again."
	end
	if #problems > 0 then sb.tell(problems) end
	return #pieces > 0 and pieces or nil, kind
end

local function send_and_tell(orders)
	local problems = sb.send(orders)
	if #problems > 0 then sb.tell(problems) end
end

local function orders_of(pieces, op, prompts)
	local orders, gesture = {}, sb.new_id()
	for i, piece in ipairs(pieces) do
		local answer = prompts and prompts[piece.track]
		-- A track's name left as it stands is still a track's name: the engine turns it into words.
		local prompt = answer ~= piece.track and answer or nil
		if not prompts or answer then
			orders[#orders + 1] = { piece = piece, op = op, prompt = prompt, gesture = gesture }
		end
	end
	return orders
end

function sb.gestures.extract()
	local pieces = pieces_to_work_on()
	if pieces then send_and_tell(orders_of(pieces, "extract")) end
end

function sb.gestures.example()
	local pieces, kind = pieces_to_work_on()
	if not pieces then return end
	if kind ~= "range" then
		return sb.tell({ "Select a time range in which the sound is heard: it is the example, and the whole region is searched for it." })
	end
	send_and_tell(orders_of(pieces, "example"))
end

function sb.gestures.remove()
	local pieces = pieces_to_work_on()
	if not pieces then return end
	local prompts = sb.ask("What should be removed?", sb.track_names(pieces), true)
	if prompts then send_and_tell(orders_of(pieces, "remove", prompts)) end
end

-- Withdraws what no engine has read and asks it to stop the rest. Another session's requests go on.
function sb.gestures.cancel()
	local entries, running = sb.open_requests(), sb.engine() ~= "stopped"
	for _, entry in ipairs(entries) do
		local withdrawn = sb.withdraw(entry.rid)
		if withdrawn or not running then sb.close_entry(entry.rid) end
		-- An engine may have read a request just before it was withdrawn, and one that is stopped may hold it.
		if running or not withdrawn then
			local rid = sb.new_id()
			sb.open_entry({ rid = rid, cancel_of = entry.rid })
			sb.post({ rid = rid, op = "cancel", of = entry.rid })
		end
	end
	if #entries == 0 then return sb.tell({ sb.NOTHING_OPEN }, "info") end
	sb.log(string.format("cancelled %d requests", #entries))
end

local function minutes(seconds) return string.format("%d:%02d", seconds // 60, seconds % 60) end

-- How far each open request is.
function sb.gestures.progress()
	local lines, running = {}, sb.engine() ~= "stopped"
	for _, entry in ipairs(sb.open_requests()) do
		local status = sb.status(entry.rid) or {}
		local text = status.state == "queued" and "waits for its turn" or status.state or "is being sent"
		if status.state == "running" then
			text = string.format("%s, %d %%", status.stage or "running", math.floor(100 * (status.fraction or 0)))
			if status.eta_s then text = text .. ", " .. minutes(math.ceil(status.eta_s)) .. " left" end
		end
		lines[#lines + 1] = string.format("“%s”: %s", entry.piece.track, text)
	end
	if #lines == 0 then lines[1] = sb.NOTHING_OPEN end
	if not running then table.insert(lines, 1, sb.engine_is_starting() and sb.ENGINE_STARTS or sb.engine_stopped()) end
	sb.tell(lines, "info")
end
