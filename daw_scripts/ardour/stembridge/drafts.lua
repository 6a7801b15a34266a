-- Drafts: stems that are heard while the engine refines them. Ardour's scripts cannot give a region another sound, so the
-- result comes as a new region in the draft's place.
local sb = ...

sb.drafts = {} -- rid → what a final status would say of the draft's files; false when there is none to bring in any more

-- What a status says of a draft that is not in the session yet, or nil.
function sb.draft_of(entry, status)
	if entry.drafted or sb.drafts[entry.rid] ~= nil then return nil end
	if not (status.draft_target and status.draft_residual) then return nil end
	return {
		state = "done", is_draft = true, prompt = status.prompt, channels = status.channels,
		sample_rate = status.sample_rate, target = status.draft_target, residual = status.draft_residual,
	}
end

-- The entry's draft is in the session; the ids of its sound are written down, so that the result finds it after a restart.
function sb.remember_draft(entry, stems)
	sb.drafts[entry.rid] = false
	entry.drafted = { target = sb.source_id(stems.target), residual = sb.source_id(stems.residual) }
	return sb.open_entry(entry) -- the newest line of an entry counts
end

-- Puts results in their drafts' places, in one undo step: `swaps` are {entry, stems}. Returns the entries whose draft is no
-- longer as it came in, and what went wrong, or nil.
function sb.swap_drafts(swaps)
	local changed, works = {}, {}
	for _, swap in ipairs(swaps) do
		local found = 0
		for kind, region in pairs(swap.stems) do
			for _, place in ipairs(sb.untouched(swap.entry.drafted[kind], swap.entry.position, swap.entry.length)) do
				works[#works + 1] = function() sb.replace(place, region) end
				found = found + 1
			end
		end
		if found == 0 then changed[#changed + 1] = swap.entry end
	end
	if #works == 0 then return changed end
	return changed, sb.undoable("Stembridge: refine the draft", function()
		for _, work in ipairs(works) do work() end
	end)
end
