-- What the project's regions say: a region named after a sound marks where it is heard.
local sb = ...

-- The i-th region or marker, from 0: whether it is a region, from, to, name; nothing after the last. REAPER 7.62 brought
-- functions of which each takes one marker, and advises against the older one, which earlier versions have.
local function marker(i)
	if reaper.APIExists("GetRegionOrMarker") then
		local found = i < reaper.GetNumRegionsOrMarkers(sb.PROJECT) and reaper.GetRegionOrMarker(sb.PROJECT, i, "")
		if not found then return nil end
		local function value(key) return reaper.GetRegionOrMarkerInfo_Value(sb.PROJECT, found, key) end
		local _, name = reaper.GetSetRegionOrMarkerInfo_String(sb.PROJECT, found, "P_NAME", "", false)
		return value("B_ISREGION") == 1, value("D_STARTPOS"), value("D_ENDPOS"), name
	end
	local more, is_region, from_s, to_s, name = reaper.EnumProjectMarkers3(sb.PROJECT, i)
	if more == 0 then return nil end
	return is_region, from_s, to_s, name
end

local function all_regions()
	local regions, i = {}, 0
	while true do
		local is_region, from_s, to_s, name = marker(i)
		if is_region == nil then return regions end
		name = (name or ""):match("^%s*(.-)%s*$"):lower()
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
