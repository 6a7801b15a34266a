-- What the person reads. Every message also goes to clients/ardour.log in the mailbox.
local sb = ...

local TITLE = "Stembridge"
local MAX_LINES = 12
local MAX_ROWS = 12
local ALL = "all tracks"

-- Ardour's message box reads markup.
local function plain(text)
	return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

-- Shows lines of text; the same line is shown once, with how often it came.
function sb.tell(lines, kind)
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
	local mark = kind == "info" and LuaDialog.MessageType.Info or LuaDialog.MessageType.Warning
	LuaDialog.Message(TITLE, plain(table.concat(shown, "\n\n")), mark, LuaDialog.ButtonType.Close):run()
end

-- Asks one line of text for each name, or one for all when there are many. Returns name → answer, or nil when the
-- person backs out or leaves all empty.
function sb.ask(question, names, prefill)
	if #names > MAX_ROWS then
		local answer = sb.ask(question, { ALL }, false)
		if not answer then return nil end
		local answers = {}
		for _, name in ipairs(names) do answers[name] = answer[ALL] end
		return answers
	end
	local rows = { { type = "heading", title = plain(question), col = 0, colspan = 2 } }
	for i, name in ipairs(names) do
		rows[#rows + 1] = { type = "entry", key = "answer" .. i, title = name, default = prefill and name or "" }
	end
	local given = LuaDialog.Dialog(TITLE, rows):run()
	if not given then return nil end
	local answers, some = {}, false
	for i, name in ipairs(names) do
		local answer = given["answer" .. i]:match("^%s*(.-)%s*$")
		if answer ~= "" then answers[name], some = answer, true end
	end
	return some and answers or nil
end

sb.NOTHING_OPEN = "No request of this session is under way."

sb.ENGINE_STARTS = "The Stembridge engine is being started."

function sb.engine_stopped()
	return "The Stembridge engine is not running. Open a terminal and type:  stembridge serve"
end

function sb.engine_other(version)
	return "The Stembridge engine (version " .. version .. ") and these scripts (version " .. sb.version
		.. ") do not fit together, so nothing was sent. Quit Ardour and type:  stembridge install ardour"
end
