"""The Lua that runs in the books; `rules.lua` goes before each script that touches a bucket."""
