"""The Lua that runs in the cache's Redis; `state.lua` goes before each script."""
