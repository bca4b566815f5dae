"""What is learned of a conversation is what the model would have to write, to the token that ends it."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_chat import CHATML, SPECIAL, tokenizer

from nimble_lightning.llm.chat_masks import BadConversation, ChatEncoder, stop_tokens
from nimble_lightning.llm.packing import IGNORED, Example

TALK = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "who?"},
    {"role": "assistant", "content": "the cat"},
    {"role": "user", "content": "why?"},
    {"role": "assistant", "content": "a dog"},
]
# As Qwen3: what was thought is only written in the last turn.
THINKS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# What is asked ends within a word, of which the tokenizer makes one token.
JOINS = CHATML.replace(
    "m['content'] +", "(' gre' if m['role'] == 'assistant' else '') + m['content'] +"
).replace("assistant\n' }}{% endif", "assistant\n gre' }}{% endif")
JOINED = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "en"}]


def learned(words: Any, example: Example) -> str:
    return str(words.decode([label for label in example.labels if label != IGNORED]))


def test_answers_are_learned_to_the_token_that_ends_them_and_nothing_else_is() -> None:
    words = tokenizer()
    (example,) = ChatEncoder(words)(TALK)
    assert words.decode(example.ids) == words.apply_chat_template(TALK, tokenize=False)
    assert learned(words, example) == "the cat<|im_end|>a dog<|im_end|>"
    assert example.ids == words.apply_chat_template(TALK, tokenize=True, return_dict=False)


def test_what_is_asked_is_what_generate_would_be_given() -> None:
    words = tokenizer()
    (example,) = ChatEncoder(words, learn="last_answer")(TALK)
    first = next(n for n, label in enumerate(example.labels) if label != IGNORED)
    prompt = words.apply_chat_template(TALK[:-1], add_generation_prompt=True, return_dict=False)
    assert example.ids[:first] == prompt
    assert learned(words, example) == "a dog<|im_end|>"


def test_everything_can_be_learned() -> None:
    (example,) = ChatEncoder(tokenizer(), learn="everything")(TALK)
    assert example.labels == example.ids


def test_a_template_that_rewrites_earlier_turns_gives_an_example_an_answer() -> None:
    words = tokenizer(THINKS)
    encoder = ChatEncoder(words)
    first, second = encoder(TALK)
    assert learned(words, first) == "<think>\n\n</think>\n\nthe cat<|im_end|>"
    assert learned(words, second) == "<think>\n\n</think>\n\na dog<|im_end|>"
    # As it would be asked: without the thoughts of the turn before.
    assert words.decode(second.ids).count("<think>") == 1
    assert encoder.rewrites == 1


@pytest.mark.parametrize(
    ("template", "talk", "said"),
    [
        (CHATML, TALK[:2], "nobody answers"),
        (CHATML.replace("<|im_end|>", "<|endoftext|>"), TALK, "never learn to stop"),
        (CHATML.replace("m['content'] +", "m['content'][:3] +"), TALK, "leaves out, or changes, 'the cat'"),
        (CHATML.replace("assistant\n' }}{% endif", "assistant\n<think>' }}{% endif"), TALK, "differently"),
        (JOINS, JOINED, "partly"),
        (
            CHATML.replace("<|im_end|>' + '\n'", "<|im_end|>'") + "{{ raise_exception('no tools') }}",
            TALK,
            "no tools",
        ),
        (CHATML, [*TALK[:2], {"role": "assistant", "content": "a<|im_end|>b"}], "would end there"),
        (None, TALK, "no chat template"),
    ],
    ids=["no answer", "no stop", "cut", "asked differently", "token across", "raises", "stop inside", "none"],
)
def test_what_would_be_learned_wrongly_is_refused_in_words(template: Any, talk: Any, said: str) -> None:
    with pytest.raises(BadConversation, match=said):
        ChatEncoder(tokenizer(template))(talk)


def test_a_beginning_that_is_there_twice_is_refused() -> None:
    words = tokenizer("<|endoftext|><|endoftext|>" + CHATML, bos_token="<|endoftext|>")
    with pytest.raises(BadConversation, match="twice"):
        ChatEncoder(words)(TALK)


def test_calls_of_tools_are_learned_and_what_tools_say_is_not() -> None:
    template = CHATML.replace(
        "m['content'] +",
        "(m['tool_calls'][0]['function']['name'] + '()' if m['tool_calls'] else m['content']) +",
    )
    words = tokenizer(template)
    call = {"type": "function", "function": {"name": "clock", "arguments": {}}}
    talk = [
        {"role": "user", "content": "when?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "noon"},
        {"role": "assistant", "content": "at noon"},
    ]
    (example,) = ChatEncoder(words)(talk)
    assert learned(words, example) == "clock()<|im_end|>at noon<|im_end|>"


def test_tokens_that_end_an_answer_are_those_of_generate() -> None:
    class Generation:
        eos_token_id = [0, 2]

    assert stop_tokens(tokenizer(), Generation()) == ["<|im_end|>", "<|endoftext|>"]
    assert stop_tokens(tokenizer()) == [SPECIAL[-1]]
