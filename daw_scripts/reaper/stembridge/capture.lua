-- Writes what a take plays into a WAV file (32-bit float), a little in each tick.
local sb = ...

local BLOCK = 256  -- frames read at once
local AT_ONCE = 128 -- values packed at once
local FORMAT = "<" .. ("f"):rep(AT_ONCE)

function sb.exists(path)
	local file = path and io.open(path, "rb")
	if file then file:close() end
	return file ~= nil
end

local function header(capture)
	local n_bytes, frame = capture.n * capture.n_channels * 4, capture.n_channels * 4
	return string.pack("<c4I4c4c4I4I2I2I4I4I2I2c4I4I4c4I4", "RIFF", n_bytes + 48, "WAVE", "fmt ", 16, 3, capture.n_channels,
		capture.rate_hz, capture.rate_hz * frame, frame, 32, "fact", 4, capture.n, "data", n_bytes)
end

-- A capture that `sb.capture_some` carries on, or nil and why not.
function sb.begin_capture(entry)
	local capture = entry.capture
	local take = reaper.GetMediaItemTakeByGUID(sb.PROJECT, entry.piece.take_id)
	if not take then return nil, "is no longer there" end
	local file, why = io.open(capture.path .. ".part", "wb")
	if not file then return nil, "cannot be read into a file: " .. tostring(why) end
	file:write(header(capture))
	local accessor = reaper.CreateTakeAudioAccessor(take)
	return {
		capture = capture, take = take, file = file, accessor = accessor, done = 0,
		from_s = reaper.GetAudioAccessorStartTime(accessor) + capture.first_s,
		buffer = reaper.new_array(BLOCK * capture.n_channels),
	}
end

function sb.end_capture(work)
	reaper.DestroyAudioAccessor(work.accessor)
	work.file:close()
	os.remove(work.capture.path .. ".part")
end

local function pack(values)
	local parts, n = {}, #values
	for i = 1, n - AT_ONCE + 1, AT_ONCE do
		parts[#parts + 1] = string.pack(FORMAT, table.unpack(values, i, i + AT_ONCE - 1))
	end
	for i = n - n % AT_ONCE + 1, n do parts[#parts + 1] = string.pack("<f", values[i]) end
	return table.concat(parts)
end

-- One block. Returns true while there is more, false when the file is whole, or nil and why it never will be.
function sb.capture_some(work)
	local capture = work.capture
	if not reaper.ValidatePtr2(sb.PROJECT, work.take, "MediaItem_Take*") or reaper.AudioAccessorStateChanged(work.accessor) then
		sb.end_capture(work)
		return nil, "was changed while it was read. Please ask again"
	end
	local n = math.min(BLOCK, capture.n - work.done)
	work.buffer.clear() -- where there is no audio, nothing is written into it
	local got = reaper.GetAudioAccessorSamples(work.accessor, capture.rate_hz, capture.n_channels,
		work.from_s + work.done / capture.rate_hz, n, work.buffer)
	local ok, why = got >= 0, "REAPER gave no samples"
	if ok then ok, why = work.file:write(pack(work.buffer.table(1, n * capture.n_channels))) end
	if not ok then
		sb.end_capture(work)
		return nil, "cannot be read into a file: " .. tostring(why)
	end
	work.done = work.done + n
	if work.done < capture.n then return true end
	reaper.DestroyAudioAccessor(work.accessor)
	ok, why = work.file:close()
	if ok then ok, why = os.rename(capture.path .. ".part", capture.path) end
	if not ok then return nil, "cannot be read into a file: " .. tostring(why) end
	return false
end
