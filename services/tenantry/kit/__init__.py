"""What every service is built with: one small module a concern, none of which knows a service's words."""
