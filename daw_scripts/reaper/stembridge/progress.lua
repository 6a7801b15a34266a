-- How far the open requests are, in a small window with a button that cancels them.
local sb = ...
sb.progress = {}

local WIDTH, ROW, EDGE, MAX_ROWS = 460, 22, 10, 20
local LOOK_S = 0.25

local rows, looked_s, was_down = {}, -math.huge, false

local function minutes(seconds) return string.format("%d:%02d", seconds // 60, seconds % 60) end

local function text_of(entry)
	local status = sb.status(entry.rid) or {}
	if entry.capture and not sb.exists(entry.capture.path) then return "is being read from REAPER" end
	if status.state ~= "running" then return status.state == "queued" and "waits for its turn" or status.state or "is being sent" end
	local text = string.format("%s, %d %%", status.stage or "running", math.floor(100 * (status.fraction or 0)))
	if status.eta_s then text = text .. ", " .. minutes(math.ceil(status.eta_s)) .. " left" end
	return text, status.fraction
end

local function read_rows(entries)
	rows = {}
	for i, entry in ipairs(entries) do
		if i > MAX_ROWS then
			rows[i] = { text = string.format("… and %d more", #entries - MAX_ROWS) }
			break
		end
		local text, fraction = text_of(entry)
		rows[i] = { text = string.format("“%s”: %s", entry.piece.track, text), fraction = fraction }
	end
	if sb.engine() ~= "stopped" then return end
	local text = sb.engine_is_starting() and sb.ENGINE_STARTS or "The Stembridge engine is not running: stembridge serve"
	table.insert(rows, 1, { text = text })
end

-- Opens the window; false, and a message instead, when nothing is under way.
function sb.progress.open()
	local entries = sb.open_requests()
	if #entries == 0 then
		sb.tell(sb.engine() == "stopped" and { sb.engine_stopped(), sb.NOTHING_OPEN } or { sb.NOTHING_OPEN })
		return false
	end
	sb.start_results()
	gfx.init("Stembridge", WIDTH, ROW * (math.min(#entries, MAX_ROWS + 1) + 2) + 2 * EDGE)
	gfx.setfont(1, "Arial", 15)
	return true
end

local function draw(button_y)
	gfx.set(0.16, 0.16, 0.16)
	gfx.rect(0, 0, gfx.w, gfx.h, true)
	for i, row in ipairs(rows) do
		local y = EDGE + (i - 1) * ROW
		if row.fraction then
			gfx.set(0.2, 0.4, 0.6)
			gfx.rect(EDGE, y, math.floor((gfx.w - 2 * EDGE) * row.fraction), ROW - 3, true)
		end
		gfx.set(0.9, 0.9, 0.9)
		gfx.x, gfx.y = EDGE + 3, y + 1
		gfx.drawstr(row.text)
	end
	gfx.set(0.5, 0.5, 0.5)
	gfx.rect(EDGE, button_y, 80, ROW, false)
	gfx.set(0.9, 0.9, 0.9)
	gfx.x, gfx.y = EDGE + 14, button_y + 2
	gfx.drawstr("Cancel")
	gfx.update()
end

-- Returns whether to call again: not when the window was closed, or nothing is under way any more.
function sb.progress.tick()
	local key, now_s = gfx.getchar(), reaper.time_precise()
	if key < 0 or key == 27 then return false end -- closed; Escape
	if now_s - looked_s > LOOK_S then
		looked_s = now_s
		local entries = sb.open_requests()
		if #entries == 0 then return false end
		read_rows(entries)
	end
	local button_y = gfx.h - EDGE - ROW
	draw(button_y)
	local down = gfx.mouse_cap & 1 == 1
	local on = gfx.mouse_x >= EDGE and gfx.mouse_x < EDGE + 80 and gfx.mouse_y >= button_y and gfx.mouse_y < button_y + ROW
	local pressed = down and not was_down and on
	was_down = down
	if pressed then sb.gestures.cancel() end
	return not pressed
end
