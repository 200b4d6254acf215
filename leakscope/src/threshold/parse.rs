//! Reads the text of a threshold.

use super::{Comparison, Function, Limit, Step, Threshold, Unit};

/// Functions by name.
const FUNCTIONS: [(&str, Function); 7] = [
    ("any", Function::Any),
    ("all", Function::All),
    ("max", Function::Max),
    ("min", Function::Min),
    ("sum", Function::Sum),
    ("count", Function::Count),
    ("len", Function::Count),
];

/// Comparisons, longer ones first.
const COMPARISONS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    (">", Comparison::Greater),
    ("<", Comparison::Less),
];

/// Units, what they measure, and how much they are.
const UNITS: [(&str, Unit, i128); 20] = [
    ("", Unit::None, 1),
    ("k", Unit::None, 1000),
    ("M", Unit::None, 1_000_000),
    ("G", Unit::None, 1_000_000_000),
    ("B", Unit::Bytes, 1),
    ("kB", Unit::Bytes, 1000),
    ("MB", Unit::Bytes, 1_000_000),
    ("GB", Unit::Bytes, 1_000_000_000),
    ("TB", Unit::Bytes, 1_000_000_000_000),
    ("KiB", Unit::Bytes, 1 << 10),
    ("MiB", Unit::Bytes, 1 << 20),
    ("GiB", Unit::Bytes, 1 << 30),
    ("TiB", Unit::Bytes, 1 << 40),
    ("ns", Unit::Time, 1),
    ("us", Unit::Time, 1000),
    ("ms", Unit::Time, 1_000_000),
    ("s", Unit::Time, 1_000_000_000),
    ("m", Unit::Time, 60_000_000_000),
    ("h", Unit::Time, 3_600_000_000_000),
    ("d", Unit::Time, 86_400_000_000_000),
];

/// Digits of a number that are read.
const MOST_DIGITS: usize = 20;

/// Reads a threshold.
pub(super) fn threshold(text: &str) -> Result<Threshold, String> {
    let mut rest = Rest(text.trim());
    let first = rest.name().ok_or_else(|| {
        format!(
            "a field of the JSON comes first, as in `heap.totals.live_bytes > 64MiB`; here is {}",
            rest.told()
        )
    })?;
    let (function, path) = if rest.takes("(") {
        let known = FUNCTIONS.iter().find(|(name, _)| *name == first);
        let (_, function) = known.ok_or_else(|| {
            let all: Vec<&str> = FUNCTIONS.iter().take(6).map(|(name, _)| *name).collect();
            format!("there is no function `{first}`; there are {}", all.join(", "))
        })?;
        let name = rest.name().ok_or_else(|| format!("`{first}(` needs a field; here is {}", rest.told()))?;
        let path = path(name, &mut rest)?;
        if !rest.takes(")") {
            return Err(format!("`{first}(` is not closed: `)` is missing before {}", rest.told()));
        }
        (Some(*function), path)
    } else {
        (None, path(first, &mut rest)?)
    };
    let found = COMPARISONS.iter().find(|(sign, _)| rest.takes(sign));
    let (_, comparison) = *found.ok_or_else(|| {
        format!("a comparison (> >= < <= == !=) comes after the field; here is {}", rest.told())
    })?;
    let limit = limit(&mut rest)?;
    if !rest.0.is_empty() {
        return Err(format!("nothing may follow; here is {}", rest.told()));
    }
    Ok(Threshold { text: text.trim().to_owned(), function, path, comparison, limit })
}

/// A path whose first name was read.
fn path(first: &str, rest: &mut Rest<'_>) -> Result<Vec<Step>, String> {
    let mut path = vec![Step::Name(first.to_owned())];
    loop {
        if rest.takes(".") {
            let name =
                rest.name().ok_or_else(|| format!("a field comes after `.`; here is {}", rest.told()))?;
            path.push(Step::Name(name.to_owned()));
        } else if rest.takes("[") {
            let step = if rest.takes("*") {
                Step::Each
            } else if let Some(text) = rest.string()? {
                Step::Name(text)
            } else {
                let digits = rest.digits();
                let number = digits.parse().map_err(|_| {
                    format!(
                        "in brackets stands an element's number, from 0, or `*` for all; here is {}",
                        rest.told()
                    )
                });
                Step::Index(number?)
            };
            path.push(step);
            if !rest.takes("]") {
                return Err(format!("`[` is not closed: `]` is missing before {}", rest.told()));
            }
        } else {
            return Ok(path);
        }
    }
}

fn limit(rest: &mut Rest<'_>) -> Result<Limit, String> {
    if let Some(text) = rest.string()? {
        return Ok(Limit::Text(text));
    }
    for (name, value) in [("true", true), ("false", false)] {
        if rest.takes(name) {
            return Ok(Limit::Bool(value));
        }
    }
    let negative = rest.takes("-");
    let whole = rest.digits();
    let part = if rest.takes_here(".") { rest.digits_here() } else { "" };
    if whole.len() + part.len() > MOST_DIGITS {
        return Err(format!("the number has more than {MOST_DIGITS} digits; no field is as large"));
    }
    if whole.is_empty() {
        return Err(format!(
            "a number such as 64MiB, 5m or 100, true, false or \"text\" comes last; here is {}",
            rest.told()
        ));
    }
    let unit = rest.unit();
    let found = UNITS.iter().find(|(name, ..)| *name == unit);
    let (_, unit, factor) = *found.ok_or_else(|| {
        let why = if unit == "%" { "percentages are not known" } else { "unknown unit" };
        format!("{why} `{unit}`; write B, kB, MB, GB, KiB, MiB, GiB, or ns, us, ms, s, m, h, d")
    })?;
    // No more digits than an i128 has room for, also times a unit.
    let digits: i128 = format!("{whole}{part}").parse().map_err(|_| "too large".to_owned())?;
    let scale = 10_i128.pow(part.len() as u32);
    // With a unit, less than a byte or a nanosecond is left out.
    if factor == 1 && digits % scale != 0 {
        return Err("the number is not whole".to_owned());
    }
    let value = digits * factor / scale;
    Ok(Limit::Number { value: if negative { -value } else { value }, unit })
}

/// What is not read yet. Blanks before a part do not count.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn takes(&mut self, part: &str) -> bool {
        self.0 = self.0.trim_start();
        self.takes_here(part)
    }

    fn takes_here(&mut self, part: &str) -> bool {
        let left = self.0.strip_prefix(part);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }

    fn while_here(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !of(c)).unwrap_or(self.0.len());
        let (part, left) = self.0.split_at(end);
        self.0 = left;
        part
    }

    fn name(&mut self) -> Option<&'a str> {
        self.0 = self.0.trim_start();
        let name = self.while_here(|c| c.is_ascii_alphanumeric() || c == '_');
        Some(name).filter(|name| !name.is_empty())
    }

    fn digits(&mut self) -> &'a str {
        self.0 = self.0.trim_start();
        self.digits_here()
    }

    fn digits_here(&mut self) -> &'a str {
        self.while_here(|c| c.is_ascii_digit())
    }

    fn unit(&mut self) -> &'a str {
        self.0 = self.0.trim_start();
        self.while_here(|c| !c.is_whitespace())
    }

    /// A text in double quotes, as JSON has it.
    fn string(&mut self) -> Result<Option<String>, String> {
        self.0 = self.0.trim_start();
        if !self.0.starts_with('"') {
            return Ok(None);
        }
        let mut read = serde_json::Deserializer::from_str(self.0).into_iter::<String>();
        let text = read.next().and_then(Result::ok).ok_or("the text in quotes is not closed, or no JSON")?;
        self.0 = &self.0[read.byte_offset()..];
        Ok(Some(text))
    }

    /// For messages.
    fn told(&self) -> String {
        let rest = self.0.trim_start();
        if rest.is_empty() { "the end".to_owned() } else { format!("`{}`", crate::human::cut(rest, 40)) }
    }
}
