//! Python literals, which is how barman writes structured values into `backup.info`.
//!
//! barman writes `repr(value)` and reads with `ast.literal_eval`. Written here is exactly what `repr` writes; read is
//! what it can have written, and the spellings of people: both quotes, all escapes but `\N{…}`, spaces, a comma at the
//! end, a sign, an exponent. Sets, bytes and arithmetic are refused. Source: the manual of Python, "Lexical analysis".

use std::fmt::{self, Write as _};

/// How deep lists, tuples and dicts may lie within each other when read; barman needs four.
const MAX_DEPTH: usize = 32;

/// A value of Python.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `None`.
    None,
    /// `True`, `False`.
    Bool(bool),
    /// An integer; larger ones than this are refused.
    Int(i128),
    /// A floating-point number; never infinite when read.
    Float(f64),
    /// A string.
    Str(String),
    /// `[…]`.
    List(Vec<Literal>),
    /// `(…)`.
    Tuple(Vec<Literal>),
    /// `{key: value, …}`, in the order written.
    Dict(Vec<(Literal, Literal)>),
}

/// A text that is no literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a Python literal: {problem} at byte {at}")]
pub struct InvalidLiteral {
    problem: &'static str,
    at: usize,
}

impl Literal {
    /// A dict whose keys are these strings.
    pub fn dict<K: Into<String>>(entries: impl IntoIterator<Item = (K, Literal)>) -> Literal {
        Literal::Dict(entries.into_iter().map(|(key, value)| (Literal::Str(key.into()), value)).collect())
    }

    /// Reads a literal, with blanks around it.
    pub fn parse(text: &str) -> Result<Literal, InvalidLiteral> {
        let mut parser = Parser { rest: text };
        let parsed = parser.value(MAX_DEPTH).and_then(|value| match parser.peek() {
            None => Ok(value),
            Some(_) => Err("something follows it"),
        });
        parsed.map_err(|problem| InvalidLiteral { problem, at: text.len() - parser.rest.len() })
    }

    /// The text, when this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Literal::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, when this is a list or a tuple.
    pub fn elements(&self) -> Option<&[Literal]> {
        match self {
            Literal::List(elements) | Literal::Tuple(elements) => Some(elements),
            _ => None,
        }
    }

    /// The value of the key `name`, when this is a dict that has it.
    pub fn get(&self, name: &str) -> Option<&Literal> {
        match self {
            Literal::Dict(entries) => {
                // As in Python, the last one counts.
                entries.iter().rev().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// Whether Python takes the value for false, which is when barman writes `None` in its place.
    pub fn is_empty(&self) -> bool {
        match self {
            Literal::None => true,
            Literal::Bool(value) => !value,
            Literal::Int(number) => *number == 0,
            Literal::Float(number) => *number == 0.0,
            Literal::Str(text) => text.is_empty(),
            Literal::List(elements) | Literal::Tuple(elements) => elements.is_empty(),
            Literal::Dict(entries) => entries.is_empty(),
        }
    }
}

/// A string as `repr` writes it: in single quotes, unless it has such and no double ones; what is not printable is
/// escaped.
pub fn quote(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ if c == quote => quoted.extend(['\\', c]),
            _ if is_printable(c) => quoted.push(c),
            _ => push_escaped(&mut quoted, c),
        }
    }
    quoted.push(quote);
    quoted
}

/// Python's `str.isprintable`: no control, format, surrogate, private or unassigned character, no separator but the
/// space. Rust's `str::escape_debug` asks the same of every character but the first.
fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        _ if c.is_ascii() => false,
        _ => String::from_iter(['a', c]).escape_debug().nth(2).is_none(),
    }
}

fn push_escaped(quoted: &mut String, c: char) {
    let number = u32::from(c);
    let _ = match number {
        0..=0xFF => write!(quoted, "\\x{number:02x}"),
        0x100..=0xFFFF => write!(quoted, "\\u{number:04x}"),
        _ => write!(quoted, "\\U{number:08x}"),
    };
}

/// What `repr` writes.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::None => f.write_str("None"),
            Literal::Bool(true) => f.write_str("True"),
            Literal::Bool(false) => f.write_str("False"),
            Literal::Int(number) => write!(f, "{number}"),
            Literal::Float(number) => write_float(f, *number),
            Literal::Str(text) => f.write_str(&quote(text)),
            Literal::List(elements) => write_between(f, ["[", "]"], elements, fmt::Display::fmt),
            Literal::Tuple(elements) => match elements.as_slice() {
                [element] => write!(f, "({element},)"),
                _ => write_between(f, ["(", ")"], elements, fmt::Display::fmt),
            },
            Literal::Dict(entries) => {
                write_between(f, ["{", "}"], entries, |(key, value), f| write!(f, "{key}: {value}"))
            }
        }
    }
}

fn write_between<T>(
    f: &mut fmt::Formatter<'_>,
    [open, close]: [&str; 2],
    elements: &[T],
    mut write: impl FnMut(&T, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    f.write_str(open)?;
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write(element, f)?;
    }
    f.write_str(close)
}

/// Python writes the fewest digits that read back as the same number, as Rust does, and an exponent of at least two
/// digits below 1e-4 and from 1e16 on.
fn write_float(f: &mut fmt::Formatter<'_>, number: f64) -> fmt::Result {
    if !number.is_finite() {
        return write!(f, "{}", number.to_string().to_ascii_lowercase());
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    match exponent {
        -4..16 => write!(f, "{number:?}"),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(f, "{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
    }
}

/// What is left of the text.
struct Parser<'a> {
    rest: &'a str,
}

type Parsed<T> = Result<T, &'static str>;

impl Parser<'_> {
    /// The next character that is not blank.
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0C']);
        self.rest.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found && let Some(rest) = self.rest.strip_prefix(wanted) {
            self.rest = rest;
        }
        found
    }

    fn value(&mut self, depth: usize) -> Parsed<Literal> {
        let deeper = depth.checked_sub(1).ok_or("it is nested too deeply")?;
        match self.peek().ok_or("it ends early")? {
            '[' => Ok(Literal::List(self.elements('[', ']', deeper)?.0)),
            '(' => {
                let (mut elements, comma) = self.elements('(', ')', deeper)?;
                // One value in parentheses, without a comma, is that value.
                match (elements.pop(), elements.is_empty(), comma) {
                    (Some(only), true, false) => Ok(only),
                    (last, _, _) => {
                        elements.extend(last);
                        Ok(Literal::Tuple(elements))
                    }
                }
            }
            '{' => self.dict(deeper),
            '\'' | '"' => self.string(),
            '0'..='9' | '+' | '-' | '.' => self.number(),
            _ => self.word(),
        }
    }

    /// Values between brackets, and whether a comma follows the last.
    fn elements(&mut self, open: char, close: char, depth: usize) -> Parsed<(Vec<Literal>, bool)> {
        self.take(open);
        let mut elements = Vec::new();
        let mut comma = false;
        while !self.take(close) {
            if !elements.is_empty() && !comma {
                return Err("a comma or the closing bracket is missing");
            }
            elements.push(self.value(depth)?);
            comma = self.take(',');
        }
        Ok((elements, comma))
    }

    fn dict(&mut self, depth: usize) -> Parsed<Literal> {
        self.take('{');
        let mut entries = Vec::new();
        let mut comma = true;
        while !self.take('}') {
            if !comma {
                return Err("a comma or the closing brace is missing");
            }
            let key = self.value(depth)?;
            if !self.take(':') {
                return Err("a colon is missing");
            }
            entries.push((key, self.value(depth)?));
            comma = self.take(',');
        }
        Ok(Literal::Dict(entries))
    }

    fn number(&mut self) -> Parsed<Literal> {
        let mut last = ' ';
        let end = self.rest.find(|c: char| {
            let sign_of_exponent = matches!(c, '+' | '-') && matches!(last, ' ' | 'e' | 'E');
            last = c;
            !(c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E') || sign_of_exponent)
        });
        let (text, rest) =
            self.rest.split_at_checked(end.unwrap_or(self.rest.len())).unwrap_or((self.rest, ""));
        let number = if text.contains(['.', 'e', 'E']) {
            text.parse().ok().filter(|number: &f64| number.is_finite()).map(Literal::Float)
        } else {
            text.parse().ok().map(Literal::Int)
        };
        let number = number.ok_or("the number is malformed or too large")?;
        self.rest = rest;
        Ok(number)
    }

    fn word(&mut self) -> Parsed<Literal> {
        // Python 2 marked strings so; its barman wrote files that are still there.
        if let Some(rest) = self.rest.strip_prefix(['u', 'U'])
            && rest.starts_with(['\'', '"'])
        {
            self.rest = rest;
            return self.string();
        }
        for (word, literal) in
            [("None", Literal::None), ("True", Literal::Bool(true)), ("False", Literal::Bool(false))]
        {
            if let Some(rest) = self.rest.strip_prefix(word)
                && !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric())
            {
                self.rest = rest;
                return Ok(literal);
            }
        }
        Err("a value was expected")
    }

    fn string(&mut self) -> Parsed<Literal> {
        let quote = self.next().ok_or("it ends early")?;
        let mut text = String::new();
        loop {
            match self.next().ok_or("the closing quote is missing")? {
                '\\' => self.escape(&mut text)?,
                '\n' | '\r' => return Err("a string goes over the end of its line"),
                c if c == quote => return Ok(Literal::Str(text)),
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Parsed<()> {
        let escaped = match self.next().ok_or("the closing quote is missing")? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0C',
            'v' => '\x0B',
            'x' => self.code(2)?,
            'u' => self.code(4)?,
            'U' => self.code(8)?,
            'N' => return Err("characters by name are not understood"),
            first @ '0'..='7' => {
                let mut number = first.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else { break };
                    self.next();
                    number = number * 8 + digit;
                }
                char::from_u32(number).ok_or("an escape is no character")?
            }
            c @ ('\\' | '\'' | '"') => c,
            // An unknown escape stands for itself, backslash and all.
            c => {
                text.push('\\');
                c
            }
        };
        text.push(escaped);
        Ok(())
    }

    /// The character whose number stands here in `digits` hexadecimal digits.
    fn code(&mut self, digits: usize) -> Parsed<char> {
        let (code, rest) = self.rest.split_at_checked(digits).ok_or("an escape is cut")?;
        let valid = code.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u32::from_str_radix(code, 16).ok().filter(|_| valid);
        self.rest = rest;
        number.and_then(char::from_u32).ok_or("an escape is no character")
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Literal {
        Literal::Str(text.to_owned())
    }

    #[test]
    fn what_repr_writes_is_read_and_written() {
        // Each as the `repr` of Python 3.13 wrote it.
        for written in [
            "None",
            "[True, False, None]",
            "[('extra', 16384, '/scratch/tbl')]",
            "(1,)",
            "()",
            "[]",
            "{}",
            "{'total_time': 7.263533, 'analysis_time': 0, 'copy_time_per_item': {'16384': 0.06884, 'data': 1.787053}}",
            "[1e-05, 0.0001, 1.5e-07, 1e+16, 123456789012345.0, 1e+22, 2.0, -0.0, 1.7976931348623157e+308]",
            r#"["it's", 'say "hi"', 'it\'s "both"', 'back\\slash', 'tab\tline\nreturn\r']"#,
            r"'\x00\x1b\x7f\x85\xa0\xad'",
            "'é — 日本 😀 \u{301}'",
            r"'\u200b\u2028\ue000\U000e0001'",
            "[-5, 18446744073709551615, 340282366920938463463]",
        ] {
            let value = Literal::parse(written).unwrap();
            assert_eq!(value.to_string(), written);
        }
    }

    #[test]
    fn other_spellings_are_read() {
        for (written, value) in [
            (" [ 1 , 2 , ] ", Literal::List(vec![Literal::Int(1), Literal::Int(2)])),
            ("(1)", Literal::Int(1)),
            ("((1,),)", Literal::Tuple(vec![Literal::Tuple(vec![Literal::Int(1)])])),
            ("+5", Literal::Int(5)),
            (".5", Literal::Float(0.5)),
            ("1E3", Literal::Float(1000.0)),
            ("u'old'", text("old")),
            (r"'\101\0\7x\08'", text("A\0\u{7}x\08")),
            (r#"'\q\"\a\v\f\b'"#, text("\\q\"\u{7}\u{b}\u{c}\u{8}")),
            (
                "{'a': 1, 'a': 2,}",
                Literal::Dict(vec![(text("a"), Literal::Int(1)), (text("a"), Literal::Int(2))]),
            ),
        ] {
            assert_eq!(Literal::parse(written), Ok(value), "{written}");
        }
        assert_eq!(Literal::parse("{'a': 1, 'a': 2}").unwrap().get("a"), Some(&Literal::Int(2)));
    }

    #[test]
    fn other_texts_are_refused() {
        for written in [
            "",
            " ",
            "none",
            "Nonesuch",
            "True1",
            "[",
            "[1",
            "[1 2]",
            "[,]",
            "(,)",
            "{1}",
            "{1:}",
            "{1: 2",
            "{1: 2 3: 4}",
            "1 2",
            "1e",
            "--1",
            "1-2",
            "1_000",
            "0x10",
            "1e999",
            "'",
            "'a",
            r"'\",
            r"'\x1'",
            r"'\xé'",
            r"'\ud800'",
            r"'\N{DIGIT ONE}'",
            "'a\nb'",
            "b'a'",
            "os.system('x')",
            "{1, 2}",
            "1 + 2",
            "é",
            "999999999999999999999999999999999999999999",
        ] {
            assert!(Literal::parse(written).is_err(), "{written:?}");
        }
        assert_eq!(
            Literal::parse("[1, x]").unwrap_err().to_string(),
            "not a Python literal: a value was expected at byte 4"
        );
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Literal::parse(&nested(MAX_DEPTH)).is_ok());
        assert!(Literal::parse(&nested(MAX_DEPTH + 1)).is_err());
        assert!(Literal::parse(&"[".repeat(1_000_000)).is_err());
        assert!(Literal::parse(&"{(".repeat(1_000_000)).is_err());
    }

    fn literals() -> impl Strategy<Value = Literal> {
        let leaf = prop_oneof![
            Just(Literal::None),
            any::<bool>().prop_map(Literal::Bool),
            any::<i128>().prop_map(Literal::Int),
            any::<f64>()
                .prop_filter("repr of others is no literal", |n| n.is_finite())
                .prop_map(Literal::Float),
            any::<String>().prop_map(Literal::Str),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Literal::List),
                prop::collection::vec(inner.clone(), 0..5).prop_map(Literal::Tuple),
                prop::collection::vec((inner.clone(), inner), 0..5).prop_map(Literal::Dict),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in literals()) {
            prop_assert_eq!(Literal::parse(&value.to_string()), Ok(value));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = Literal::parse(&text);
        }

        #[test]
        fn nearly_right_text_does_not_panic(text in r#"[\[\](){}'"\\,: eE.+0-9xuUNTrueFalsé-]{0,40}"#) {
            if let Ok(value) = Literal::parse(&text) {
                prop_assert_eq!(Literal::parse(&value.to_string()), Ok(value));
            }
        }
    }
}
