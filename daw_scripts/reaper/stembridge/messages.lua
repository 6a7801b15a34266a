-- What the person reads. Every message also goes to clients/reaper.log in the mailbox.
local sb = ...

local TITLE = "Stembridge"
local MAX_LINES = 12
local MAX_ROWS = 16 -- REAPER's own limit
local ALL = "all tracks"

sb.NOTHING_OPEN = "No request of this session is under way."

-- Shows lines of text; the same line is shown once, with how often it came.
function sb.tell(lines)
	local order, count = {}, {}
	for _, line in ipairs(lines) do
		if not count[line] then order[#order + 1] = line end
		count[line] = (count[line] or 0) + 1
	end
	local shown = {}
	for i, line in ipairs(order) do
		local text = count[line] > 1 and string.format("%s (%d times)", line, count[line]) or line
		sb.log(text)
		if i <= MAX_LINES then shown[#shown + 1] = text end
	end
	if #order > MAX_LINES then shown[#shown + 1] = string.format("… and %d more, see the log.", #order - MAX_LINES) end
	reaper.ShowMessageBox(table.concat(shown, "\n\n"), TITLE, 0)
end

-- Asks one line of text for each name, or one for all when there are many. Returns name → answer, or nil when the
-- person backs out or leaves all empty.
function sb.ask(question, names, prefill)
	local rows = #names > MAX_ROWS and { ALL } or names
	local captions, values = {}, {}
	for i, name in ipairs(rows) do
		captions[i] = (name:gsub("[,=]", " ")) -- they would end the caption, or be read as an option
		values[i] = prefill and rows == names and name:gsub("\n", " ") or ""
	end
	local options = ",extrawidth=200,separator=\n"
	local ok, text = reaper.GetUserInputs(TITLE .. ": " .. question, #rows, table.concat(captions, ",") .. options,
		table.concat(values, "\n"))
	if not ok then return nil end
	local answers, some, i = {}, false, 0
	for answer in (text .. "\n"):gmatch("(.-)\n") do
		i = i + 1
		answer = answer:match("^%s*(.-)%s*$")
		if rows[i] and answer ~= "" then answers[rows[i]], some = answer, true end
	end
	if rows ~= names then
		local answer = answers[ALL]
		answers = {}
		for _, name in ipairs(names) do answers[name] = answer end
	end
	return some and answers or nil
end

sb.ENGINE_STARTS = "The Stembridge engine is being started."

function sb.engine_stopped()
	return "The Stembridge engine is not running. Open a terminal and type:  stembridge serve"
end

function sb.engine_other(version)
	return "The Stembridge engine (version " .. version .. ") and these scripts (version " .. sb.version
		.. ") do not fit together, so nothing was sent. Type in a terminal:  stembridge install reaper"
end
