-- What the project's regions say: a region named after a sound marks where it is heard.
local sb = ...

local function all_regions()
	local regions, i = {}, 0
	while true do
		local more, is_region, from_s, to_s, name = reaper.EnumProjectMarkers3(sb.PROJECT, i)
		if more == 0 then return regions end
		name = name:match("^%s*(.-)%s*$"):lower()
		if is_region and name ~= "" then regions[#regions + 1] = { from_s = from_s, to_s = to_s, name = name } end
		i = i + 1
	end
end

-- The distinct names of the regions over a piece as {prompt, present, absent}, in order of the timeline.
function sb.wishes_of_regions(piece)
	local wishes, by_name, over = {}, {}, {}
	for _, region in ipairs(all_regions()) do
		if region.from_s < piece.position_s + piece.length_s and piece.position_s < region.to_s then over[#over + 1] = region end
	end
	for _, region in ipairs(over) do
		if region.name ~= "-" and not region.name:find("^no ") then
			local wish = by_name[region.name]
			if not wish then
				wish = { prompt = region.name, present = {}, absent = {} }
				by_name[region.name], wishes[#wishes + 1] = wish, wish
			end
			table.insert(wish.present, region)
		end
	end
	for _, region in ipairs(over) do
		for _, wish in ipairs(wishes) do
			if region.name == "-" or region.name == "no " .. wish.prompt then table.insert(wish.absent, region) end
		end
	end
	return wishes
end
