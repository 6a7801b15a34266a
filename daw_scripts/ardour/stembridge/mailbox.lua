-- The folder shared with the engine: requests go in, status files come out, and one small file per session remembers
-- what is on its way, so that a result is still brought in when Ardour was restarted in between.
local sb = ...

local n_made = 0

function sb.read_file(path)
	local file = io.open(path, "rb")
	if not file then return nil end
	local text = file:read("a")
	file:close()
	return text
end

-- Whole or not at all: written beside, then renamed. Returns true, or nil and why.
local function write_file(draft, path, text)
	local file, why = io.open(draft, "wb")
	if not file then return nil, why end
	local written, problem = file:write(text)
	local closed, late = file:close()
	if not (written and closed) then
		os.remove(draft)
		return nil, problem or late
	end
	local moved, refused = os.rename(draft, path)
	if not moved then os.remove(draft) end
	return moved, refused
end

local function append(path, text)
	local file, why = io.open(path, "ab")
	if not file then return nil, why end
	file:write(text)
	file:close()
	return true
end

-- Unique on this machine: wall clock, microseconds since start-up, a count. (math.random repeats in each Lua state.)
function sb.new_id()
	n_made = n_made + 1
	return string.format("ardour-%x-%x-%d", os.time(), ARDOUR.LuaAPI.monotonic_time(), n_made)
end

local function request_path(rid, held) return sb.mailbox .. (held and "/clients/" or "/requests/") .. rid .. ".json" end

-- Hands one request to the engine; returns its id, or nil and why. One that is held lies beside until an engine runs.
function sb.post(request, held)
	local path = request_path(request.rid, held)
	local ok, why = write_file(path:gsub("json$", "tmp"), path, sb.encode(request))
	return ok and request.rid, why
end

-- True when there was a held request of that id, and it is the engine's now.
function sb.hand_over_held(rid) return os.rename(request_path(rid, true), request_path(rid)) ~= nil end

-- Takes back a request that no engine has read yet; true if it was still there.
function sb.withdraw(rid)
	local was_held = os.remove(request_path(rid, true)) ~= nil
	return os.remove(request_path(rid)) ~= nil or was_held
end

-- What the engine last said of a request: a table, or nil.
function sb.status(rid)
	local text = sb.read_file(sb.mailbox .. "/status/" .. rid .. ".json")
	local status = text and sb.decode(text)
	return type(status) == "table" and status or nil
end

function sb.forget_status(rid) os.remove(sb.mailbox .. "/status/" .. rid .. ".json") end

-- The file of this session's open requests. The folder and name tell sessions apart; the hash keeps it a plain name.
function sb.ledger_path()
	local path, hash = Session:path(), 0xcbf29ce484222325 -- FNV-1a, 64 bit
	for i = 1, #path do hash = (hash ~ path:byte(i)) * 0x100000001b3 end
	local name = Session:name():gsub("[^%w_-]", "_"):sub(1, 40)
	return string.format("%s/clients/ardour-%s-%016x.jsonl", sb.mailbox, name, hash)
end

-- A ledger is only ever appended to, one line a fact, so an action and the hook can both write while the other is
-- half-way: {"rid", ...} opens an entry, {"closed": rid} closes it. Returns true, or nil and why.
function sb.open_entry(entry) return append(sb.ledger_path(), sb.encode(entry) .. "\n") end

function sb.close_entry(rid) return append(sb.ledger_path(), sb.encode({ closed = rid }) .. "\n") end

-- What a ledger's lines say: the entries in order, and the newest open one of each rid.
function sb.new_facts() return { order = {}, open = {} } end

-- A line that cannot be read (a torn write) is passed over.
function sb.take_fact(facts, line)
	local fact = sb.decode(line)
	if type(fact) ~= "table" then return end
	if fact.closed then
		facts.open[fact.closed] = nil
	elseif type(fact.rid) == "string" then
		facts.order[#facts.order + 1] = fact
		facts.open[fact.rid] = fact
	end
end

function sb.open_of(facts)
	local entries = {}
	for _, fact in ipairs(facts.order) do
		if facts.open[fact.rid] == fact then entries[#entries + 1] = fact end
	end
	return entries
end

-- The open entries, oldest first.
function sb.entries()
	local facts = sb.new_facts()
	for line in (sb.read_file(sb.ledger_path()) or ""):gmatch("[^\n]+") do sb.take_fact(facts, line) end
	local entries = sb.open_of(facts)
	if #entries == 0 and #facts.order > 0 then os.remove(sb.ledger_path()) end
	return entries
end

-- The open entries that wait for stems.
function sb.open_requests()
	local requests = {}
	for _, entry in ipairs(sb.entries()) do
		if not entry.cancel_of then requests[#requests + 1] = entry end
	end
	return requests
end

-- Changes whenever the ledger does; nil when there is none.
function sb.ledger_size()
	local file = io.open(sb.ledger_path(), "rb")
	if not file then return nil end
	local size = file:seek("end")
	file:close()
	return size
end

function sb.log(text)
	local path = sb.mailbox .. "/clients/ardour.log"
	local file = io.open(path, "rb")
	local size = file and file:seek("end") or 0
	if file then file:close() end
	if size > 200000 then
		os.remove(path .. ".1")
		os.rename(path, path .. ".1")
	end
	append(path, os.date("!%Y-%m-%dT%H:%M:%SZ ") .. Session:name() .. ": " .. text:gsub("\n", " / ") .. "\n")
end
