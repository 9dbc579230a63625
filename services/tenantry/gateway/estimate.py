"""How many tokens a text has where nobody counts them: high enough to hold, close enough to settle by. What they cost."""

# A tokenizer of bytes makes at most a token of a byte, and words of the most frequent letters: an eighth of a token is enough for
# one of these. docs/adr/tokens.md says what was measured.
_FREQUENT = b"etaoinsrhld"
_FREQUENT_A_TOKEN = 8
# English has more than four bytes a token, code and other scripts three or less.
_LIKELY_BYTES_A_TOKEN = 3
# What is written is told as it streams by a lower estimate: a whole answer must fit its own hold.
_BYTES_A_TOKEN_AT_MOST = 4
# A message, and a passage, in the frames that models puts around them.
_MESSAGE_TOKENS = 8
_PASSAGE_FRAME_TOKENS = 20
_PASSAGES_FRAME_TOKENS = 90
# A passage is cut to 1,200 characters: 300 tokens of English.
_PASSAGE_TOKENS = 420


def most_tokens(text: str) -> int:
    """An upper estimate: not below what OpenAI's tokenizers make of prose in any script, code, JSON, digits, hex or base64, and
    about twice what they make of English.

    Letters in an order that no language has can have more: random frequent ones up to four times the estimate, `aAaA` twice, no
    text more than eight times. What such a request uses above its hold is a debt when it settles.
    """
    size = len(data := text.encode())
    dense = len(data.translate(None, _FREQUENT))
    return dense - (dense - size) // _FREQUENT_A_TOKEN


def likely_tokens(text: str) -> int:
    """The estimate to settle by where a provider reported nothing: half as much again as English has, about what others have."""
    return -(-len(text.encode()) // _LIKELY_BYTES_A_TOKEN)


def frame_tokens(messages: int, passages: int = 0) -> int:
    """What stands around messages and passages that are counted by themselves."""
    return messages * _MESSAGE_TOKENS + passages * _PASSAGE_FRAME_TOKENS + bool(passages) * _PASSAGES_FRAME_TOKENS


def expected_passages_tokens(passages: int) -> int:
    """So many passages with their frames, before they are searched: enough for English. What other scripts take beyond it is a
    debt at settlement."""
    return passages * _PASSAGE_TOKENS


def written_tokens(size: int) -> int:
    """A lower estimate of so many bytes of an answer."""
    return size // _BYTES_A_TOKEN_AT_MOST


def cost_micros(input_tokens: int, output_tokens: int, input_price_micros: int, output_price_micros: int) -> int:
    """The cost in millionths of a dollar, rounded up; prices are for a million tokens."""
    return -(-(input_tokens * input_price_micros + output_tokens * output_price_micros) // 1_000_000)
