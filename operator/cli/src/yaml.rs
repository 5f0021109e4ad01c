//! YAML as kubectl reads it, which is YAML 1.1 in what a plain word means: `0644` is a number and `yes` is true.
//!
//! A reader of YAML 1.2 would make other objects of the same file. So files are read by the rules of the library that kubectl uses
//! (<https://github.com/kubernetes-sigs/yaml>), and what is written means the same to both.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};

/// The most values in a file once its aliases are resolved. A few lines could stand for any number.
const MAX_VALUES: usize = 1_000_000;

/// The documents of a text, those that are empty left out. The error says what is wrong and where.
pub(crate) fn read(text: &str) -> Result<Vec<Value>, String> {
    let json = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    if text.trim_start().starts_with('{')
        && let Ok(documents) = json.collect::<Result<Vec<_>, _>>()
    {
        return Ok(documents);
    }
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        let line = span.start.line();
        reader
            .take(event)
            .map_err(|error| format!("line {line}: {error}"))?;
    }
    reader.documents.retain(|document| !document.is_null());
    Ok(reader.documents)
}

/// A value as YAML that every reader understands alike.
pub(crate) fn write(value: &Value) -> Result<String, serde_yaml::Error> {
    let text = value.to_string();
    let mark = (0_u32..).map(|number| format!("quoted-{number}-"));
    let mark = mark.into_iter().find(|mark| !text.contains(mark));
    let mark = mark.unwrap_or_default();
    let mut quoted = Vec::new();
    let marked = marked(value, &mark, &mut quoted);
    let mut yaml = serde_yaml::to_string(&marked)?;
    for (number, text) in quoted.iter().enumerate() {
        yaml = yaml.replacen(&place(&mark, number), &in_quotes(text), 1);
    }
    Ok(yaml)
}

/// What stands for the text of this number until it is written in quotes.
fn place(mark: &str, number: usize) -> String {
    format!("{mark}{number}-")
}

/// The line breaks that only YAML 1.1 knows: between quotes the one that reads it would make spaces of them.
const OLD_BREAKS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// A text as JSON, which is YAML.
fn in_quotes(text: &str) -> String {
    let json = Value::from(text).to_string();
    let breaks = OLD_BREAKS.into_iter();
    breaks.fold(json, |json, it| {
        json.replace(it, &format!("\\u{:04x}", u32::from(it)))
    })
}

/// `value` with a mark for each text that would be no text without quotes. The serializer knows only YAML 1.2.
fn marked<'v>(value: &'v Value, mark: &str, quoted: &mut Vec<&'v str>) -> Value {
    let text = |text: &'v str, quoted: &mut Vec<&'v str>| {
        let is_plain = text != "<<" && !text.contains(OLD_BREAKS);
        if is_plain && matches!(plain(text), Ok(Value::String(_))) {
            return text.to_owned();
        }
        quoted.push(text);
        place(mark, quoted.len() - 1)
    };
    match value {
        Value::String(word) => Value::String(text(word, quoted)),
        Value::Array(items) => {
            let items = items.iter().map(|item| marked(item, mark, quoted));
            Value::Array(items.collect())
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields =
                fields.map(|(key, value)| (text(key, quoted), marked(value, mark, quoted)));
            Value::Object(fields.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// What a plain word means.
fn plain(word: &str) -> Result<Value, String> {
    Ok(match word {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        _ => match number(word) {
            Some(number) => Value::Number(number?),
            None => Value::String(word.to_owned()),
        },
    })
}

/// The number that a word is, if it is one; an error if JSON has no such number.
fn number(word: &str) -> Option<Result<Number, String>> {
    let unsigned = word.trim_start_matches(['+', '-']);
    let is_named = ["inf", "Inf", "INF", "nan", "NaN", "NAN"]
        .iter()
        .any(|name| unsigned.strip_prefix('.') == Some(name));
    if is_named {
        return Some(Err(format!(
            "'{word}' is no number that an object can have"
        )));
    }
    if !word.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return None;
    }
    let digits = word.replace('_', "");
    whole(&digits).or_else(|| fraction(&digits)).map(Ok)
}

/// A whole number: decimal, or with its base in front; a leading zero is octal.
fn whole(digits: &str) -> Option<Number> {
    let (negative, unsigned) = match digits.as_bytes().first()? {
        b'-' => (true, &digits[1..]),
        b'+' => (false, &digits[1..]),
        _ => (false, digits),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // The standard library takes a sign there.
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, base).ok()?;
    if negative {
        Some(Number::from(0_i64.checked_sub_unsigned(magnitude)?))
    } else {
        Some(Number::from(magnitude))
    }
}

/// A number with a fraction or an exponent, or one that is too large for the others.
fn fraction(digits: &str) -> Option<Number> {
    let unsigned = digits.trim_start_matches(['+', '-']);
    let is_number = unsigned.len() + 1 >= digits.len()
        && unsigned.contains(|it: char| it.is_ascii_digit())
        && unsigned
            .chars()
            .all(|it| it.is_ascii_digit() || ".eE+-".contains(it));
    let value: f64 = digits.parse().ok().filter(|_| is_number)?;
    // A whole one is written without a fraction, and so no longer differs from the others.
    format!("{value:.0}")
        .parse()
        .ok()
        .filter(|_| value.fract() == 0.0)
        .map_or_else(|| Number::from_f64(value), |whole: i64| Some(whole.into()))
}

/// A collection that is not complete.
enum Open {
    List {
        anchor: usize,
        items: Vec<Value>,
    },
    Fields {
        anchor: usize,
        fields: Map<String, Value>,
        /// The key whose value comes next.
        key: Option<Key>,
        /// What is merged into it, where it has no such fields itself.
        merged: Vec<Value>,
    },
}

enum Key {
    Named(String),
    Merge,
}

/// Makes values of events.
#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    /// Each value with an anchor, and of how many values it consists.
    anchors: BTreeMap<usize, (Value, usize)>,
    values: usize,
    documents: Vec<Value>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref())
            }
            Event::SequenceStart(anchor, _) => {
                let items = Vec::new();
                self.open.push(Open::List { anchor, items });
                Ok(())
            }
            Event::MappingStart(anchor, _) => {
                self.open.push(Open::Fields {
                    anchor,
                    fields: Map::new(),
                    key: None,
                    merged: Vec::new(),
                });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let found = self.anchors.get(&anchor).cloned();
                let (value, size) = found.ok_or("an alias stands within what it is of")?;
                self.count(size)?;
                self.add(value, None)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Result<(), String> {
        let is_plain = style == ScalarStyle::Plain;
        let tag = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix));
        let value = match tag.as_deref() {
            None if is_plain => plain(text)?,
            None | Some("!" | "tag:yaml.org,2002:str" | "!!str") => Value::String(text.to_owned()),
            Some(
                "tag:yaml.org,2002:int"
                | "tag:yaml.org,2002:float"
                | "tag:yaml.org,2002:bool"
                | "tag:yaml.org,2002:null",
            ) => plain(text)?,
            Some(other) => return Err(format!("tag '{other}' is not known")),
        };
        self.count(1)?;
        self.remember(anchor, &value);
        let merges = is_plain && text == "<<";
        self.add(value, merges.then_some(Key::Merge))
    }

    /// Adds a complete value to what is open. `special` is what it is as a key, if not its name.
    fn add(&mut self, value: Value, special: Option<Key>) -> Result<(), String> {
        match self.open.last_mut() {
            None => self.documents.push(value),
            Some(Open::List { items, .. }) => items.push(value),
            Some(Open::Fields {
                fields,
                key,
                merged,
                ..
            }) => match key.take() {
                None => *key = Some(special.map_or_else(|| name_of(value), Ok)?),
                Some(Key::Merge) => match value {
                    Value::Array(items) => merged.extend(items),
                    value => merged.push(value),
                },
                Some(Key::Named(name)) => {
                    fields.insert(name, value);
                }
            },
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        self.count(1)?;
        let (anchor, value) = match self.open.pop() {
            Some(Open::List { anchor, items }) => (anchor, Value::Array(items)),
            Some(Open::Fields {
                anchor,
                mut fields,
                merged,
                ..
            }) => {
                for from in merged {
                    let Value::Object(from) = from else {
                        return Err("what is merged with '<<' must be a mapping".to_owned());
                    };
                    for (name, value) in from {
                        fields.entry(name).or_insert(value);
                    }
                }
                (anchor, Value::Object(fields))
            }
            None => return Err("a collection ends that did not begin".to_owned()),
        };
        self.remember(anchor, &value);
        self.add(value, None)
    }

    fn remember(&mut self, anchor: usize, value: &Value) {
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), size(value)));
        }
    }

    fn count(&mut self, values: usize) -> Result<(), String> {
        self.values = self.values.saturating_add(values);
        if self.values > MAX_VALUES {
            return Err(format!("there are more than {MAX_VALUES} values"));
        }
        Ok(())
    }
}

fn name_of(key: Value) -> Result<Key, String> {
    match key {
        Value::String(name) => Ok(Key::Named(name)),
        Value::Bool(_) | Value::Number(_) => Ok(Key::Named(key.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(format!("a key must be a text, not {key}"))
        }
    }
}

/// Of how many values it consists, itself included.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.values().map(|value| 1 + size(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plain_word_means_what_it_means_to_kubectl() {
        let cases = [
            ("0644", json!(420)),
            ("'0644'", json!("0644")),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("-0b11", json!(-3)),
            ("1_000", json!(1_000)),
            ("09", json!(9)),
            ("+7", json!(7)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1e3", json!(1_000)),
            (".5", json!(0.5)),
            ("1.", json!(1)),
            ("08.5", json!(8.5)),
            ("1e400", json!("1e400")),
            ("0x", json!("0x")),
            ("_1", json!("_1")),
            ("18446744073709551616", json!(18_446_744_073_709_551_616.0)),
            ("1.2.3", json!("1.2.3")),
            ("500m", json!("500m")),
            ("12:30:45", json!("12:30:45")),
            ("2024-01-01", json!("2024-01-01")),
            ("-", json!([null])),
            ("--", json!("--")),
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("\"on\"", json!("on")),
            ("!!str no", json!("no")),
            ("nO", json!("nO")),
            ("{a: ~, b: }", json!({"a": null, "b": null})),
            ("{1: a, yes: b}", json!({"1": "a", "true": "b"})),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), Ok(vec![expected]), "{text}");
        }
    }

    #[test]
    fn documents_aliases_and_merges_are_read() {
        let text = "a: &a {x: 1, z: 2}\nb:\n  <<: *a\n  z: 3\n---\n# nothing\n---\n- |\n  text\n- &n 1\n- *n\n";
        assert_eq!(
            read(text),
            Ok(vec![
                json!({"a": {"x": 1, "z": 2}, "b": {"x": 1, "z": 3}}),
                json!(["text\n", 1, 1]),
            ])
        );
    }

    #[test]
    fn what_cannot_be_an_object_is_refused_with_its_line() {
        let cases = [
            (
                "a: 1\nb: .inf\n",
                "line 2: '.inf' is no number that an object can have",
            ),
            (
                "a:\n  ? [x]\n  : y\n",
                "line 2: a key must be a text, not [\"x\"]",
            ),
            ("a: !lua x\n", "line 1: tag '!lua' is not known"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).unwrap_err(), expected);
        }
        assert_eq!(
            read("{\n\t\"a\": \"yes\"}{}"),
            Ok(vec![json!({"a": "yes"}), json!({})])
        );
        assert!(read("a: [").is_err());
        assert!(read("a: *none\n").is_err());
    }

    #[test]
    fn a_few_lines_that_stand_for_very_many_values_are_refused() {
        let level = |level: usize| {
            let items = match level {
                0 => ["x"; 10].join(", "),
                _ => vec![format!("*a{}", level - 1); 10].join(", "),
            };
            format!("a{level}: &a{level} [{items}]\n")
        };
        let text: String = (0..10).map(level).collect();
        let error = read(&text).unwrap_err();
        assert!(
            error.ends_with("there are more than 1000000 values"),
            "{error}"
        );
    }

    #[test]
    fn what_is_written_is_a_text_to_every_reader() {
        let value = json!({"yes": "on", "mode": "0644", "time": "12:30", "n": "quoted-0-", "none": "", "word": "word"});
        assert_eq!(
            write(&value).unwrap(),
            "mode: \"0644\"\nnone: \"\"\n\"n\": quoted-0-\n\"yes\": \"on\"\ntime: 12:30\nword: word\n"
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let word = prop_oneof![
            "[yYnNoOfF0-9.+_exbE~<-]{0,6}",
            "(yes|no|on|off|null|0[0-9]{1,4}|<<|=)",
            "[ -~\n]{0,40}",
            "\\PC{0,12}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            word.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(word.clone(), inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in values()) {
            let text = write(&value).unwrap();
            let expected: Vec<_> = Some(value).into_iter().filter(|it| !it.is_null()).collect();
            prop_assert_eq!(read(&text), Ok(expected), "{}", text);
        }

        #[test]
        fn no_text_stops_the_reader(text in "[a-z0-9:&*<>|\\[\\]{}'\"# \n!?,-]{0,80}") {
            drop(read(&text));
        }
    }
}
