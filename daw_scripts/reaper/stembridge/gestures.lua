-- What the person can do: each gesture reads the selection, asks what it must, and hands over requests. None waits.
local sb = ...
sb.gestures = {}

-- The distinct track names of some pieces, in order.
function sb.track_names(pieces)
	local names, seen = {}, {}
	for _, piece in ipairs(pieces) do
		if not seen[piece.track] then names[#names + 1], seen[piece.track] = piece.track, true end
	end
	return names
end

-- The selected pieces, or nil after the person was told why there are none.
local function pieces_to_work_on(what)
	local engine, version = sb.engine_or_start()
	if engine == "stopped" then return sb.tell({ sb.engine_stopped() .. " Nothing was sent." }) end
	if engine == "other" then return sb.tell({ sb.engine_other(version) }) end
	local pieces, problems, kind = sb.selected_pieces(what)
	if #pieces == 0 and #problems == 0 then
		problems[1] = kind == "range"
			and "There is no audio item in the selected range on the selected tracks. Select the track as well as the range."
			or "Nothing is selected. Select a time range and a track, or one or more items, and try again."
	end
	if #problems > 0 then sb.tell(problems) end
	return #pieces > 0 and pieces or nil, kind
end

-- One order for each piece; with `prompts` (track name → words) only for the tracks that have words.
function sb.orders_of(pieces, op, prompts)
	local orders, gesture = {}, sb.new_id()
	for _, piece in ipairs(pieces) do
		local answer = prompts and prompts[piece.track]
		-- A track's name left as it stands is still a track's name: the engine turns it into words.
		local prompt = answer ~= piece.track and answer or nil
		if not prompts or answer then
			orders[#orders + 1] = { piece = piece, op = op, prompt = prompt, gesture = gesture }
		end
	end
	return orders
end

local function hand_over(orders, what)
	local last = { op = orders[1].op, what = what, prompt = orders[1].prompt, regions = orders[1].present ~= nil }
	reaper.SetExtState("stembridge", "last", sb.encode(last), false)
	reaper.SetProjExtState(sb.PROJECT, "stembridge", "last", sb.encode(last))
	local problems = sb.send(orders)
	sb.start_results()
	if #problems > 0 then sb.tell(problems) end
end

local function extract(what)
	local pieces = pieces_to_work_on(what)
	if pieces then hand_over(sb.orders_of(pieces, "extract"), what) end
end

function sb.gestures.extract() extract("selection") end
function sb.gestures.items() extract("items") end
function sb.gestures.tracks() extract("tracks") end

local function need_range(kind)
	if kind == "range" then return true end
	sb.tell({ "Select a time range in which the sound is heard: it is the example, and the whole item is searched for it." })
end

function sb.gestures.example()
	local pieces, kind = pieces_to_work_on("selection")
	if pieces and need_range(kind) then hand_over(sb.orders_of(pieces, "example"), "selection") end
end

function sb.gestures.remove()
	local pieces = pieces_to_work_on("selection")
	if not pieces then return end
	local prompts = sb.ask("What should be removed?", sb.track_names(pieces), true)
	if prompts then hand_over(sb.orders_of(pieces, "remove", prompts), "selection") end
end

-- The last gesture of this run of REAPER, or else of this project, once more, for what is selected now.
function sb.gestures.again()
	local last = sb.decode(reaper.GetExtState("stembridge", "last"))
	if type(last) ~= "table" then last = sb.decode(select(2, reaper.GetProjExtState(sb.PROJECT, "stembridge", "last"))) end
	if type(last) ~= "table" then return sb.tell({ "There is nothing to repeat yet." }) end
	if last.regions then return sb.gestures.regions() end
	local pieces, kind = pieces_to_work_on(last.what)
	if not pieces or last.op == "example" and not need_range(kind) then return end
	local orders = sb.orders_of(pieces, last.op)
	for _, order in ipairs(orders) do order.prompt = last.prompt end
	hand_over(orders, last.what)
end

-- One request for each selected item (or each item of the selected tracks) and each name a region over it has; the
-- regions of that name say where it sounds, those named “-” or “no <name>” where it does not.
function sb.gestures.regions()
	local what = reaper.CountSelectedMediaItems(sb.PROJECT) > 0 and "items" or "tracks"
	local pieces = pieces_to_work_on(what)
	if not pieces then return end
	local orders, gesture = {}, sb.new_id()
	for _, piece in ipairs(pieces) do
		for _, wish in ipairs(sb.wishes_of_regions(piece)) do
			wish.piece, wish.op, wish.gesture = piece, "extract", gesture
			orders[#orders + 1] = wish
		end
	end
	if #orders == 0 then
		return sb.tell({ "No named region lies over the selected items. Draw a region where a sound is heard and name it after the sound." })
	end
	hand_over(orders, what)
end

-- Withdraws what no engine has read and asks it to stop the rest. Another project's requests go on.
function sb.gestures.cancel()
	local entries, running = sb.open_requests(), sb.engine() ~= "stopped"
	for _, entry in ipairs(entries) do
		local unsent = entry.capture and not sb.exists(entry.capture.path)
		local withdrawn = sb.withdraw(entry.rid) or unsent
		if withdrawn or not running then sb.close_entry(entry.rid) end
		-- An engine may have read a request just before it was withdrawn, and one that is stopped may hold it.
		if not unsent and (running or not withdrawn) then
			local rid = sb.new_id()
			sb.open_entry({ rid = rid, cancel_of = entry.rid })
			sb.post({ rid = rid, op = "cancel", of = entry.rid })
		end
	end
	if #entries == 0 then return sb.tell({ sb.NOTHING_OPEN }) end
	sb.log(string.format("cancelled %d requests", #entries))
	sb.start_results()
end
