-- JSON for requests and answers: UTF-8 text in and out, null read as nil, arrays are tables with 1..n.
local sb = ...

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }
local NAMED = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function quote(text)
	-- Names may hold bytes that are no UTF-8; a request with those would be refused whole, so they become "?".
	if not utf8.len(text) then text = text:gsub("[\x80-\xff]", "?") end
	return '"' .. text:gsub('[\0-\31"\\]', function(c) return ESCAPES[c] or string.format("\\u%04x", c:byte()) end) .. '"'
end

-- A table's keys are written in order, so the same request always gives the same text.
function sb.encode(value)
	local kind = math.type(value) or type(value)
	if kind == "integer" then return string.format("%d", value) end
	if kind == "float" then
		assert(value == value and value ~= math.huge and value ~= -math.huge, "JSON has no such number")
		return (string.format("%.17g", value):gsub(",", "."))
	end
	if kind == "string" then return quote(value) end
	if kind == "boolean" or kind == "nil" then return kind == "nil" and "null" or tostring(value) end
	assert(kind == "table", "cannot write a " .. kind .. " as JSON")
	local parts = {}
	if #value > 0 then
		for i, item in ipairs(value) do parts[i] = sb.encode(item) end
		return "[" .. table.concat(parts, ",") .. "]"
	end
	local keys = {}
	for key in pairs(value) do keys[#keys + 1] = key end
	table.sort(keys)
	for i, key in ipairs(keys) do parts[i] = quote(key) .. ":" .. sb.encode(value[key]) end
	return "{" .. table.concat(parts, ",") .. "}"
end

local read_value

local function fail(at) error("not JSON at byte " .. at, 0) end

local function skip(text, at) return text:find("[^ \t\r\n]", at) or #text + 1 end

local function read_string(text, at)
	local parts, from = {}, at + 1
	while true do
		local stop = text:find('[\0-\31"\\]', from) or fail(at)
		parts[#parts + 1] = text:sub(from, stop - 1)
		local c = text:sub(stop, stop)
		if c == '"' then return table.concat(parts), stop + 1 end
		if c ~= "\\" then fail(stop) end
		local kind = text:sub(stop + 1, stop + 1)
		if kind == "u" then
			local code = tonumber(text:match("^%x%x%x%x", stop + 2) or fail(stop), 16)
			from = stop + 6
			if code >= 0xD800 and code < 0xDC00 then -- the first half of a pair
				local low = tonumber(text:match("^\\u([dD][c-fC-F]%x%x)", from) or fail(stop), 16)
				code, from = 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00), from + 6
			elseif code >= 0xDC00 and code < 0xE000 then
				fail(stop)
			end
			parts[#parts + 1] = utf8.char(code)
		else
			parts[#parts + 1] = NAMED[kind] or fail(stop)
			from = stop + 2
		end
	end
end

local function read_list(text, at, close, read_item)
	local result = {}
	at = skip(text, at + 1)
	if text:sub(at, at) == close then return result, at + 1 end
	while true do
		at = skip(text, read_item(result, at))
		local c = text:sub(at, at)
		if c == close then return result, at + 1 end
		if c ~= "," then fail(at) end
		at = skip(text, at + 1)
	end
end

function read_value(text, at, depth)
	if depth > 20 then fail(at) end
	local c = text:sub(at, at)
	if c == '"' then return read_string(text, at) end
	if c == "{" then
		return read_list(text, at, "}", function(result, from)
			if text:sub(from, from) ~= '"' then fail(from) end
			local key, colon = read_string(text, from)
			colon = skip(text, colon)
			if text:sub(colon, colon) ~= ":" then fail(colon) end
			local value, after = read_value(text, skip(text, colon + 1), depth + 1)
			result[key] = value
			return after
		end)
	end
	if c == "[" then
		return read_list(text, at, "]", function(result, from)
			local value, after = read_value(text, from, depth + 1)
			result[#result + 1] = value
			return after
		end)
	end
	for word, value in pairs({ ["true"] = true, ["false"] = false, null = "null" }) do
		if text:sub(at, at + #word - 1) == word then
			if word == "null" then return nil, at + 4 end
			return value, at + #word
		end
	end
	local number = text:match("^-?%d+%.?%d*[eE]?[+-]?%d*", at)
	local value = number and tonumber(number)
	if not value then fail(at) end
	return value, at + #number
end

-- The value, or nil and what is wrong.
function sb.decode(text)
	local ok, value, after = pcall(function() return read_value(text, skip(text, 1), 0) end)
	if not ok then return nil, value end
	if skip(text, after) <= #text then return nil, "text after the end of the JSON value" end
	return value
end
