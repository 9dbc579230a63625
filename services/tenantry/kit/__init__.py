"""What every service is built with: one small module a concern, none of which knows a service's words."""

import os

# gRPC's core writes what it thinks of connections between our log's JSON lines; its errors only, unless somebody asks for more.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
