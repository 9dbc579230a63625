"""How many tokens a text has, before a provider counts them: high enough to hold, close enough to settle by."""

# English has about four bytes a token with today's tokenizers, code and other scripts about three or less.
_BYTES_A_TOKEN = 3
# What is written is told as it streams by a lower estimate: a whole answer must fit its own hold.
_BYTES_A_TOKEN_AT_MOST = 4
# What the frame around a message and around a passage costs.
_MESSAGE_TOKENS = 8
# A passage is cut to about 1,200 characters.
_PASSAGE_TOKENS = 420


def tokens_of(text: str) -> int:
    """An upper estimate for one message."""
    return -(-len(text.encode()) // _BYTES_A_TOKEN) + _MESSAGE_TOKENS if text else 0


def input_tokens(system: str, user: str, passages: int) -> int:
    """An upper estimate of what a model will read, before the passages are known."""
    return tokens_of(system) + tokens_of(user) + passages * _PASSAGE_TOKENS


def read_tokens(*texts: str) -> int:
    """An upper estimate of what a model has read, of all its messages and passages."""
    return sum(tokens_of(text) for text in texts)


def written_tokens(size: int) -> int:
    """A lower estimate of so many bytes of an answer."""
    return size // _BYTES_A_TOKEN_AT_MOST


def cost_micros(input_tokens: int, output_tokens: int, input_price_micros: int, output_price_micros: int) -> int:
    """The cost in millionths of a dollar, rounded up; prices are for a million tokens."""
    return -(-(input_tokens * input_price_micros + output_tokens * output_price_micros) // 1_000_000)
