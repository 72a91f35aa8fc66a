//! Templates with the features of published ones, and templates that mean harm.

use serde_json::{Value as Json, json};

use super::*;

fn template(source: &str) -> ChatTemplate {
    let config = br#"{"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}}"#;
    ChatTemplate::parse(Some(config), Some(source.as_bytes())).unwrap()
}

fn rendered(source: &str, messages: &[Json]) -> String {
    template(source).render(messages, true).unwrap()
}

/// The error of a template that gets two messages.
fn fails(source: &str) -> Error {
    template(source).render(&[user("Hi"), said("assistant", "Yes?")], true).unwrap_err()
}

fn said(role: &str, content: &str) -> Json {
    json!({"role": role, "content": content})
}

fn user(content: &str) -> Json {
    said("user", content)
}

/// In the manner of SmolLM2's: `ChatML`, and a system message of its own where none is given.
const CHATML: &str = "\
{% for message in messages %}
    {% if loop.first and messages[0]['role'] != 'system' %}
{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging \
Face<|im_end|>\\n' }}
    {%- endif %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
";

#[test]
fn chatml_with_its_own_system_message() {
    let expected = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by \
                    Hugging Face<|im_end|>\n<|im_start|>user\nWhat is gravity? Answer in one \
                    sentence.<|im_end|>\n<|im_start|>assistant\n";
    let question = [Message::user("What is gravity? Answer in one sentence.")];
    assert_eq!(template(CHATML).render(&question, true).unwrap(), expected);
    let with_system = [Message::system("Be brief."), Message::user("Hi")];
    assert_eq!(
        template(CHATML).render(&with_system, false).unwrap(),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    );
}

/// In the manner of Llama 3's: the system message is taken out, the date told, contents trimmed,
/// roles in headers.
#[test]
fn headers_a_date_and_a_system_message_that_is_sliced_off() {
    let source = "\
{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now('%d %b %Y') %}
    {%- else %}
        {%- set date_string = '26 Jul 2024' %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = '' %}
{%- endif %}
{{- '<|system|>' }}
{%- if tools is not none %}{{- 'Environment: ipython\n' }}{%- endif %}
{{- 'Today: ' + date_string + '\n' + system_message + '<|eot|>' }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|' + message['role'] + '|>' + message['content'] | trim + '<|eot|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}
";
    let text = rendered(source, &[said("system", " Be kind. "), user("  Hi\n"), said("tool", "x")]);
    let today = date::Date::now().format("%d %b %Y").unwrap();
    let expected =
        format!("<s><|system|>Today: {today}\nBe kind.<|eot|><|user|>Hi<|eot|><|assistant|>");
    assert_eq!(text, expected);
}

/// In the manner of Qwen 3's: a namespace, a walk backwards, thinking that is split off, string
/// methods.
#[test]
fn thinking_is_taken_out_of_all_turns_before_the_last_question() {
    let source = "\
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == 'user' and message.content is string and \
not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if message.role == 'assistant' %}
        {%- set thought = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thought = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n') %}
            {%- set thought = thought.split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or thought) %}
            {{- '[' + thought.strip('\\n') + ']' }}
        {%- endif %}
        {{- 'A:' + content + ';' }}
    {%- else %}
        {{- 'U:' + content + ';' }}
    {%- endif %}
{%- endfor %}
{%- if enable_thinking is defined and enable_thinking is false %}no{% endif %}";
    let messages = [
        user("one"),
        said("assistant", "<think>\nhm\n</think>\n\nfirst"),
        user("two"),
        said("assistant", "<think>\nwell\n</think>\n\nsecond"),
        json!({"role": "user", "content": "<tool>7</tool>"}),
        json!({"role": "assistant", "content": null, "reasoning_content": "\nso\n"}),
    ];
    let expected = "U:one;A:first;U:two;[well]A:second;U:<tool>7</tool>;[so]A:;";
    assert_eq!(rendered(source, &messages), expected);
}

/// In the manner of Mistral's: turns must alternate, the system message goes into a question,
/// dictionaries.
#[test]
fn turns_that_do_not_alternate_are_refused_in_the_template_s_words() {
    let source = "\
{{- bos_token }}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate: ' ~ message.get('name', 'nobody') ~ '!') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' + message['content'] + ' [/INST]' }}
    {%- else %}
        {{- ' ' + message['content'] + eos_token }}
    {%- endif %}
{%- endfor %}";
    let good = [user("Hi"), said("assistant", "Yes?"), user("Why?")];
    assert_eq!(rendered(source, &good), "<s>[INST] Hi [/INST] Yes?</s>[INST] Why? [/INST]");
    let error = template(source).render(&[user("Hi"), user("Hi")], true).unwrap_err();
    let expected =
        "the model's chat template refuses these messages: Roles must alternate: nobody!";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn whitespace_around_blocks_is_trimmed_as_transformers_does() {
    let source = "a\n  {% if true %}\n  b\n  {% endif %}\nc\n{# note #}\n  d\n";
    assert_eq!(rendered(source, &[]), "a\n  b\nc\n  d");
}

#[test]
fn json_is_written_as_python_writes_it() {
    let message =
        json!({"role": "user", "content": "<a href='x'>é &\"\n", "n": [1, 2.5, true, null, {}]});
    let one_line =
        r#"{"role": "user", "content": "<a href='x'>é &\"\n", "n": [1, 2.5, true, null, {}]}"#;
    let messages = std::slice::from_ref(&message);
    assert_eq!(rendered("{{ messages[0] | tojson }}", messages), one_line);
    assert_eq!(rendered("{{ messages[0] | tojson(ensure_ascii=False) }}", messages), one_line);
    let indented = rendered("{{ messages[0].n[:2] | tojson(indent=4) }}", messages);
    assert_eq!(indented, "[\n    1,\n    2.5\n]");
    assert_eq!(rendered("{{ [1, 2] | tojson(2) }}", &[]), "[\n  1,\n  2\n]");
    let tight = "{{ {'a': 1, 'b': [1, 2]} | tojson(separators=(',', ':')) }}";
    assert_eq!(rendered(tight, &[]), r#"{"a":1,"b":[1,2]}"#);
}

#[test]
fn json_options_that_are_not_kept_are_refused() {
    for source in ["ensure_ascii=true", "sort_keys=true", "indent=1000", "separators=(1,)"] {
        let error = fails(&format!("{{{{ [1] | tojson({source}) }}}}"));
        assert!(matches!(error, Error::TemplateFails { .. }), "{source}: {error}");
    }
}

#[test]
fn dictionaries_keep_their_order_and_have_python_s_methods() {
    let messages = [json!({"zebra": 1, "apple": 2, "mango": 3})];
    let items = "{% for key, value in messages[0].items() %}{{ key }}={{ value }} {% endfor %}";
    assert_eq!(rendered(items, &messages), "zebra=1 apple=2 mango=3 ");
    let get =
        "{% set m = messages[0] %}{{ m.get('apple') }}{{ m.get('pear') }}{{ m.get('p', 'x') }}";
    assert_eq!(rendered(get, &messages), "2Nonex");
    assert_eq!(
        rendered("{{ messages[0].keys() | list | join(',') }}", &messages),
        "zebra,apple,mango"
    );
}

#[test]
fn strings_have_python_s_methods() {
    for (expression, printed) in [
        ("', '.join(['a', 'b'])", "a, b"),
        ("'aXbX'.replace('X', '-')", "a-b-"),
        ("'aXbX'.replace('X', '-', 1)", "a-bX"),
        ("'Ab'.upper() + 'Ab'.lower()", "ABab"),
        ("' x '.strip() + 'xxaxx'.strip('x')", "xa"),
        ("'abc'.startswith(('x', 'a'))", "True"),
        ("'a-b-c'.split('-', 1) | length", "2"),
        ("'abc'.find('c')", "2"),
    ] {
        assert_eq!(rendered(&format!("{{{{ {expression} }}}}"), &[]), printed, "{expression}");
    }
}

#[test]
fn none_and_truth_are_printed_with_a_capital() {
    assert_eq!(
        rendered("{{ none }} {{ 1 == 1 }} {{ not true }} {{ nothing }}.", &[]),
        "None True False ."
    );
}

#[test]
fn lines_may_end_in_any_way() {
    let source = "{% if true %}\r\na\rb{{ '\r\n' }}\r\n{% endif %}\r\nc";
    assert_eq!(rendered(source, &[]), "a\nb\n\nc");
}

#[test]
fn tests_of_a_type_answer_as_python_does() {
    for (expression, is_true) in [
        ("none is iterable", false),
        ("1 is iterable", false),
        ("'ab' is iterable and [] is iterable and {} is iterable", true),
        ("'ab' is sequence and [] is sequence and {} is sequence", true),
        ("none is sequence or 1 is sequence", false),
        ("nothing is sequence and nothing is iterable", true),
        ("{} is mapping and 'ab' is not mapping and 'ab' is string", true),
    ] {
        let text = rendered(&format!("{{{{ {expression} }}}}"), &[]);
        assert_eq!(text, if is_true { "True" } else { "False" }, "{expression}");
    }
}

#[test]
fn loops_can_break_and_continue() {
    let source = "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}\
                  {% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}";
    assert_eq!(rendered(source, &[]), "023");
}

#[test]
fn the_generation_block_is_transparent() {
    let source = "{% for m in messages %}{% generation %}\n{{ m.content }}\
                  {%- endgeneration -%}\n{% endfor %}";
    assert_eq!(rendered(source, &[user("a"), user("b")]), "ab");
}

#[test]
fn macros_and_values_that_are_set_by_blocks() {
    let source = "{% macro say(who, what='hi') %}{{ who }}:{{ what }};{% endmacro %}\
                  {% set greeting %}{{ say('a') }}{% endset %}\
                  {{ greeting }}{{ say('b', what='ho') }}";
    assert_eq!(rendered(source, &[]), "a:hi;b:ho;");
}

#[test]
fn the_file_wins_over_the_configuration_and_a_list_has_a_default() {
    let parse = |config: &str, file: Option<&str>| {
        let template = ChatTemplate::parse(Some(config.as_bytes()), file.map(str::as_bytes))?;
        template.render::<Json>(&[], false)
    };
    assert_eq!(parse(r#"{"chat_template": "config"}"#, Some("file")).unwrap(), "file");
    assert_eq!(parse(r#"{"chat_template": "config"}"#, None).unwrap(), "config");
    let list = r#"{"chat_template": [{"name": "rag", "template": "r"},
                                        {"name": "default", "template": "d"}]}"#;
    assert_eq!(parse(list, None).unwrap(), "d");
    let error =
        parse(r#"{"chat_template": [{"name": "rag", "template": "t"}]}"#, None).unwrap_err();
    assert!(error.to_string().ends_with("called `default`, only rag"), "{error}");
    assert!(matches!(parse("{}", None), Err(Error::NoChatTemplate)));
    assert!(matches!(ChatTemplate::parse(None, None), Err(Error::NoChatTemplate)));
    assert!(matches!(parse("[]x", None), Err(Error::Json { file: "tokenizer_config.json", .. })));
    assert!(matches!(ChatTemplate::parse(None, Some(b"\xFF")), Err(Error::TemplateNotUtf8 { .. })));
}

#[test]
fn tokens_that_are_not_set_are_not_defined() {
    assert_eq!(
        rendered("{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}", &[]),
        "<s></s>False"
    );
}

#[test]
fn mistakes_of_the_template_are_told_with_their_line() {
    let error = ChatTemplate::parse(None, Some(b"a\n{% if %}")).unwrap_err().to_string();
    assert!(
        error.starts_with("the chat template does not parse") && error.contains(":2"),
        "{error}"
    );
    let error = fails("a\nb\n{{ messages[0].content.no_such_method() }}").to_string();
    assert!(error.starts_with("the chat template failed") && error.contains(":3"), "{error}");
    let other = ChatTemplate::parse(None, Some(b"{% include 'another template' %}"));
    assert!(matches!(other, Err(Error::TemplateSyntax { .. })));
}

#[test]
fn templates_that_do_not_end_are_ended() {
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    assert!(matches!(fails(endless), Error::TemplateEndless { .. }));
    let doubling = "{% set n = namespace(x='ab') %}\
                    {% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}";
    assert!(matches!(fails(doubling), Error::TemplateEndless { .. }));
    let recursive = "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}";
    assert!(matches!(fails(recursive), Error::TemplateFails { .. }));
}

#[test]
fn templates_that_write_without_end_are_ended() {
    let long = "{% set x = 'abcdefgh' * 100000 %}";
    let flood = format!("{long}{{% for i in range(9999) %}}{{{{ x }}}}{{% endfor %}}");
    assert!(matches!(fails(&flood), Error::TemplateOutput { .. } | Error::TemplateEndless { .. }));
    for harm in [
        "{{ x.replace('a', x) }}",
        "{{ x.join([x] * 10000) }}",
        "{{ [x] * 10000 }}",
        "{{ ([x] * 10000) | tojson }}",
        "{{ '{:>99999999999}'.format('x') }}",
        "{{ ('b' * 10000000).strip(x) }}",
        "{{ x.startswith([x] * 1000000) }}",
    ] {
        let started = std::time::Instant::now();
        let error = fails(&format!("{long}{harm}"));
        assert!(started.elapsed().as_secs() < 20, "{harm}: {error}");
    }
}

#[test]
fn a_template_beyond_the_limit_is_refused_with_both_numbers() {
    let error = ChatTemplate::parse(None, Some(&vec![b'a'; MAX_TEMPLATE_BYTES + 1])).unwrap_err();
    assert_eq!(error.to_string(), "the chat template is 1048577 bytes long, the limit is 1048576");
}

#[test]
fn a_long_conversation_is_far_from_the_limits() {
    let text = "word ".repeat(2000);
    let messages: Vec<Json> = (0..1000).map(|_| user(&text)).collect();
    assert!(rendered(CHATML, &messages).len() > 10_000_000);
}
