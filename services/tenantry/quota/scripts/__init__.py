"""The Lua that runs in the books; the rules' own files go before each script that touches a bucket."""
