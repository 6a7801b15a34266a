-- Drafts: stems that are heard while the engine goes on. Ardour's scripts cannot give a region another sound, so a draft of
-- more, and at last the result, comes as a new region in the place of the one before.
local sb = ...

sb.drafts = {} -- rid → what a final status would say of the draft's files that are to be brought in
local tried = {} -- rid → the path of the last draft's target that was brought in, or could not be

-- What a status says of a draft that is not in the session yet, or nil. One that holds no more than the one that is in is
-- that one, or comes of an engine that was started again.
function sb.draft_of(entry, status)
	local target, residual, n = status.draft_target, status.draft_residual, status.draft_samples
	if not (target and residual) or target == tried[entry.rid] then return nil end
	local part = n and n < entry.length and { first = status.draft_position_samples - entry.position, n = n } or nil
	local last = entry.drafts and entry.drafts[#entry.drafts]
	if last and not (last.part and (not part or part.n > last.part.n)) then return nil end
	return {
		state = "done", is_draft = true, prompt = status.prompt, channels = status.channels, part = part,
		sample_rate = status.sample_rate, target = target, residual = residual,
	}
end

-- The entry's draft will not be brought in, or is in: one of more may come.
function sb.pass_draft(entry)
	tried[entry.rid] = sb.drafts[entry.rid] and sb.drafts[entry.rid].target
	sb.drafts[entry.rid] = nil
end

-- The entry's draft is in the session; the ids of its sound are written down, so that what takes its place finds it after a
-- restart; and those before it, which come back when it is undone.
function sb.remember_draft(entry, stems)
	entry.drafts = entry.drafts or {}
	table.insert(entry.drafts, {
		target = sb.source_id(stems.target), residual = sb.source_id(stems.residual), part = sb.drafts[entry.rid].part,
	})
	sb.pass_draft(entry)
	return sb.open_entry(entry) -- the newest line of an entry counts
end

-- Where the person listens, in the file that is separated, where that is within what comes back; else nil. What is removed
-- sounds no more as soon as a draft is in, so that must be a draft of the whole.
function sb.playhead_of(request, op)
	local at = request.start + Session:transport_sample() - request.position
	return op ~= "remove" and at >= request.start and at < request["end"] and at or nil
end

-- Where a part of an entry's stems lies, or all of them: position, length.
function sb.lies_at(entry, part)
	if not part then return entry.position, entry.length end
	return entry.position + part.first, part.n
end

-- The regions that play an entry's drafts and are still as they came in: {kind, place}.
function sb.drafts_left(entry)
	local left = {}
	for _, draft in ipairs(entry.drafts) do
		local position, length = sb.lies_at(entry, draft.part)
		for _, kind in ipairs({ "target", "residual" }) do
			for _, place in ipairs(sb.untouched(draft[kind], position, length)) do
				left[#left + 1] = { kind = kind, place = place }
			end
		end
	end
	return left
end

-- Puts drafts of more, or results, in their drafts' places, in one undo step: `swaps` are {entry, stems, part, note}. Returns the
-- entries whose draft is no longer as it came in, and what went wrong, or nil.
function sb.swap_drafts(swaps)
	local changed, works, part = {}, {}, nil
	for _, swap in ipairs(swaps) do
		local left = sb.drafts_left(swap.entry)
		for _, draft in ipairs(left) do
			works[#works + 1] = function()
				sb.replace(draft.place, swap.stems[draft.kind], (sb.lies_at(swap.entry, swap.part)))
				sb.annotate(draft.place.track, swap.note)
			end
		end
		if #left == 0 then changed[#changed + 1] = swap.entry end
		part = part or swap.part
	end
	if #works == 0 then return changed end
	return changed, sb.undoable(part and "Stembridge: more of the draft" or "Stembridge: refine the draft", function()
		for _, work in ipairs(works) do work() end
	end)
end
