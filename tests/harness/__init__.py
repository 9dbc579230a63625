"""The bench that tests stand on: stores that are really started, a clock that stands still, and what was left out."""
