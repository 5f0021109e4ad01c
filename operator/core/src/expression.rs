//! Expressions of users, in the Common Expression Language (<https://cel.dev>), over JSON values. Pure.
//!
//! An expression is checked when it is compiled, so that evaluating it costs at most its length times the size of what it is
//! about, whoever wrote it:
//!
//! - it has at most [`MAX_EXPRESSION`] characters, [`MAX_NESTING`] brackets in one another and [`MAX_OPERATORS`] operators, because it is
//!   compiled and evaluated recursively: this fits half a mebibyte of a thread's stack;
//! - it uses only the variable [`OBJECT`], and the functions in [`FUNCTIONS`];
//! - in a loop (`all`, `exists`, `exists_one`, `filter`, `map`) only the loop's own variable may be used.
//!
//! The ledger's state machine never compiles one: two builds could differ in what they accept.

use std::{fmt, sync::Arc};

use cel::{
    Context, IdedExpr, Program, Value as CelValue,
    common::ast::{EntryExpr, Expr},
};
use serde_json::Value;

/// The only variable: the value that an expression is about.
pub const OBJECT: &str = "object";

/// The longest expression, in characters; the CRD states the same bound.
pub const MAX_EXPRESSION: usize = 1_024;

/// The most brackets in one another, those in texts included.
const MAX_NESTING: usize = 16;

/// The most operators, field accesses included, and those in texts.
const MAX_OPERATORS: usize = 256;

/// What may be called besides operators and loops.
const FUNCTIONS: [&str; 10] = [
    "bool",
    "contains",
    "double",
    "endsWith",
    "int",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
];

/// A compiled expression.
pub struct Expression {
    program: Program,
    text: String,
}

impl Expression {
    /// Compiles `text`. The error is what is wrong with it, in words that follow its name.
    pub fn compile(text: &str) -> Result<Self, String> {
        check_size(text)?;
        let program = Program::compile(text);
        let program = program.map_err(|errors| {
            let words = errors.to_string();
            let first = words.lines().next().unwrap_or_default();
            let place = first.trim_start_matches("ERROR: <input>:");
            format!("is no expression of CEL: {place}")
        })?;
        check(program.expression(), &[OBJECT])?;
        Ok(Self {
            program,
            text: text.to_owned(),
        })
    }

    /// Whether it is true of a value. The error says why that cannot be told.
    pub fn holds(&self, subject: &Subject) -> Result<bool, String> {
        match self.evaluate(subject)? {
            CelValue::Bool(holds) => Ok(holds),
            _ => Err(format!("`{self}` is neither true nor false")),
        }
    }

    /// The text that it makes of a value. The error says why it makes none.
    pub fn text(&self, subject: &Subject) -> Result<String, String> {
        match self.evaluate(subject)? {
            CelValue::String(text) => Ok(text.to_string()),
            _ => Err(format!("`{self}` is no text")),
        }
    }

    fn evaluate(&self, Subject(value): &Subject) -> Result<CelValue, String> {
        let mut context = Context::default();
        context.add_variable_from_value(OBJECT, value.clone());
        let result = self.program.execute(&context);
        result.map_err(|error| format!("`{self}` cannot be told: {error}"))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

/// A value that expressions are evaluated about, converted once for all of them.
pub struct Subject(CelValue);

impl From<&Value> for Subject {
    fn from(value: &Value) -> Self {
        Self(cel_value(value))
    }
}

/// A whole number is an `int` whatever its sign: expressions compare and add them to literals, which are.
fn cel_value(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(value) => CelValue::Bool(*value),
        Value::String(value) => CelValue::from(value.as_str()),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => CelValue::Int(number),
            (None, Some(number)) => CelValue::UInt(number),
            (None, None) => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::Array(items) => CelValue::from(items.iter().map(cel_value).collect::<Vec<_>>()),
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| (name.clone().into(), cel_value(value)));
            // Without an order: an expression that picks a key by its place in a loop may say something else each time.
            let map = Arc::new(fields.collect());
            CelValue::Map(cel::objects::Map { map })
        }
    }
}

/// What could take more stack than there is, whatever it means.
fn check_size(text: &str) -> Result<(), String> {
    let (mut depth, mut nesting, mut operators) = (0_usize, 0, 0);
    for letter in text.chars() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => operators += usize::from(".+-*/%?!<>=&|".contains(letter)),
        }
        nesting = nesting.max(depth);
    }
    let length = text.chars().count();
    let counts = [
        (length, MAX_EXPRESSION, "characters"),
        (nesting, MAX_NESTING, "brackets in one another"),
        (operators, MAX_OPERATORS, "operators"),
    ];
    let over = counts.into_iter().find(|(count, most, _)| count > most);
    over.map_or(Ok(()), |(count, most, what)| {
        Err(format!("must have at most {most} {what}, not {count}"))
    })
}

/// What is wrong with an expression in which these names may be used.
fn check(IdedExpr { expr, .. }: &IdedExpr, names: &[&str]) -> Result<(), String> {
    let all =
        |parts: &[&IdedExpr], names: &[&str]| parts.iter().try_for_each(|it| check(it, names));
    match expr {
        Expr::Unspecified | Expr::Literal(_) => Ok(()),
        Expr::Ident(name) if names.contains(&name.as_str()) => Ok(()),
        Expr::Ident(name) => Err(format!(
            "must not use `{name}` here, where only {} may be used",
            listed(names)
        )),
        Expr::Select(select) => check(&select.operand, names),
        Expr::Call(call) => {
            let is_operator = call.func_name.contains(['_', '@']);
            if !is_operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
                return Err(format!(
                    "must not call `{}`, only {}",
                    call.func_name,
                    listed(&FUNCTIONS)
                ));
            }
            let target = call.target.as_deref().into_iter();
            all(&target.chain(&call.args).collect::<Vec<_>>(), names)
        }
        Expr::List(list) => all(&list.elements.iter().collect::<Vec<_>>(), names),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => all(&[&entry.key, &entry.value], names),
            EntryExpr::StructField(field) => check(&field.value, names),
        }),
        Expr::Struct(of) => Err(format!("must not make a `{}`", of.type_name)),
        Expr::Comprehension(each) => {
            check(&each.iter_range, names)?;
            check(&each.accu_init, names)?;
            let second = each.iter_var2.as_deref();
            let mut inner = vec![each.iter_var.as_str()];
            inner.extend(second);
            inner.push(each.accu_var.as_str());
            all(&[&each.loop_cond, &each.loop_step, &each.result], &inner)
        }
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().filter(|name| !name.starts_with('@'));
    let shown: Vec<_> = shown.map(|name| format!("`{name}`")).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(text: &str) -> Result<bool, String> {
        let object = json!({
            "spec": {"replicas": 3}, "status": {
                "phase": "Running", "ready": 3, "load": 0.5, "debt": -1, "huge": u64::MAX, "none": null,
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"}],
            },
        });
        Expression::compile(text)?.holds(&Subject::from(&object))
    }

    #[test]
    fn an_expression_is_about_the_fields_of_an_object() {
        let cases = [
            ("object.status.phase == 'Running'", true),
            ("object.status.ready + 0 == object.spec.replicas", true),
            ("object.status.load < 1.0 && object.status.debt == -1", true),
            (
                "object.status.huge > 0u && object.status.none == null",
                true,
            ),
            ("has(object.status.error)", false),
            (
                "object.status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')",
                true,
            ),
            ("object.status.conditions.all(c, c.status == 'True')", false),
            (
                "size(object.status.conditions.filter(c, c.status == 'False')) == 1",
                true,
            ),
            (
                "object.status.phase in ['Running', 'Idle'] ? true : false",
                true,
            ),
            (
                "object.status.conditions.exists(c, c.type.startsWith('Re'))",
                true,
            ),
            ("object['status']['phase'].contains('unn')", true),
        ];
        for (text, expected) in cases {
            assert_eq!(told(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_said_with_the_expression() {
        let cases = [
            (
                "object.status.missing == 'x'",
                "`object.status.missing == 'x'` cannot be told: No such key: missing",
            ),
            (
                "object.status.phase",
                "`object.status.phase` is neither true nor false",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(told(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn an_expression_that_could_cost_more_than_its_object_is_refused() {
        let refused = |text: &str| Expression::compile(text).unwrap_err();
        let cases = [
            ("object.", "is no expression of CEL: 1:8: Syntax error: "),
            (
                "other.spec",
                "must not use `other` here, where only `object` may be used",
            ),
            (
                "object.a.all(x, object.a == x)",
                "must not use `object` here, where only `x` may be used",
            ),
            (
                "object.a.all(x, x.b.all(y, x == y))",
                "must not use `x` here, where only `y` may be used",
            ),
            (
                "object.a.matches('a*')",
                "must not call `matches`, only `bool`, `contains`,",
            ),
            ("Thing{a: 1}.a == 1", "must not make a `Thing`"),
        ];
        for (text, expected) in cases {
            let found = refused(text);
            assert!(found.starts_with(expected), "{text}: {found}");
        }
        let long = format!("object.{}", "a".repeat(MAX_EXPRESSION));
        assert_eq!(
            refused(&long),
            "must have at most 1024 characters, not 1031"
        );
        assert_eq!(
            refused(&"(".repeat(17)),
            "must have at most 16 brackets in one another, not 17"
        );
        assert_eq!(
            refused(&"-".repeat(257)),
            "must have at most 256 operators, not 257"
        );
        assert!(Expression::compile("object.a.all(x, x.b.all(y, y == 1))").is_ok());
    }

    #[test]
    fn the_deepest_expression_fits_half_a_mebibyte_of_stack() {
        let chain = |operator: &str| format!("1{}", operator.repeat(250));
        let nested = ["(", "[", "!(", "-(", "{1: "].map(|open| {
            let closed = match open {
                "[" => "]",
                "{1: " => "}",
                _ => ")",
            };
            [open.repeat(16), chain("+1"), closed.repeat(16)].concat()
        });
        let long = [".a", "-1", "*1", " in [1]", "[0]", "&&true", "<1"].map(chain);
        for text in nested.into_iter().chain(long) {
            let evaluate = move || {
                let text = &text[..text.len().min(MAX_EXPRESSION)];
                if let Ok(expression) = Expression::compile(text) {
                    drop(expression.holds(&Subject::from(&json!({}))));
                }
            };
            let thread = std::thread::Builder::new().stack_size(512 * 1024);
            thread.spawn(evaluate).unwrap().join().unwrap();
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_stops_the_compiler(text in "[a-z0-9.()\\[\\]{}?:,'\"+*/<>=!&| -]{0,200}") {
            drop(Expression::compile(&text));
        }
    }
}
