//! What chat templates expect of Python and of transformers, on top of Jinja.
//!
//! - `raise_exception(message)` and `strftime_now(form)`
//! - `tojson` as `json.dumps(value, ensure_ascii=False)` writes it: no HTML escapes, `", "` and `":
//!   "` between items
//! - the tests `iterable` and `sequence` by Python's types: nothing is not iterable, text is a
//!   sequence
//! - `None`, `True` and `False` with a capital where they are printed
//! - the methods of strings, lists and dictionaries. Methods whose work or result can be much
//!   larger than the text that they are called on are paid for in steps, or go to the engine's own
//!   filters, which are.

use std::fmt;
use std::io;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};
use minijinja_contrib::pycompat;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::MAX_PROMPT_BYTES;
use super::bounded::Bounded;
use super::date::Date;

/// The template does not accept the messages, in its own words.
#[derive(Debug)]
pub(super) struct Refused(pub(super) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Adds all of it.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", to_json);
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", is_sequence);
    environment.set_formatter(print);
    environment.set_unknown_method_callback(call_method);
}

fn raise_exception(reason: String) -> Result<Value, Error> {
    let error = Error::new(ErrorKind::InvalidOperation, reason.clone());
    Err(error.with_source(Refused(reason)))
}

fn strftime_now(form: &str) -> Result<String, Error> {
    Date::now().format(form).map_err(|directive| {
        refusal(format!("strftime_now does not know the directive `%{directive}`"))
    })
}

fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Whether it has a length and items, as even what is undefined has in Jinja.
fn is_sequence(value: &Value) -> bool {
    use ValueKind::{Map, Seq, String, Undefined};
    matches!(value.kind(), String | Seq | Map | Undefined)
}

/// Prints an expression. Text goes out as it is; what has a shape is written within the bound of a
/// prompt, because a list may hold the same long text many times.
fn print(output: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let printed = match value.kind() {
        ValueKind::None => "None",
        ValueKind::Bool if value.is_true() => "True",
        ValueKind::Bool => "False",
        ValueKind::String => value.as_str().unwrap_or_default(),
        _ => {
            return Ok(output
                .write_str(&bounded(|to| io::Write::write_fmt(to, format_args!("{value}")))?)?);
        }
    };
    Ok(output.write_str(printed)?)
}

/// The filter of transformers: of Python's arguments those that templates use.
#[expect(clippy::needless_pass_by_value, reason = "the engine passes arguments by value")]
fn to_json(value: &Value, indent: Option<usize>, named: Kwargs) -> Result<Value, Error> {
    let indent = indent.or(named.get::<Option<usize>>("indent")?);
    let separators = named.get::<Option<Vec<String>>>("separators")?;
    if named.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(refusal("tojson writes no ASCII escapes".to_owned()));
    }
    named.assert_all_used()?;
    let json = match (indent, separators) {
        (Some(indent), _) => {
            if indent > MAX_INDENT {
                return Err(refusal(format!("tojson indents by {MAX_INDENT} at most")));
            }
            write_json(value, PrettyFormatter::with_indent(&b" ".repeat(indent)))
        }
        (None, Some(separators)) if separators.len() == 2 => {
            write_json(value, Separated { item: &separators[0], key: &separators[1] })
        }
        (None, Some(_)) => Err(refusal("separators are two: of items and of keys".to_owned())),
        (None, None) => write_json(value, Separated { item: ", ", key: ": " }),
    };
    json.map(Value::from)
}

fn write_json(value: &Value, formatter: impl Formatter) -> Result<String, Error> {
    bounded(|to| {
        value.serialize(&mut Serializer::with_formatter(to, formatter)).map_err(io::Error::from)
    })
}

/// What is written, unless it is longer than a prompt may be.
fn bounded(write: impl FnOnce(&mut Bounded) -> io::Result<()>) -> Result<String, Error> {
    let mut written = Bounded::default();
    write(&mut written).map_err(|source| {
        let what = if written.is_full {
            format!("a value has more than {MAX_PROMPT_BYTES} bytes when it is written")
        } else {
            "a value cannot be written".to_owned()
        };
        refusal(what).with_source(source)
    })?;
    Ok(String::from_utf8(written.bytes).expect("JSON and Display are UTF-8"))
}

/// JSON on one line, with the separators of Python's choice.
struct Separated<'a> {
    item: &'a str,
    key: &'a str,
}

impl Formatter for Separated<'_> {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        to: &mut W,
        first: bool,
    ) -> io::Result<()> {
        to.write_all(if first { b"" } else { self.item.as_bytes() })
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        to: &mut W,
        first: bool,
    ) -> io::Result<()> {
        to.write_all(if first { b"" } else { self.item.as_bytes() })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(self.key.as_bytes())
    }
}

/// A method that the engine does not have itself.
fn call_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let with_value = || [std::slice::from_ref(value), arguments].concat();
    match (value.kind(), method, arguments) {
        (ValueKind::String, "replace", _) => state.apply_filter("replace", &with_value()),
        (ValueKind::String, "join", [items]) => {
            state.apply_filter("join", &[items.clone(), value.clone()])
        }
        // Its widths and repeated fields could ask for any amount of memory.
        (ValueKind::String, "format", _) => Err(Error::from(ErrorKind::UnknownMethod)),
        _ => {
            let per_byte = arguments.first().and_then(Value::len).unwrap_or(1);
            state.consume_fuel((value.len().unwrap_or(1).saturating_mul(per_byte) / 64) as u64)?;
            pycompat::unknown_method_callback(state, value, method, arguments)
        }
    }
}

fn refusal(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// Python's examples have 2 or 4; every level of nesting has as much again.
const MAX_INDENT: usize = 16;
