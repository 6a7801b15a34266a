-- Follows the ledger: reads on where it stopped, a little in each tick, so that many requests do not make a tick long.
local sb = ...

local HEAD = 64 -- bytes by which a ledger is known to be the same file

-- The entries that these scripts wrote: a line of other content is passed over like a torn one.
local function only_ours(entries)
	local ours = {}
	for _, entry in ipairs(entries) do
		local whole = type(entry.gesture) == "string" and type(entry.piece) == "table" and type(entry.request) == "table"
		if whole or type(entry.cancel_of) == "string" then ours[#ours + 1] = entry end
	end
	return ours
end

local all_entries = sb.entries
function sb.entries() return only_ours(all_entries()) end

local state -- {path, head, offset, seen, facts, entries}

-- The open entries, the same table as long as nothing changes; or nil while there is more to read.
function sb.follow_ledger(deadline_s)
	local path = sb.ledger_path()
	local file = io.open(path, "rb")
	if not file then
		if not state or state.path ~= path or #state.entries > 0 then state = { path = path, entries = {} } end
		return state.entries
	end
	local head, size = file:read(HEAD) or "", file:seek("end")
	if not state or state.path ~= path or not state.head or size < state.offset
		or head:sub(1, #state.head) ~= state.head then
		state = { path = path, head = head, offset = 0, facts = sb.new_facts(), entries = {} }
	end
	if size == state.seen then
		file:close()
		return state.entries
	end
	file:seek("set", state.offset)
	local late = false
	repeat
		local line = file:read("L")
		if not line or line:sub(-1) ~= "\n" then break end -- the end, or a line that is torn
		state.offset = state.offset + #line
		sb.take_fact(state.facts, line)
		late = reaper.time_precise() > deadline_s
	until late
	file:close()
	if late and state.offset < size then return nil end
	state.seen = size
	local open = sb.open_of(state.facts)
	state.entries = only_ours(open)
	if #open == 0 and #state.facts.order > 0 then os.remove(path) end
	return state.entries
end
